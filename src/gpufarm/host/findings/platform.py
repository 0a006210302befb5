"""Findings about the host itself: IOMMU, interrupts, KVM, VFIO, QEMU."""

import re
from collections.abc import Iterator

from gpufarm.host import cmdline, modprobe
from gpufarm.host.cards import Card
from gpufarm.host.drivers import is_vfio
from gpufarm.host.findings.codes import count, finding
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding

Cards = tuple[Card, ...]

HIDES_KVM = (2, 1)
"""QEMU's `kvm=off` of -cpu, which libvirt's <hidden state='on'/> becomes (QEMU 2.1 changelog)."""
SHOWN = 3


def iommu(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    if facts.iommu.active is False:
        message, fix = _why_off(facts)
        yield finding("IOMMU_OFF", None, message, fix)


def _why_off(facts: HostFacts) -> tuple[str, str]:
    tables = facts.iommu.firmware_tables
    parameters = facts.kernel.cmdline or ()
    amd = tables == ("IVRS",) or (not tables and facts.cpu.vendor == "AuthenticAMD")
    name, technology = ("amd_iommu", "AMD-Vi") if amd else ("intel_iommu", "VT-d")
    seen = f"{len(facts.functions)} PCI functions are in 0 IOMMU groups"
    for off in (name, "iommu"):
        if any(value.split(",")[0] == "off" for value in cmdline.values(parameters, off)):
            return (
                f"{seen}: the kernel command line says {off}=off",
                f"take {off}=off off the kernel command line and reboot",
            )
    if tables == ():
        return (
            f"{seen}, and the firmware hands over no DMAR and no IVRS table",
            f"turn on {technology} (also called DMA remapping or IOMMU) in the firmware set-up",
        )
    config = "CONFIG_AMD_IOMMU" if amd else "CONFIG_INTEL_IOMMU"
    if facts.kernel.options and config not in facts.kernel.options:
        return (
            f"{seen}: kernel {facts.kernel.release} was built without {config}",
            "boot a kernel of the distribution's that has it",
        )
    if tables:
        seen += f", although the firmware hands over {' and '.join(tables)}"
    if amd:
        return seen, f"turn on {technology} (IOMMU) in the firmware set-up"
    if _asked_for(facts):
        fix = (
            f"turn on {technology} in the firmware set-up; if it is on, see DMAR in the kernel log"
        )
        return f"{seen}; intel_iommu=on is on the kernel command line", fix
    fix = (
        f"add intel_iommu=on to the kernel command line, see to it that {technology} is on in the "
        "firmware set-up, and reboot"
    )
    return f"{seen}; intel_iommu=on is not on the kernel command line", fix


def _asked_for(facts: HostFacts) -> bool:
    given = cmdline.values(facts.kernel.cmdline or (), "intel_iommu")
    return any("on" in value.split(",") for value in given)


def not_requested(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    intel = any(unit.startswith("dmar") for unit in facts.iommu.units)
    known = facts.kernel.cmdline is not None
    if facts.iommu.active and intel and known and not _asked_for(facts):
        yield finding(
            "IOMMU_NOT_REQUESTED",
            None,
            f"VT-d is on ({count(len(facts.iommu.groups), 'group')}) without intel_iommu=on: "
            f"kernel {facts.kernel.release or '?'} turns it on by itself, others do not",
            "add intel_iommu=on to the kernel command line, so that no other kernel turns it off",
        )


def interrupts(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    parameters = facts.kernel.cmdline or ()
    off = "off" in ",".join(cmdline.values(parameters, "intremap")).split(",") or bool(
        cmdline.values(parameters, "nointremap")
    )
    if facts.iommu.active and (off or facts.iommu.interrupt_remapping is False):
        reason = (
            "the kernel command line turns it off"
            if off
            else f"of {len(facts.iommu.units)} IOMMU units at least one cannot"
        )
        yield finding(
            "INTERRUPT_REMAPPING_OFF",
            None,
            f"interrupts are not remapped ({reason}): VFIO refuses to give a device to a VM unless "
            "unsafe interrupts are allowed",
            "take intremap=off off the kernel command line, or turn on x2APIC and interrupt "
            "remapping in the firmware set-up",
        )


def unsafe_interrupts(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    module, name = "vfio_iommu_type1", "allow_unsafe_interrupts"
    places = _set_places(facts, module, name)
    if places:
        yield finding(
            "UNSAFE_INTERRUPTS",
            None,
            f"{name} is set ({'; '.join(places)}): a VM with a card can make the host believe in "
            "interrupts of other devices",
            f"take {module}.{name} away; where VFIO then refuses, the platform does not remap "
            "interrupts and is not fit for VMs of strangers",
        )


def noiommu(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    module, name = "vfio", "enable_unsafe_noiommu_mode"
    places = _set_places(facts, module, name)
    if places:
        yield finding(
            "NOIOMMU_MODE",
            None,
            f"{name} is set ({'; '.join(places)}): a device given away so can read and write all "
            "of the host's memory",
            f"take {module}.{name} away and turn on the IOMMU",
        )


def _set_places(facts: HostFacts, module: str, name: str) -> list[str]:
    """Where a bool parameter of a module is set to true."""
    places = [
        f"{module}.{name}={value or '1'} on the kernel command line"
        for value in cmdline.values(facts.kernel.cmdline or (), f"{module}.{name}")
        if cmdline.is_true(value)
    ]
    places += [
        f"{line.path}, line {line.line}"
        for line, option, value in modprobe.options(facts.boot.modprobe, module)
        if cmdline.same(option, name) and cmdline.is_true(value)
    ]
    places += [
        "in effect now"
        for each in facts.kernel.parameters
        if (each.module, each.name) == (module, name) and cmdline.is_true(each.value)
    ]
    return places


def acs_override(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    for value in cmdline.values(facts.kernel.cmdline or (), "pcie_acs_override"):
        yield finding(
            "ACS_OVERRIDE",
            None,
            f"pcie_acs_override={value} is on the kernel command line: with a kernel that has that "
            f"patch the {len(facts.iommu.groups)} IOMMU groups are smaller than what the hardware "
            "isolates, and devices of different VMs may reach each other",
            "take it away and use slots whose groups are small by themselves; keep it only where "
            "all VMs trust each other",
        )


def kvm(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    if facts.kvm is not False:
        return
    flags = facts.cpu.flags & {"vmx", "svm"}
    if flags:
        module = "kvm_intel" if "vmx" in flags else "kvm_amd"
        message = f"there is no /dev/kvm, although the processor has {', '.join(sorted(flags))}"
        fix = f"load {module}; where that fails, turn on virtualization in the firmware set-up"
    else:
        message = "there is no /dev/kvm, and the processor's flags have neither vmx nor svm"
        fix = "turn on VT-x or AMD-V in the firmware set-up (on a virtual host: nested KVM)"
    yield finding("KVM_MISSING", None, message, fix)


def vfio(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    kernel = facts.kernel
    there = (
        any(is_vfio(each.driver) for each in facts.functions)
        or "vfio_pci" in (kernel.loaded or ())
        or "vfio_pci" in kernel.builtin
        or any(each.module == "vfio_pci" for each in kernel.parameters)
    )
    if there or (kernel.loaded is None and kernel.installed is None):
        return
    release = kernel.release or "(release not known)"
    if kernel.installed is not None and "vfio_pci" not in kernel.installed:
        yield finding(
            "VFIO_MISSING",
            None,
            f"kernel {release} has no module vfio_pci",
            "install the kernel with all modules (Debian: linux-image-amd64 instead of the cloud "
            "kernel; Ubuntu: linux-modules-extra; RHEL family: kernel-modules-core) and reboot",
            severity="error",
            blocks=True,
        )
    else:
        yield finding(
            "VFIO_MISSING",
            None,
            f"vfio_pci is not loaded (kernel {release})",
            "load vfio-pci at boot (modules-load.d), before the host's drivers take the cards",
        )


def qemu(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    found = re.search(r"version ([0-9]{1,4})\.([0-9]{1,4})", facts.qemu or "")
    if found and (int(found[1]), int(found[2])) < HIDES_KVM:
        yield finding(
            "QEMU_TOO_OLD",
            None,
            f"QEMU {found[1]}.{found[2]} cannot hide KVM from a guest (2.1 or newer can)",
            "upgrade QEMU: drivers of consumer cards refuse to work where they see KVM",
        )


def no_card(facts: HostFacts, cards: Cards) -> Iterator[Finding]:
    if not any(card.kind == "gpu" for card in cards):
        yield finding(
            "NO_CARD",
            None,
            f"among {len(facts.functions)} PCI functions is no card to give away",
            "see that the card is seated and powered, and that the firmware does not hide its slot",
        )


def incomplete(facts: HostFacts, cards: Cards) -> Iterator[Finding]:
    if facts.source == "lspci" and facts.iommu.active is None and cards:
        yield finding(
            "FACTS_INCOMPLETE",
            None,
            f"{facts.origin} shows no IOMMU groups, so that nothing says whether its "
            f"{count(len(cards), 'card')} can be given to a VM",
            "look at the machine itself, over SSH or by a capture, or print lspci -vvnnk as root "
            "with pciutils 3.7 or newer",
            blocks=True,
        )
    if facts.gaps:
        listed = "; ".join(f"{gap.where}: {gap.problem}" for gap in facts.gaps[:SHOWN])
        more = f"; and {len(facts.gaps) - SHOWN} more" if len(facts.gaps) > SHOWN else ""
        yield finding(
            "FACTS_INCOMPLETE",
            None,
            f"{count(len(facts.gaps), 'thing')} could not be read or understood: {listed}{more}",
            "read the host as root; what stays unknown is treated as not there",
        )


HOST_RULES = (
    iommu,
    not_requested,
    interrupts,
    unsafe_interrupts,
    noiommu,
    acs_override,
    kvm,
    vfio,
    qemu,
    no_card,
    incomplete,
)
