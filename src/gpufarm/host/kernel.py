"""The kernel, the processor and the IOMMU of a machine."""

import re

from gpufarm.host import cmdline
from gpufarm.host.modprobe import plain
from gpufarm.host.numbers import hexadecimal, natural
from gpufarm.host.reading import Reading, lines
from gpufarm.model.facts import Cpu, Iommu, IommuGroup, Kernel, ModuleParameter, PciFunction
from gpufarm.model.printable import printable

RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
MODULE_FILE = re.compile(r"(.+)\.ko(?:\.(?:gz|xz|zst))?")

PARAMETERS = (
    ("vfio", "enable_unsafe_noiommu_mode"),
    ("vfio_iommu_type1", "allow_unsafe_interrupts"),
    ("vfio_pci", "ids"),
    ("vfio_pci", "disable_idle_d3"),
    ("vfio_pci", "disable_vga"),
    ("vfio_pci", "enable_sriov"),
    ("pci_stub", "ids"),
    ("kvm", "ignore_msrs"),
    ("kvm_intel", "nested"),
    ("kvm_amd", "nested"),
)

MODULE_FOLDERS = (
    "drivers/vfio",
    "drivers/vfio/pci",
    "drivers/pci",
    "arch/x86/kvm",
)
"""Below kernel/ in a kernel's module folder: where the modules lie that passthrough needs."""
WANTED_MODULE = re.compile(r"(vfio.*|.*_vfio_pci|pci_stub|kvm|kvm_intel|kvm_amd|iommufd)")
WANTED_OPTION = re.compile(
    r"CONFIG_(VFIO|PCI_STUB|KVM(_INTEL|_AMD)?=|INTEL_IOMMU|AMD_IOMMU|IOMMU_DEFAULT|IRQ_REMAP"
    r"|IOMMUFD|ARM_SMMU|PCI_PASID|FB_EFI|SYSFB_SIMPLEFB)"
)

FIRMWARE_TABLES = frozenset(("DMAR", "IVRS"))
"""How firmware describes Intel's and AMD's IOMMU (VT-d and AMD IOMMU specifications)."""
ECAP_INTERRUPT_REMAPPING = 1 << 3
"""IR in the extended capability register (Intel VT-d specification, section 11.4.3)."""

GROUPS = "/sys/kernel/iommu_groups"
UNITS = "/sys/class/iommu"


def kernel(reading: Reading) -> Kernel:
    release = reading.line("/proc/sys/kernel/osrelease")
    if release and not RELEASE.fullmatch(release):
        reading.gap("/proc/sys/kernel/osrelease", f"no release of a kernel: {release[:40]!r}")
        release = None
    given = reading.root.text("/proc/cmdline")
    return Kernel(
        release=release,
        cmdline=cmdline.parse(printable(given.strip())) if given is not None else None,
        loaded=_loaded(reading),
        builtin=_builtin(reading, release),
        installed=_installed(reading, release),
        parameters=_parameters(reading),
        options=_options(reading, release),
    )


def _loaded(reading: Reading) -> frozenset[str] | None:
    """Names in /proc/modules, in which the first word of a line is one; None where it is absent."""
    text = reading.root.text("/proc/modules", _first_words)
    return None if text is None else frozenset(text.split())


def _first_words(text: str) -> str:
    """Without sizes and addresses, which say where the kernel lies in memory."""
    names = (line.split(" ", 1)[0] for line in text.split("\n"))
    return "".join(f"{name}\n" for name in names if name.isprintable() and name)


def _builtin(reading: Reading, release: str | None) -> frozenset[str]:
    if release is None:
        return frozenset()
    text = reading.root.text(f"/lib/modules/{release}/modules.builtin", lines(_is_wanted_file))
    return frozenset(name for line in (text or "").split("\n") if (name := _module(line)))


def _installed(reading: Reading, release: str | None) -> frozenset[str] | None:
    """Modules of the running kernel that lie on disk; None where its folder is not there."""
    top = f"/lib/modules/{release}/kernel"
    if release is None or not reading.root.among(f"/lib/modules/{release}", {"kernel"}):
        return None
    return frozenset(
        module
        for folder in MODULE_FOLDERS
        for name in reading.root.names(f"{top}/{folder}")
        if (module := _module(name)) and WANTED_MODULE.fullmatch(module)
    )


def _module(path: str) -> str:
    found = MODULE_FILE.fullmatch(path.rpartition("/")[2])
    return plain(found[1]) if found else ""


def _is_wanted_file(line: str) -> bool:
    return bool(WANTED_MODULE.fullmatch(_module(line)))


def _parameters(reading: Reading) -> tuple[ModuleParameter, ...]:
    modules = reading.root.among("/sys/module", {module for module, _ in PARAMETERS})
    return tuple(
        ModuleParameter(module=module, name=name, value=value)
        for module, name in PARAMETERS
        if module in modules
        and (value := reading.line(f"/sys/module/{module}/parameters/{name}")) is not None
    )


def _options(reading: Reading, release: str | None) -> dict[str, str]:
    if release is None:
        return {}
    wanted = lines(lambda line: bool(WANTED_OPTION.match(line)))
    text = reading.root.text(f"/boot/config-{release}", wanted)
    if text is None:
        text = reading.root.text(f"/lib/modules/{release}/config", wanted)
    pairs = (line.partition("=") for line in (text or "").split("\n"))
    return {name: printable(value) for name, equals, value in pairs if equals}


def cpu(reading: Reading) -> Cpu:
    text = reading.root.text("/proc/cpuinfo", first_block) or ""
    pairs = (line.partition(":") for line in text.split("\n"))
    found = {name.strip(): printable(value.strip()) for name, _, value in pairs}
    bits = re.match(r"([0-9]{1,3}) bits physical", found.get("address sizes", ""))
    return Cpu(
        vendor=found.get("vendor_id"),
        model=found.get("model name"),
        flags=frozenset(found.get("flags", found.get("Features", "")).split()),
        physical_bits=int(bits[1]) if bits else None,
    )


def first_block(text: str) -> str:
    """The first processor; the others say the same."""
    return text.partition("\n\n")[0].rstrip("\n") + "\n"


def kvm(reading: Reading, kernel: Kernel, cpu: Cpu) -> bool | None:
    """Whether /dev/kvm is there, or a module that makes it; None where nothing tells."""
    modules = {"kvm_intel", "kvm_amd"}
    if reading.root.among("/dev", {"kvm"}) or modules & (kernel.loaded or frozenset()):
        return True
    return None if kernel.loaded is None and not cpu.flags else False


def iommu(
    reading: Reading, functions: tuple[PciFunction, ...], parameters: tuple[ModuleParameter, ...]
) -> Iommu:
    units = reading.root.names(UNITS)
    tables = (
        tuple(sorted(reading.root.among("/sys/firmware/acpi/tables", FIRMWARE_TABLES)))
        if reading.root.among("/sys/firmware", {"acpi"})
        else None
    )
    groups = _groups(reading, functions)
    # Without an IOMMU this mode makes groups that protect nothing (drivers/vfio/group.c).
    pretended = not units and any(
        each.name == "enable_unsafe_noiommu_mode" and cmdline.is_true(each.value)
        for each in parameters
    )
    return Iommu(
        active=bool(groups) and not pretended,
        units=units,
        firmware_tables=tables,
        interrupt_remapping=_interrupt_remapping(reading, units),
        groups=groups,
    )


def _groups(reading: Reading, functions: tuple[PciFunction, ...]) -> tuple[IommuGroup, ...]:
    """Every group, that of devices that are no PCI functions and the empty ones too."""
    members: dict[int, set[str]] = {}
    for function in functions:
        if function.iommu_group is not None:
            members.setdefault(function.iommu_group, set()).add(function.address)
    for name in reading.root.names(GROUPS):
        number = natural(name)
        if number is None:
            reading.gap(f"{GROUPS}/{name}", "not the number of an IOMMU group")
        elif number not in members:
            members[number] = set(reading.root.names(f"{GROUPS}/{name}/devices"))
    return tuple(
        IommuGroup(number=number, addresses=tuple(sorted(members[number])))
        for number in sorted(members)
    )


def _interrupt_remapping(reading: Reading, units: tuple[str, ...]) -> bool | None:
    """Whether every unit can remap interrupts; AMD's all can, Arm's leave it to the GIC."""
    found = []
    for unit in units:
        if unit.startswith("dmar"):
            register = reading.number(f"{UNITS}/{unit}/intel-iommu/ecap", hexadecimal)
            found.append(None if register is None else bool(register & ECAP_INTERRUPT_REMAPPING))
        elif unit.startswith("ivhd"):
            found.append(True)
    if False in found:
        return False
    return True if found and None not in found else None
