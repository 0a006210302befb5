"""The lab as the target of a farm file: finding it, its hardware, its settings."""

from collections.abc import Callable
from pathlib import Path

from gpufarm.lab import config, farm_settings, services, state, up
from gpufarm.lab.real import hosts as real_hosts
from gpufarm.lab.state import CLOUD, Lab
from gpufarm.model import settings
from gpufarm.model.errors import LabNotRunning
from gpufarm.model.host import HostFile
from gpufarm.model.settings import Settings


def default_cloud() -> tuple[str, Path] | None:
    """Name and clouds.yaml of the lab in the default state folder, where it runs."""
    folder = state.default_state()
    return (CLOUD, folder / "clouds.yaml") if state.supervisor(folder) else None


def find(auth_url: str, folders: tuple[Path, ...] = ()) -> Lab | None:
    """The running lab whose Keystone has that address, in one of `folders` or the default one."""
    for folder in (*folders, state.default_state()):
        if state.supervisor(folder):
            lab = state.load(folder)
            if lab.url("keystone").rstrip("/") == auth_url.rstrip("/"):
                return lab
    return None


def hardware(lab: Lab) -> tuple[HostFile, ...]:
    """What the lab's hosts have."""
    return (*(lab.host(name) for name in lab.hosts), *real_hosts.hardware(lab))


def settings_now(lab: Lab, *, of_running: bool = False) -> dict[str, str]:
    """{role: text of its file, with which its services run}; roles as `farm_settings.path` says.

    NoVirtualHost for a real host that does not run, which `of_running` leaves out.
    """
    running = (each.name for each in real_hosts.running(lab))
    return farm_settings.now(lab) | real_hosts.farm_files(lab, running if of_running else lab.real)


def scheduler_settings(lab: Lab) -> Settings:
    """What the lab's scheduler runs with, all of its files together, and Placement's limits."""
    parts = [settings.parse(Path(file).read_text()) for file in config.nova_files(lab, None)]
    return settings.join(*parts, farm_settings.of_placement(lab))


def put_settings(lab: Lab, wanted: dict[str, str], note: Callable[[str], None]) -> None:
    """Write the settings and start the services anew whose settings changed."""
    with up.locked(lab.state):
        if state.supervisor(lab.state) is None:
            raise LabNotRunning(str(lab.state))
        real = {role: text for role, text in wanted.items() if real_hosts.has_role(lab, role)}
        changed = farm_settings.put(
            lab, {role: wanted[role] for role in wanted if role not in real}
        )
        names = tuple(
            process.name for process in services.processes(lab) if _reads(process, changed)
        )
        if names:
            note(f"starting anew with the settings: {', '.join(names)}")
            up.reload(lab, names, note)
        real_hosts.put_farm_files(lab, real, note)


def _reads(process: services.Process, roles: tuple[str, ...]) -> bool:
    """Whether a service of that process reads the settings of one of those roles."""
    return any(_roles(service) & set(roles) for service in process.services)


def _roles(service: services.Service) -> frozenset[str]:
    if service.host is not None:
        kinds = (farm_settings.COMPUTE_ROLE, farm_settings.PROVIDERS_ROLE)
        return frozenset(kind + service.host for kind in kinds)
    if service.name == config.PLACEMENT:
        return frozenset({config.PLACEMENT})
    return frozenset({config.CONTROLLER} if service.name.startswith("nova-") else ())
