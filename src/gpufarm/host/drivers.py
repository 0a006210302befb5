"""Which drivers leave a function to a VM, which are a host's, and how a list of ids matches.

Sources: drivers/vfio/pci/vfio_pci.c (ids), Documentation/driver-api/vfio.rst (viable groups).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from gpufarm.host import cmdline, modprobe
from gpufarm.host.modprobe import plain
from gpufarm.model.facts import HostFacts, PciFunction

STUB = "pci_stub"
FREE = (None, STUB)
"""With these a function is nobody's: libvirt takes it when a VM starts."""
PORT = "pcieport"
"""A port in the group does no harm: its driver does no DMA of its own (driver_managed_dma)."""

GRAPHICS = {
    "10de": ("nouveau", "nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidiafb"),
    "1002": ("amdgpu", "radeon"),
    "8086": ("i915", "xe"),
}
"""{vendor: kernel modules that take its cards}."""
AUDIO = "snd_hda_intel"

ANY_ID = 0xFFFFFFFF
"""PCI_ANY_ID, as it is written in a list of ids."""
_NUMBER = re.compile(r"(?:0x)?([0-9a-f]{1,8})", re.IGNORECASE)


def is_vfio(driver: str | None) -> bool:
    """Whether it is vfio-pci or one of its variants (mlx5_vfio_pci, nvgrace-gpu-vfio-pci)."""
    return driver is not None and plain(driver).endswith("vfio_pci")


def is_host(driver: str | None) -> bool:
    """Whether the host works with the function."""
    return driver is not None and plain(driver) not in FREE and not is_vfio(driver)


def hinders(driver: str | None) -> bool:
    """Whether a function with it keeps its IOMMU group from being given to a VM."""
    return is_host(driver) and driver != PORT


class IdMatch(NamedTuple):
    """One entry of `ids=`: vendor:device[:subvendor[:subdevice[:class[:class mask]]]]."""

    text: str
    where: str
    vendor: int
    device: int
    subvendor: int = ANY_ID
    subdevice: int = ANY_ID
    class_id: int = 0
    class_mask: int = 0

    def matches(self, function: PciFunction) -> bool:
        return (
            self.vendor in (ANY_ID, int(function.vendor_id, 16))
            and self.device in (ANY_ID, int(function.product_id, 16))
            and self.subvendor in (ANY_ID, _known(function.subsystem_vendor_id))
            and self.subdevice in (ANY_ID, _known(function.subsystem_id))
            and not (self.class_id ^ int(function.class_id, 16)) & self.class_mask
        )


def _known(number: str | None) -> int:
    return -1 if number is None else int(number, 16)


def ids(text: str, where: str) -> Iterator[IdMatch]:
    """The entries of a list of ids; what the kernel would warn of and skip is skipped."""
    for entry in text.split(","):
        numbers = [found[1] for part in entry.split(":") if (found := _NUMBER.fullmatch(part))]
        if len(numbers) == len(entry.split(":")) and 2 <= len(numbers) <= 6:  # noqa: PLR2004
            yield IdMatch(entry, where, *(int(number, 16) for number in numbers))


def vfio_ids(facts: HostFacts) -> tuple[IdMatch, ...]:
    """Every entry for vfio-pci and pci-stub, from the command line and from modprobe.d."""
    found: list[IdMatch] = []
    for module in ("vfio-pci", "pci-stub"):
        for value in cmdline.values(facts.kernel.cmdline or (), f"{module}.ids"):
            found += ids(value, f"{module}.ids= on the kernel command line")
        for line, name, value in modprobe.options(facts.boot.modprobe, module):
            if name == "ids":
                found += ids(value, f"options {module} ids= in {line.path}, line {line.line}")
        for each in facts.boot.load:
            for option in each.options if each.module == plain(module) else ():
                name, _, value = option.partition("=")
                if name == "ids":
                    found += ids(value, f"{module} ids= in {each.path}, line {each.line}")
    return tuple(found)
