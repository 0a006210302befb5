"""All facts of a host, from one root."""

import re

import msgspec

from gpufarm.host import assignments, boot, functions, holders, kernel
from gpufarm.host.reading import Reading
from gpufarm.model.facts import HostFacts, IommuGroup, Machine, PciFunction
from gpufarm.model.printable import printable
from gpufarm.system.capture import Capture, Recorder
from gpufarm.system.root import Root

SLOTS = "/sys/bus/pci/slots"
DMI = "/sys/class/dmi/id"
LIBVIRT = "libvirt.so.0."
LIBRARIES = ("/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")


def read(root: Root) -> HostFacts:
    """Whatever can be had; what is missing or odd is in `gaps`. Raises nothing."""
    reading = Reading(root)
    running = kernel.kernel(reading)
    cpu = kernel.cpu(reading)
    found = functions.read(reading)
    iommu = kernel.iommu(reading, found, running.parameters)
    return HostFacts(
        origin=root.name,
        functions=_grouped(found, iommu.groups),
        iommu=iommu,
        kernel=running,
        cpu=cpu,
        kvm=kernel.kvm(reading, running, cpu),
        boot=boot.read(reading, running.release),
        machine=_machine(reading),
        qemu=root.output("qemu"),
        libvirt=_libvirt(root),
        vfio_groups=holders.groups(reading),
        holders=holders.read(reading),
        gaps=reading.gaps(),
    )


def capture(root: Root) -> Capture:
    """A capture of everything that `read` looks at, and of nothing else."""
    recorder = Recorder(root)
    read(recorder)
    return recorder.capture()


def _grouped(
    found: tuple[PciFunction, ...], groups: tuple[IommuGroup, ...]
) -> tuple[PciFunction, ...]:
    """Where only the groups say who is in them (a tree without symlinks), the functions say it."""
    numbers = {address: group.number for group in groups for address in group.addresses}
    return tuple(
        msgspec.structs.replace(each, iommu_group=numbers[each.address])
        if each.iommu_group is None and each.address in numbers
        else each
        for each in found
    )


def _machine(reading: Reading) -> Machine:
    system: dict[str, str] = {}
    for path in OS_RELEASE:
        text = reading.root.text(path)
        if text is not None:
            system = assignments.parse(text).values
            break
    nodes = [
        name
        for name in reading.root.names("/sys/devices/system/node", "node")
        if re.fullmatch(r"node\d+", name)
    ]
    return Machine(
        hostname=reading.line("/proc/sys/kernel/hostname"),
        vendor=reading.line(f"{DMI}/sys_vendor"),
        product=reading.line(f"{DMI}/product_name"),
        firmware=reading.line(f"{DMI}/bios_version"),
        system=printable(system.get("ID", "")) or None,
        system_like=tuple(printable(system.get("ID_LIKE", "")).split()),
        system_version=printable(system.get("VERSION_ID", "")) or None,
        numa_nodes=len(nodes) or None,
        slots=_slots(reading),
    )


def _libvirt(root: Root) -> str | None:
    """The version, out of the library's file name.

    libvirt.so.0.9005.1 is version 9.5.1 (libvirt's meson.build, libvirt_lib_version). Asking the
    daemon would take longer than reading all of the rest.
    """
    for folder in LIBRARIES:
        for name in root.names(folder, LIBVIRT):
            found = re.fullmatch(r"(\d{4,6})\.(\d{1,4})", name.removeprefix(LIBVIRT))
            if found:
                major, minor = divmod(int(found[1]), 1000)
                return f"{major}.{minor}.{found[2]}"
    return None


def _slots(reading: Reading) -> dict[str, str]:
    """{address without function: what is printed at the slot}."""
    return {
        address: name
        for name in reading.root.names(SLOTS)
        if (address := reading.line(f"{SLOTS}/{name}/address"))
    }
