"""Plans flavors.

Nova's API changes nothing of a flavor but its description and its extra specs
(nova/api/openstack/compute/flavors.py), so another size is another flavor of the same name. Servers
keep a copy of the flavor that they were made with (nova/objects/instance.py, `flavor`).

A private flavor's list of projects is not in the farm file, and Nova forgets it with the flavor. It
is kept through a replacement in a second flavor, the keeper, which is made before the old one goes
and goes when the new one has the list; a keeper that is there says that a replacement was
interrupted.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from gpufarm.catalog.plan.marks import change_reason, ownership, replace_reason
from gpufarm.model.change import Change, differences
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.farm import FARM_MARK, Farm, flavor_properties

KIND: Final = "flavor"
KEEPER_MARK: Final = "gpufarm:replaces"
"""Extra spec of a keeper: the name of the flavor that it stands in for."""

FIXED: Final = ("vcpus", "memory_mb", "disk_gb", "public")


def plan(farm: Farm, flavors: Iterable[CloudFlavor]) -> Iterable[Change]:
    by_name = {flavor.name: flavor for flavor in flavors}
    for name in farm.flavors:
        current = by_name.get(name)
        keeper = by_name.get(keeper_name(farm, name))
        change = _plan_one(farm, name, current, keeper)
        if change:
            yield change


def _plan_one(
    farm: Farm, name: str, current: CloudFlavor | None, keeper: CloudFlavor | None
) -> Change | None:
    wanted = fields(wanted_flavor(farm, name))
    if current is None:
        changes = differences({}, wanted)
        if keeper:
            return Change("replace", KIND, name, changes, "a replacement was interrupted")
        return Change("create", KIND, name, changes, "not in the cloud")
    owner = ownership(f"flavor {name}", current.properties.get(FARM_MARK), farm)
    changes = differences(fields(current), wanted)
    fixed = [change.field for change in changes if change.field in FIXED]
    if fixed:
        why = f"Nova cannot change {', '.join(fixed)} of a flavor in place"
        return Change("replace", KIND, name, changes, replace_reason(owner, why))
    if keeper:
        return Change("replace", KIND, name, changes, "a replacement was interrupted")
    return Change("change", KIND, name, changes, change_reason(owner)) if changes else None


def unneeded(farm: Farm, flavors: Iterable[CloudFlavor]) -> Iterable[Change]:
    needed = {*farm.flavors, *(keeper_name(farm, name) for name in farm.flavors)}
    for flavor in sorted(flavors, key=lambda each: each.name):
        if flavor.properties.get(FARM_MARK) == farm.name and flavor.name not in needed:
            yield Change("remove", KIND, flavor.name, (), "no longer in the farm file")


def wanted_flavor(farm: Farm, name: str) -> CloudFlavor:
    """As it should be; without an id, which Nova gives."""
    flavor = farm.flavors[name]
    return CloudFlavor(
        id="",
        name=name,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=flavor.disk_gb,
        public=flavor.public,
        properties=flavor_properties(farm, flavor),
    )


def fields(flavor: CloudFlavor) -> dict[str, Any]:
    """By the names that a change shows."""
    sizes = {field: getattr(flavor, field) for field in FIXED}
    return sizes | {f"properties.{key}": value for key, value in flavor.properties.items()}


def keeper_name(farm: Farm, name: str) -> str:
    """Of fixed length: a flavor's own name may be as long as Nova allows."""
    digest = hashlib.sha256(f"{farm.name}\0{name}".encode()).hexdigest()
    return f"gpufarm-replacing-{digest[:16]}"
