"""What is known of a host: its PCI functions, its kernel, its boot configuration, its programs.

Values only: who reads them is `gpufarm.host`. `None` is "not known" everywhere, which is not the
same as an empty list; what was there and could not be taken is listed in `HostFacts.gaps`.
"""

from typing import Literal

import msgspec


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every value here."""


class Gap(Fact, frozen=True, kw_only=True):
    """What could not be read or was not what it should be; `where` is its path or line."""

    where: str
    problem: str


class Bar(Fact, frozen=True, kw_only=True):
    """One memory or I/O region that a function decodes (base address register `index`, 0 to 5).

    `size` is None where the kernel gave up on the region and no longer says how large it was.
    """

    index: int
    kind: Literal["memory", "io"]
    size: int | None
    start: int | None
    """None where no address is assigned."""
    prefetchable: bool = False


class Link(Fact, frozen=True, kw_only=True):
    """A PCI Express link; speeds in GT/s. A width of 0 is a link that is down."""

    speed: float | None = None
    max_speed: float | None = None
    width: int | None = None
    max_width: int | None = None


class MdevType(Fact, frozen=True, kw_only=True):
    """A kind of mediated device that a function can be divided into."""

    name: str
    title: str | None = None
    available: int | None = None


class PciFunction(Fact, frozen=True, kw_only=True):
    """One PCI function as the kernel sees it."""

    address: str
    vendor_id: str
    product_id: str
    class_id: str
    subsystem_vendor_id: str | None = None
    subsystem_id: str | None = None
    driver: str | None = None
    driver_override: str | None = None
    modalias: str | None = None
    numa_node: int | None = None
    iommu_group: int | None = None
    bars: tuple[Bar, ...] = ()
    link: Link | None = None
    """Of displays and bridges."""
    reset_methods: tuple[str, ...] | None = None
    boot_vga: bool = False
    sriov_total: int | None = None
    """VFs that it can have; None where it has no SR-IOV capability."""
    sriov_enabled: int = 0
    physical_function: str | None = None
    """Of a VF, the address of its PF."""
    mdev_types: tuple[MdevType, ...] = ()
    vfio_device: str | None = None
    """Its name below /dev/vfio/devices, on kernels with that interface."""
    parent: str | None = None
    """The bridge above, None where it sits on a root bus or where that is not known."""
    answers: bool = True
    """False where configuration space reads all ones: the device is dead or gone."""
    name: str | None = None
    """As the source printed it; None where it prints none (sysfs)."""


class IommuGroup(Fact, frozen=True, kw_only=True):
    number: int
    addresses: tuple[str, ...]


class Iommu(Fact, frozen=True, kw_only=True):
    """`active` None: cannot be seen from this source."""

    active: bool | None = None
    units: tuple[str, ...] = ()
    """As in /sys/class/iommu: dmar0 (Intel), ivhd0 (AMD), smmu3.0x... (Arm)."""
    firmware_tables: tuple[str, ...] | None = None
    """Those of DMAR (Intel) and IVRS (AMD) that the firmware hands over."""
    interrupt_remapping: bool | None = None
    groups: tuple[IommuGroup, ...] = ()


class Parameter(Fact, frozen=True, kw_only=True):
    """One word of a kernel command line; `value` None where there is no equals sign."""

    name: str
    value: str | None = None


class ModuleParameter(Fact, frozen=True, kw_only=True):
    """A parameter of a loaded module, now."""

    module: str
    name: str
    value: str


class Kernel(Fact, frozen=True, kw_only=True):
    """`builtin` and `installed` name only modules that passthrough is about."""

    release: str | None = None
    cmdline: tuple[Parameter, ...] | None = None
    loaded: frozenset[str] | None = None
    builtin: frozenset[str] = frozenset()
    installed: frozenset[str] | None = None
    parameters: tuple[ModuleParameter, ...] = ()
    options: dict[str, str] = {}
    """CONFIG_ settings of the build that passthrough is about."""


class Cpu(Fact, frozen=True, kw_only=True):
    vendor: str | None = None
    model: str | None = None
    flags: frozenset[str] = frozenset()
    physical_bits: int | None = None


class ConfigFile(Fact, frozen=True, kw_only=True):
    path: str
    text: str


class ModprobeLine(Fact, frozen=True, kw_only=True):
    """One command of modprobe.d; `words` are what follows it. A file hidden by one of the same name
    in a folder that ranks higher is not here."""

    path: str
    line: int
    command: str
    words: tuple[str, ...]


class ModuleToLoad(Fact, frozen=True, kw_only=True):
    """A module that is loaded at boot, by /etc/modules, modules-load.d or the initramfs."""

    path: str
    line: int
    module: str
    when: Literal["initramfs", "boot"]
    options: tuple[str, ...] = ()
    """What follows the name, as in `pci_stub ids=10de:11b4`."""


class BootEntry(Fact, frozen=True, kw_only=True):
    """The kernel command line that the boot loader's configuration will give the next time.

    `complete` is False where a file does what cannot be followed without running it.
    """

    path: str
    cmdline: tuple[Parameter, ...]
    complete: bool = True


class Boot(Fact, frozen=True, kw_only=True):
    """What decides about the next boot; `tools` are the programs found that change it."""

    loader: Literal["grub", "bls", "systemd-boot"] | None = None
    initramfs: Literal["initramfs-tools", "dracut"] | None = None
    next: BootEntry | None = None
    """By the settings; where GRUB's menu was not written since, `menu` differs."""
    menu: BootEntry | None = None
    files: tuple[ConfigFile, ...] = ()
    modprobe: tuple[ModprobeLine, ...] = ()
    load: tuple[ModuleToLoad, ...] = ()
    overrides: dict[str, str] = {}
    """Drivers kept by address (/etc/driverctl.d)."""
    binders: tuple[ConfigFile, ...] = ()
    """Lines about driver_override and VFIO in udev rules, units and initramfs scripts."""
    tools: frozenset[str] = frozenset()


class Holder(Fact, frozen=True, kw_only=True):
    """A process that has a VFIO device open; `guest` is its name where it is QEMU."""

    pid: int
    command: str
    guest: str | None = None
    paths: tuple[str, ...] = ()


class Machine(Fact, frozen=True, kw_only=True):
    hostname: str | None = None
    vendor: str | None = None
    product: str | None = None
    firmware: str | None = None
    system: str | None = None
    system_like: tuple[str, ...] = ()
    system_version: str | None = None
    numa_nodes: int | None = None
    slots: dict[str, str] = {}
    """{address without function: name of the physical slot}."""


class HostFacts(Fact, frozen=True, kw_only=True):
    """Everything that is known of one host. `origin` says from where it is."""

    origin: str
    source: Literal["machine", "lspci"] = "machine"
    functions: tuple[PciFunction, ...] = ()
    iommu: Iommu = Iommu()
    kernel: Kernel = Kernel()
    cpu: Cpu = Cpu()
    kvm: bool | None = None
    boot: Boot = Boot()
    machine: Machine = Machine()
    qemu: str | None = None
    libvirt: str | None = None
    vfio_groups: tuple[int, ...] = ()
    """Those with a node in /dev/vfio."""
    holders: tuple[Holder, ...] | None = None
    gaps: tuple[Gap, ...] = ()
