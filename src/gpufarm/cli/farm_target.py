"""A farm file beside the cloud that it is for: what `farm plan|apply|check` put together.

The lab is the one cloud whose hardware and whose Nova settings can be seen; everything about it is
in here, so that the rest is the same for every cloud.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.catalog import fitness, second_compute
from gpufarm.catalog import plan as catalog_plan
from gpufarm.cloud import placement
from gpufarm.cloud.catalog import CloudCatalog
from gpufarm.model import farm as model
from gpufarm.model import hardware
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.change import Change
from gpufarm.model.errors import CloudUnreachable, FarmError
from gpufarm.model.farm import Farm
from gpufarm.model.reserve import Machine
from gpufarm.nova import plan as nova_plan
from gpufarm.system import digests
from gpufarm.system.files import lock

if TYPE_CHECKING:
    from openstack.connection import Connection

LOOK_SECONDS = 0.5
MOST_LOOKS = 60
"""Looks at a lab whose Nova does not answer: it is back within seconds, or somebody ended it."""


def load(
    path: Path, told: Callable[[str], None] = lambda _: None
) -> tuple[Farm, dict[str, ImageFile]]:
    """The farm file and the digests of its image files, which are named from its folder.

    Raises DocumentError or FarmError. `told` hears of each file, which may be a large one.
    """
    farm = model.read(path)
    found = {}
    for name, image in farm.images.items():
        if image.file:
            told(f"reading {path.parent / image.file}")
            try:
                found[name] = digests.read(path.parent / image.file)
            except OSError as error:
                raise FarmError(
                    f"image {name}",
                    f"its file {path.parent / image.file} cannot be read: {error.strerror}",
                ) from error
    return farm, found


class Target:
    """One reading of the cloud; `lab` is None where the cloud is none."""

    def __init__(
        self, farm: Farm, files: dict[str, ImageFile], connection: "Connection", lab: Any
    ) -> None:
        self.farm = farm
        self.files = files
        self.door = CloudCatalog(connection, farm.name, farm.images)
        self.lab = lab
        self._connection = connection
        self._catalog: Catalog = self._read()

    def _read(self) -> Catalog:
        """Once more where another command starts the lab's Nova anew at this moment."""
        for _ in range(MOST_LOOKS if self.lab is not None else 0):
            try:
                return self.door.read()
            except CloudUnreachable:
                time.sleep(LOOK_SECONDS)
        return self.door.read()

    def check(self) -> None:
        """Raise FarmError where the cloud has not what the farm file builds on."""
        fitness.check_hosts(self.farm, self._catalog.hosts)
        if self.lab is not None:
            from gpufarm.lab import farm as lab_farm

            fitness.check_hardware(self.farm, lab_farm.hardware(self.lab))

    def plan(self, *, prune: bool) -> tuple[Change, ...]:
        """Everything that `apply` would change, the settings first."""
        return (
            *self.settings_changes(prune=prune),
            *catalog_plan.plan(self.farm, self._catalog, self.files, prune=prune),
        )

    def unneeded(self) -> tuple[Change, ...]:
        return catalog_plan.unneeded(self.farm, self._catalog)

    def settings_changes(self, *, prune: bool) -> tuple[Change, ...]:
        """Nothing where the settings cannot be read."""
        return nova_plan.plan(
            self.farm, self._settings_now(), prune=prune, machines=self._machines()
        )

    def put_settings(self, told: Callable[[str], None], *, prune: bool) -> None:
        """Put the settings in place that differ, where that can be done."""
        now, machines = self._settings_now(), self._machines()
        planned = nova_plan.plan(self.farm, now, prune=prune, machines=machines)
        roles = [change.name for change in planned]
        if roles:
            from gpufarm.lab import farm as lab_farm

            told(f"write the Nova settings of {', '.join(roles)}")
            wanted = nova_plan.wanted(self.farm, roles, now, prune=prune, machines=machines)
            lab_farm.put_settings(self.lab, wanted, told)

    def second_computes(self) -> tuple[Change, ...]:
        """Services to be led off their machines, by hand."""
        return second_compute.findings(self._catalog.hosts)

    def unreported(self) -> tuple[Change, ...]:
        """Cards that no host reports to Placement; only where the hardware cannot be seen."""
        if self.lab is not None or not self.farm.cards:
            return ()
        providers = placement.providers(self._connection)
        return fitness.unreported(self.farm, self._catalog.hosts, providers)

    def _machines(self) -> dict[str, Machine]:
        if self.lab is None:
            return {}
        from gpufarm.lab import farm as lab_farm

        return hardware.machines(self.farm, lab_farm.hardware(self.lab))

    def _settings_now(self) -> dict[str, str]:
        if self.lab is None:
            return {}
        from gpufarm.lab import farm as lab_farm

        return lab_farm.settings_now(self.lab)


def look(farm: Farm, files: dict[str, ImageFile], connection: "Connection", lab: Any) -> Target:
    """Raises CloudError, and FarmError where the cloud has not what the farm file builds on."""
    found = Target(farm, files, connection, lab)
    found.check()
    return found


@contextlib.contextmanager
def alone(lab: Any) -> Iterator[None]:
    """Wait until no other apply works on `lab`: one that starts its Nova anew would cut us off.

    On any other cloud applies may meet; there nothing is started anew.
    """
    if lab is None:
        yield
    else:
        with lock(lab.state / "farm.lock", wait=True):
            yield


def find_lab(connection: "Connection") -> Any:
    """The lab that `connection` leads to; None for any other cloud."""
    try:
        from gpufarm.lab import farm as lab_farm
    except ImportError:  # gpufarm without its lab extra
        return None
    address = getattr(connection.session.auth, "auth_url", None)
    # What `gpufarm lab env` exports leads to the state folder of a lab that is not the default one.
    config_file = os.environ.get("OS_CLIENT_CONFIG_FILE")
    folders = (Path(config_file).parent,) if config_file else ()
    return lab_farm.find(address, folders) if address else None
