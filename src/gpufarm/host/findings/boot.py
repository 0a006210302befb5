"""Findings about the next boot: what it will change, and what it will lose."""

from collections.abc import Iterator

from gpufarm.host.cards import Card
from gpufarm.host.cmdline import same
from gpufarm.host.drivers import is_vfio, vfio_ids
from gpufarm.host.findings.codes import finding
from gpufarm.model.facts import HostFacts, Parameter, PciFunction
from gpufarm.model.finding import Finding

RELEVANT = (
    "intel_iommu",
    "amd_iommu",
    "iommu",
    "iommu.passthrough",
    "intremap",
    "pcie_acs_override",
    "vfio_pci.ids",
    "vfio_pci.disable_vga",
    "pci_stub.ids",
    "vfio_iommu_type1.allow_unsafe_interrupts",
    "modprobe.blacklist",
    "module_blacklist",
    "rd.driver.blacklist",
    "rd.driver.pre",
)
"""Parameters that passthrough depends on; others come and go with the boot loader."""


def _relevant(parameters: tuple[Parameter, ...]) -> dict[str, None]:
    """As they are written, each once, in their order."""
    return {
        each.name if each.value is None else f"{each.name}={each.value}": None
        for each in parameters
        if any(same(each.name, name) for name in RELEVANT)
    }


def pending(facts: HostFacts, _: tuple[Card, ...]) -> Iterator[Finding]:
    entry, now = facts.boot.next, facts.kernel.cmdline
    if entry is None or now is None:
        return
    new = [each for each in _relevant(entry.cmdline) if each not in _relevant(now)]
    if new:
        menu = facts.boot.menu
        unwritten = menu is not None and any(each not in _relevant(menu.cmdline) for each in new)
        yield finding(
            "REBOOT_PENDING",
            None,
            f"{entry.path} has {' '.join(new)}, with which the kernel was not started"
            + (f", and {menu.path} was not written since" if unwritten and menu else ""),
            "run update-grub (grub2-mkconfig, grubby) and reboot" if unwritten else "reboot",
        )


def lost(facts: HostFacts, _: tuple[Card, ...]) -> Iterator[Finding]:
    entry, now = facts.boot.next, facts.kernel.cmdline
    if entry is None or now is None or not entry.complete:
        return
    gone = [each for each in _relevant(now) if each not in _relevant(entry.cmdline)]
    if gone:
        yield finding(
            "CMDLINE_NOT_KEPT",
            None,
            f"the kernel was started with {' '.join(gone)}, which {entry.path} does not have",
            f"put {' '.join(gone)} into {entry.path}, or into a drop-in beside it",
        )


def binding(facts: HostFacts, card: Card) -> Iterator[Finding]:
    """A card that was bound by hand, and is free: while a VM has it, libvirt may have bound it."""
    bound = [each for each in card.functions if is_vfio(each.driver)]
    if facts.source == "lspci" or facts.holders is None or _is_held(facts, card):
        return
    unkept = [each.address for each in bound if not _kept(facts, each)]
    if unkept and card.sriov != "vf":
        yield finding(
            "BINDING_NOT_KEPT",
            card.address,
            f"with vfio-pci are {len(unkept)} of its {len(card.functions)} functions now "
            f"({', '.join(unkept)}), and nothing in the boot configuration binds them",
            "prepare the host for it: by address with driver_override, or with vfio-pci.ids=",
        )


def _is_held(facts: HostFacts, card: Card) -> bool:
    paths = {f"/dev/vfio/{number}" for number in card.groups} | {
        f"/dev/vfio/devices/{each.vfio_device}" for each in card.functions if each.vfio_device
    }
    return any(paths.intersection(holder.paths) for holder in facts.holders or ())


def _kept(facts: HostFacts, function: PciFunction) -> bool:
    return (
        is_vfio(facts.boot.overrides.get(function.address))
        or any(entry.matches(function) for entry in vfio_ids(facts))
        or any(function.address in file.text for file in (*facts.boot.binders, *facts.boot.files))
    )


HOST_RULES = (pending, lost)
CARD_RULES = (binding,)
