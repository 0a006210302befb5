"""When a virtual host can be used: it has its name and clock, its units run, it sees its cards."""

import re
import time
from collections.abc import Callable

from gpufarm.lab.virthost import guest as guests
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine, disk_address, plugged
from gpufarm.model.errors import ProgramTimedOut, VirtualHostFailed

CARDS_LIMIT = 60.0
ATTEMPT_LIMIT = 30.0

NAME = """\
set -e
hostname {name}
echo {name} > /etc/hostname
sed -i 's/^127\\.0\\.1\\.1 .*/127.0.1.1 {name}/' /etc/hosts
"""
CLOCK = "date --utc --set @{now:.0f} > /dev/null\n"
"""A resumed host has the time at which it was saved."""

RESCAN = "echo 1 > /sys/bus/pci/rescan\n"
"""A resumed host was saved without its switch (`image.SETTLE`); to a booted one it does nothing."""
UNITS = """\
udevadm settle --timeout=120
systemctl is-system-running --wait || systemctl --failed --plain --no-legend
"""
FUNCTIONS = "cd /sys/bus/pci/devices && grep -H . */vendor */device\n"

REBOOT = "systemctl reboot"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id\n"

NVME_IDS = ("1b36", "0010")
"""QEMU's NVMe controller (docs/specs/pci-ids.rst)."""


def settle(
    guest: Guest, machine: Machine, port: int, limit: float, check: Callable[[], None]
) -> None:
    """Give the host its name and the time, and return once it can be used.

    VirtualHostFailed where that does not come about, or `check` says that it never will.
    """

    def script() -> str:
        # The name is one of `machine.NAME`: it needs no quotes.
        clock = CLOCK.format(now=time.time())
        return NAME.format(name=machine.name) + clock + RESCAN + UNITS + FUNCTIONS

    said = guests.first_answer(guest, port, script, limit, check)
    check_units(guest, said)
    deadline = time.monotonic() + CARDS_LIMIT
    # Functions that were plugged in appear one after another.
    while missing := expected(machine).items() - seen(said).items():
        if time.monotonic() > deadline:
            lines = tuple(f"{address} {':'.join(ids)}" for address, ids in sorted(missing))
            problem = f"it does not see these functions after {CARDS_LIMIT:.0f} s:"
            raise VirtualHostFailed(guest.name, problem, str(guest.config.parent), lines)
        said = guest.ask(FUNCTIONS)


def reboot(
    guest: Guest,
    machine: Machine,
    port: int,
    limit: float,
    check: Callable[[], None],
    *,
    by: str,
) -> None:
    """Have the host reboot itself `by` a command, and return once it can be used again."""
    before = boot_id(guest)
    _attempt(guest, by)
    guest.part()
    deadline = time.monotonic() + limit
    while _attempt(guest, BOOT_ID) in {None, before}:
        check()
        if time.monotonic() > deadline:
            problem = f"it has not come back from its reboot within {limit:.0f} s"
            raise VirtualHostFailed(guest.name, problem, str(guest.config.parent))
        time.sleep(0.5)
    settle(guest, machine, port, limit, check)


def boot_id(guest: Guest) -> str:
    """What differs between two boots of the host."""
    return guest.ask(BOOT_ID)


def _attempt(guest: Guest, script: str) -> str | None:
    """What the script prints; None where it fails: a host that goes down may fall silent."""
    try:
        done = guest.run(script, ATTEMPT_LIMIT, shared=False)
    except ProgramTimedOut:
        return None
    return None if done.status else done.stdout.decode(errors="replace")


def check_units(guest: Guest, said: str) -> None:
    """VirtualHostFailed where UNITS printed anything but that all of them run."""
    lines = [line for line in said.splitlines() if not line.startswith("0000:")]
    state, failed = (lines or ["unknown"])[0], lines[1:]
    if state != "running":
        folder = str(guest.config.parent)
        raise VirtualHostFailed(guest.name, f"its units are {state}", folder, tuple(failed))


def expected(machine: Machine) -> dict[str, tuple[str, str]]:
    """{address: (vendor, product)} of all that was plugged in."""
    found = {
        each.address: (each.function.vendor_id, each.function.product_id)
        for each in plugged(machine)
    }
    disk = disk_address(machine)
    return {**found, disk: NVME_IDS} if disk else found


def seen(text: str) -> dict[str, tuple[str, str]]:
    """{address: (vendor, product)} of what FUNCTIONS prints."""
    values = dict(re.findall(r"^(\S+/(?:vendor|device)):0x([0-9a-f]{4})$", text, re.MULTILINE))
    addresses = {path.partition("/")[0] for path in values}
    return {
        address: (values.get(f"{address}/vendor", ""), values.get(f"{address}/device", ""))
        for address in addresses
    }
