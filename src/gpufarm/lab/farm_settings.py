"""The settings of Nova and Placement from a farm file, put where the lab's services read them."""

from pathlib import Path

from gpufarm.lab import config
from gpufarm.lab.state import Lab
from gpufarm.model import settings
from gpufarm.system import files

COMPUTE_ROLE = "compute/"
PROVIDERS_ROLE = "providers/"


def path(lab: Lab, role: str) -> Path:
    """The file of the role `controller`, `placement`, `compute/<host>` or `providers/<host>`."""
    if role.startswith(PROVIDERS_ROLE):
        return config.providers(lab, role.removeprefix(PROVIDERS_ROLE)) / "50-gpufarm.yaml"
    return lab.path("etc", "nova", config.FARM_FOLDER, role.replace("/", "-") + ".conf")


def roles(lab: Lab) -> tuple[str, ...]:
    of_hosts = (kind + host for host in lab.hosts for kind in (COMPUTE_ROLE, PROVIDERS_ROLE))
    return (config.CONTROLLER, config.PLACEMENT, *of_hosts)


def now(lab: Lab) -> dict[str, str]:
    """{role: text}; an empty text where the farm said nothing yet."""
    found = {role: path(lab, role) for role in roles(lab)}
    return {role: file.read_text() if file.exists() else "" for role, file in found.items()}


def put(lab: Lab, wanted: dict[str, str]) -> tuple[str, ...]:
    """Write the files of these roles; returns the roles whose files changed. One without a text is
    removed."""
    return tuple(role for role, text in wanted.items() if _put(path(lab, role), text))


def _put(file: Path, text: str) -> bool:
    if text:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return files.write_if_changed(file, text, files.SECRET)
    there = file.exists()
    file.unlink(missing_ok=True)
    return there


def of_placement(lab: Lab) -> settings.Settings:
    """What the farm file says of Placement."""
    return settings.parse(now(lab)[config.PLACEMENT])


def merge_roles(lab: Lab) -> None:
    """Write the files of a `single` lab, whose one process has both roles.

    One for each host, read while its nova-compute starts, and one to go on with afterwards: what
    Nova reads again later (report_in_placement) holds for every role; which devices a host offers
    (device_spec) it reads only at its start, and so does our driver what the host keeps back.
    """
    if lab.mode != "single":
        return
    texts = now(lab)
    controller = settings.parse(texts[config.CONTROLLER])
    computes = {host: settings.parse(texts[COMPUTE_ROLE + host]) for host in lab.hosts}
    merged = {host: settings.merge(controller, compute) for host, compute in computes.items()}
    later = [_without_own(compute) for compute in computes.values()]
    merged[config.CONTROLLER] = settings.merge(controller, *later)
    for name, found in merged.items():
        text = settings.render(found)
        files.write_if_changed(path(lab, f"merged/{name}"), text, files.SECRET)


def _without_own(compute: settings.Settings) -> settings.Settings:
    """What of it is not one host's alone."""
    for section, option in (
        ("pci", "device_spec"),
        ("DEFAULT", "reserved_host_cpus"),
        ("DEFAULT", "reserved_host_memory_mb"),
    ):
        compute = settings.without(compute, section, option)
    return compute
