"""Every code of `host check`, in one table; docs/reference/findings.md explains each."""

import msgspec

from gpufarm.model.finding import Finding, Severity


class Code(msgspec.Struct, frozen=True):
    """What a finding of this code is by default.

    `blocks`: the card cannot be given to a VM as long as it holds (`blockers` of `host scan`).
    """

    severity: Severity
    means: str
    blocks: bool = False


CODES: dict[str, Code] = {
    # the host
    "IOMMU_OFF": Code("error", "the IOMMU is off, or the kernel does not use it", blocks=True),
    "NOIOMMU_MODE": Code("error", "VFIO is allowed to work without an IOMMU"),
    "IOMMU_NOT_REQUESTED": Code("info", "the IOMMU is on only because this kernel's default is so"),
    "INTERRUPT_REMAPPING_OFF": Code("warning", "the IOMMU does not remap interrupts"),
    "UNSAFE_INTERRUPTS": Code("warning", "VMs may send interrupts to the host"),
    "ACS_OVERRIDE": Code("warning", "IOMMU groups are split without isolation"),
    "KVM_MISSING": Code("error", "there is no /dev/kvm"),
    "VFIO_MISSING": Code("warning", "vfio-pci is not loaded, or not there at all"),
    "QEMU_TOO_OLD": Code("warning", "QEMU cannot hide KVM from a guest"),
    "NO_CARD": Code("info", "there is no card to give away"),
    "FACTS_INCOMPLETE": Code("info", "something could not be read"),
    # its configuration
    "VFIO_IDS_TOO_WIDE": Code("warning", "a list of ids takes a device that the host needs"),
    "VFIO_IDS_UNUSED": Code("info", "a list of ids names what is not there"),
    "OPTIONS_IGNORED": Code("warning", "options of a module that is built in have no effect"),
    "MODULE_GONE": Code("warning", "a module is to be loaded that this kernel does not have"),
    "HOST_DRIVER_LOADED": Code("warning", "a module is loaded that would take the card"),
    "REBOOT_PENDING": Code("warning", "settings of the boot loader are not in effect yet"),
    "CMDLINE_NOT_KEPT": Code("warning", "the next boot will lose parameters of the kernel"),
    "BINDING_NOT_KEPT": Code("warning", "the next boot will not bind the card to vfio-pci"),
    # a card
    "MANAGEMENT_VGA": Code("info", "the management controller's display", blocks=True),
    "INTEGRATED_GPU": Code("info", "a part of the processor or chipset", blocks=True),
    "BOOT_VGA": Code("warning", "the card that shows the host's console", blocks=True),
    "GROUP_NOT_VIABLE": Code("error", "others share the card's IOMMU group", blocks=True),
    "FUNCTION_LEFT_BEHIND": Code("error", "a part of the card is still the host's", blocks=True),
    "HOST_DRIVER_BOUND": Code("warning", "a driver of the host has the card", blocks=True),
    "CARD_IN_USE": Code("info", "a process has the card open", blocks=True),
    "SRIOV_IN_USE": Code("info", "the card is divided into virtual functions", blocks=True),
    "DEVICE_DEAD": Code("error", "the card does not answer", blocks=True),
    "BAR_UNASSIGNED": Code("error", "a memory region of the card has no address", blocks=True),
    "NO_RESET": Code("warning", "the card cannot be reset between two VMs"),
    "RESETS_BADLY": Code("warning", "the model is known not to come back from a reset"),
    "LINK_DEGRADED": Code("warning", "the card's link is below its maximum"),
    "NUMA_UNKNOWN": Code("info", "the card's NUMA node is not known"),
    "GUEST_ADDRESS_BITS": Code("info", "the card's memory regions are large for a guest"),
    "NVSWITCH": Code("info", "cards are joined by NVSwitches"),
    "HIDE_KVM": Code("info", "the card's driver may refuse to work where it sees KVM"),
    "CARD_LIMIT": Code("info", "a limit of the model that users will ask about"),
    "CARD_DIVISIBLE": Code("info", "the model can be divided between VMs"),
}


def count(number: int, noun: str) -> str:
    """`1 card`, `2 cards`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def finding(
    code: str,
    address: str | None,
    message: str,
    fix: str,
    *,
    severity: Severity | None = None,
    blocks: bool | None = None,
) -> Finding:
    """A finding, as severe as its code says unless it is said here."""
    default = CODES[code]
    return Finding(
        code=code,
        severity=severity or default.severity,
        address=address,
        message=message,
        fix=fix,
        blocks=default.blocks if blocks is None else blocks,
    )
