"""What the fault of a server in ERROR hides: Nova's texts, read.

What is decided here: which of the known texts a fault is, and what it means. The texts are those of
nova/exception.py, nova/conductor/manager.py and libvirt, as they stand in `fault`.
"""

import re

from gpufarm.capacity.explain import Reason
from gpufarm.capacity.obstacle import CLAIM, NOVA
from gpufarm.model.printable import printable

_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"No valid host was found",
        NOVA,
        (
            "the scheduler found no host, and what each one lacked stands only in its log; the "
            "reasons here are those of now"
        ),
    ),
    (
        r"PCI device (?P<device>[0-9a-f:.]+) is in use by driver QEMU(, domain (?P<domain>\S+))?",
        "hypervisor",
        (
            "card {device} counts as free and guest {domain} holds it: `gpufarm claims check` "
            "finds out which of the two is wrong"
        ),
    ),
    (
        r"Exceeded maximum number of retries|Exceeded max scheduling attempts",
        CLAIM,
        (
            "each host that the scheduler chose could not start it: the logs of nova-compute there "
            "have the server's id"
        ),
    ),
    (
        r"Insufficient compute resources: (?P<what>.*)",
        CLAIM,
        (
            "Placement had room and the claim of nova-compute had none: both count differently, or "
            "another server came first"
        ),
    ),
    (
        r"[Qq]uota exceeded",
        "quota",
        "the quota was used up between the request and the start",
    ),
    (
        r"PCI alias (?P<alias>\S+) is not defined",
        CLAIM,
        "nova-compute has no [pci]alias {alias}: it needs it as nova-api does",
    ),
)


_NOT_OPENED = r"vfio (?P<card>[0-9a-f:.]+): error getting device from group \d+: "
_LOCKED = "Resource temporarily unavailable"

_IN_LOGS: tuple[tuple[str, str], ...] = (
    (
        r"vfio (?P<card>[0-9a-f:.]+): group (?P<group>\d+) is not viable",
        (
            "its IOMMU group {group} is not viable: another function of it is with a driver of the "
            "host; `gpufarm host plan --spec` says which and binds it"
        ),
    ),
    (
        r"PCI device (?P<card>[0-9a-f:.]+) is in use by driver QEMU, domain (?P<domain>\S+)",
        (
            "guest {domain} holds it, and Nova counts it as free: end that guest; `gpufarm claims "
            "check` says whose it is"
        ),
    ),
    (
        r"vfio (?P<card>[0-9a-f:.]+): failed to open /dev/vfio/\d+: Device or resource busy",
        "a process outside of libvirt holds it: `gpufarm host scan` names it",
    ),
    (
        r"Unmanaged PCI device (?P<card>[0-9a-f:.]+) must be manually detached from the host",
        "it is not with its VFIO driver, and the farm says `managed: false`: prepare the host",
    ),
    (
        r"Path '/dev/vfio/(?P<group>\d+)' is not accessible: No such file or directory",
        (
            "it is not with its VFIO driver, and the farm says `managed: false`: `gpufarm host "
            "scan` says which card it is; prepare the host"
        ),
    ),
    (
        r"Device (?P<card>[0-9a-f:.]+) not found: could not access",
        "it is gone from the host's PCI bus: it was pulled, or removed by hand",
    ),
    (
        r"Unknown PCI header type '127' for device '(?P<card>[0-9a-f:.]+)'",
        (
            "every read from it is all ones: it did not come back from a reset, or has no power; "
            "starting the host anew from cold mostly helps"
        ),
    ),
    (
        rf"{_NOT_OPENED}{_LOCKED}",
        (
            "the kernel's lock on it was held at that very moment, as by whoever reads its "
            "`uevent` in sysfs: start it again"
        ),
    ),
    (
        rf"{_NOT_OPENED}(?!{_LOCKED})(?P<why>.*)",
        "vfio-pci cannot open it: {why}; the kernel's log of the host says more (`journalctl -k`)",
    ),
    (
        r"Unable to reset PCI device (?P<card>[0-9a-f:.]+): (?P<why>.*)",
        "it could not be reset: {why}",
    ),
)
"""Causes as libvirt and QEMU say them (libvirt 9: src/hypervisor/virhostdev.c, src/util/virpci.c;
QEMU 7.2: hw/vfio/pci.c, hw/vfio/common.c), and what they mean for the card. Linux 6.1.192 opens no
card whose device lock is held (drivers/vfio/pci/vfio_pci_core.c, pci_try_reset_function), and holds
it for whoever reads `uevent` (drivers/base/core.c, uevent_show)."""


def in_log(host: str, log: str) -> tuple[Reason, ...]:
    """What those lines of the nova-compute's log of `host` say of cards, each cause once."""
    found: dict[str, Reason] = {}
    for pattern, meaning in _IN_LOGS:
        for match in re.finditer(pattern, log):
            parts = {name: printable(value) for name, value in match.groupdict().items()}
            subject = "card {card}" if "card" in parts else "a card of IOMMU group {group}"
            text = f"{subject}: {meaning}".format(**parts)
            found[text] = Reason(
                host=host, code="FAULT", message=text, source="hypervisor", blocks=False
            )
    return tuple(found.values())


def read(fault: str) -> Reason | None:
    """What the text means; None for one that says all by itself, or that is not known."""
    for pattern, source, meaning in _KNOWN:
        found = re.search(pattern, fault)
        if found:
            parts = {name: value or "unknown" for name, value in found.groupdict().items()}
            text = f"Nova said: {_short(fault)}: {meaning.format(**parts)}"
            return Reason(host=None, code="FAULT", message=text, source=source, blocks=False)
    if not fault:
        return None
    return Reason(
        host=None, code="FAULT", message=f"Nova said: {_short(fault)}", source=NOVA, blocks=False
    )


def _short(fault: str) -> str:
    return " ".join(fault.split()).rstrip(". ")
