"""What `gpufarm lab up --real-hosts` takes from elsewhere: hosts are prepared as any host is."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from gpufarm.cli.base import UsageError
from gpufarm.host import apply, names
from gpufarm.host.target import There
from gpufarm.lab import state, up
from gpufarm.lab.real import hosts, saved
from gpufarm.lab.real.hosts import Wanted
from gpufarm.lab.state import CLOUD, Lab
from gpufarm.lab.virthost import cards
from gpufarm.lab.virthost import host as virthost
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine
from gpufarm.model.errors import LabError, LabNotRunning, NotInCloud
from gpufarm.model.host_spec import CardChoice, HostSpec
from gpufarm.system.machine import Machine as Here


def asked(parsed: argparse.Namespace) -> tuple[Wanted, ...]:
    """The real hosts that the options name. Raises UsageError."""
    if not parsed.real_hosts:
        if parsed.card:
            raise UsageError("--card goes with --real-hosts")
        return ()
    if parsed.real_hosts < 0:
        raise UsageError("--real-hosts: a number of hosts")
    if parsed.mode == "single":
        raise UsageError("--real-hosts needs the lab in split mode")
    try:
        return hosts.named(
            parsed.real_hosts, tuple(parsed.card) or (cards.parse(hosts.DEFAULT_CARD),)
        )
    except ValueError as error:
        raise UsageError(f"--real-hosts: {error}") from error


def spec(machine: Machine) -> HostSpec:
    """Every card of that host leaves it."""
    ids = dict.fromkeys(
        (each.functions[0].vendor_id, each.functions[0].product_id) for each in machine.cards
    )
    return HostSpec(
        version=1,
        cards=tuple(CardChoice(vendor_id=vendor, product_id=product) for vendor, product in ids),
    )


def prepare(reached: Guest, machine: Machine) -> bool:
    """What `gpufarm host apply` does with that spec; whether a reboot is left. Raises HostError."""
    target = There(reached.name, reached.config)
    return apply.prepare(target, spec(machine), names.load(Here())).needs_reboot


def register_guest(lab: Lab, note: Callable[[str], None]) -> None:
    """Have the lab's Glance offer the tiny guest that lists its PCI functions."""
    from gpufarm.cloud import guest_image
    from gpufarm.cloud.connect import connect

    found = saved.get(note)
    connection = connect(CLOUD, lab.path("clouds.yaml"))
    kernel, initrd = (found.folder / name for name in (saved.KERNEL, saved.INITRD))
    if guest_image.ensure(connection, kernel, initrd):
        note(f"image {guest_image.NAME} is in Glance")


def leave(folder: Path, name: str) -> None:
    """Power that host off and take it off the lab and its Nova, where it is a real host of the lab.

    Raises LabNotRunning, LabError while it has servers, CloudError.
    """
    from gpufarm.cloud import hosts as compute_hosts
    from gpufarm.cloud.connect import connect

    if not (folder / "lab.json").exists() or name not in state.load(folder).real:
        return
    with up.locked(folder):
        lab = state.load(folder)
        if state.supervisor(folder) is None:
            raise LabNotRunning(str(folder))
        connection = connect(CLOUD, lab.path("clouds.yaml"))
        servers = [each.name for each in compute_hosts.servers_on(connection, name)]
        if servers:
            raise LabError(f"{name} has servers: delete or move them first: {', '.join(servers)}")
        virthost.stop(folder, name)
        with contextlib.suppress(NotInCloud):  # of a run that was interrupted
            compute_hosts.forget(connection, compute_hosts.service(connection, name))
        left = tuple(each for each in lab.real if each != name)
        state.save(msgspec.structs.replace(lab, real=left))
