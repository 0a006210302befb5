"""The settings of Nova and Placement from a farm file, put where the lab's services read them."""

from pathlib import Path

from gpufarm.lab import config
from gpufarm.lab.state import Lab
from gpufarm.model import settings
from gpufarm.system import files

COMPUTE_ROLE = "compute/"


def path(lab: Lab, role: str) -> Path:
    """The file of the role `controller`, `placement` or `compute/<host>`."""
    return lab.path("etc", "nova", config.FARM_FOLDER, role.replace("/", "-") + ".conf")


def roles(lab: Lab) -> tuple[str, ...]:
    return (config.CONTROLLER, config.PLACEMENT, *(COMPUTE_ROLE + host for host in lab.hosts))


def now(lab: Lab) -> dict[str, str]:
    """{role: text}; an empty text where the farm said nothing yet."""
    found = {role: path(lab, role) for role in roles(lab)}
    return {role: file.read_text() if file.exists() else "" for role, file in found.items()}


def put(lab: Lab, wanted: dict[str, str]) -> tuple[str, ...]:
    """Write the settings of these roles; returns the roles whose settings changed."""
    return tuple(
        role
        for role, text in wanted.items()
        if files.write_if_changed(path(lab, role), text, files.SECRET)
    )


def of_placement(lab: Lab) -> settings.Settings:
    """What the farm file says of Placement."""
    return settings.parse(now(lab)[config.PLACEMENT])


def merge_roles(lab: Lab) -> None:
    """Write the files of a `single` lab, whose one process has both roles.

    One for each host, read while its nova-compute starts, and one to go on with afterwards: what
    Nova reads again later (report_in_placement) holds for every role; which devices a host offers
    (device_spec) it reads only at its start.
    """
    if lab.mode != "single":
        return
    texts = now(lab)
    controller = settings.parse(texts[config.CONTROLLER])
    computes = {host: settings.parse(texts[COMPUTE_ROLE + host]) for host in lab.hosts}
    merged = {host: settings.merge(controller, compute) for host, compute in computes.items()}
    later = [settings.without(compute, "pci", "device_spec") for compute in computes.values()]
    merged[config.CONTROLLER] = settings.merge(controller, *later)
    for name, found in merged.items():
        text = settings.render(found)
        files.write_if_changed(path(lab, f"merged/{name}"), text, files.SECRET)
