"""The PCI functions of a machine, from sysfs.

Sources: the kernel's Documentation/ABI/testing/sysfs-bus-pci and drivers/pci/pci-sysfs.c.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import msgspec

from gpufarm.host.addresses import ADDRESS, order
from gpufarm.host.classes import is_display
from gpufarm.host.reading import Reading
from gpufarm.model.facts import Bar, Link, MdevType, PciFunction
from gpufarm.model.pci import slot

DEVICES = "/sys/bus/pci/devices"
ID = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
CLASS = re.compile(r"(?:0x)?([0-9a-f]{1,6})", re.IGNORECASE)
SPEED = re.compile(r"(\d+(?:\.\d+)?) GT/s")

FILES = frozenset(
    (
        "boot_vga",
        "class",
        "config",
        "current_link_speed",
        "current_link_width",
        "device",
        "driver",
        "driver_override",
        "iommu_group",
        "max_link_speed",
        "max_link_width",
        "mdev_supported_types",
        "modalias",
        "numa_node",
        "physfn",
        "reset",
        "reset_method",
        "resource",
        "sriov_numvfs",
        "sriov_totalvfs",
        "subsystem_device",
        "subsystem_vendor",
        "uevent",
        "vendor",
        "vfio-dev",
    )
)

# include/linux/ioport.h
IORESOURCE_IO = 0x00000100
IORESOURCE_MEM = 0x00000200
IORESOURCE_PREFETCH = 0x00002000
IORESOURCE_UNSET = 0x20000000

# Standard configuration header (PCI Local Bus Specification 3.0, sections 6.1 and 6.2.5.1).
HEADER_BYTES = 64
HEADER_TYPE = 0x0E
FIRST_BAR = 0x10
BAR_TYPE_BITS = 0xF
BAR_IO = 0x1
BAR_64 = 0x4
BARS = 6

WIDEST = 32
"""Lanes of a link; a device that sleeps too deep to answer shows 63 or 255."""


def read(reading: Reading) -> tuple[PciFunction, ...]:
    """Every function, in the order of addresses."""
    found = []
    for name in reading.root.names(DEVICES):
        if not ADDRESS.fullmatch(name):
            reading.gap(f"{DEVICES}/{name}", "not the address of a PCI function")
        elif (function := _read(reading, name)) is not None:
            found.append(function)
    displays = {slot(each.address) for each in found if is_display(each.class_id)}
    return tuple(
        _with_header(reading, each)
        if slot(each.address) in displays and each.physical_function is None
        else each
        for each in sorted(found, key=lambda each: order(each.address))
    )


def _read(reading: Reading, address: str) -> PciFunction | None:
    folder = f"{DEVICES}/{address}"
    names = reading.root.among(folder, FILES)
    event = _event(reading.root.text(f"{folder}/uevent") or "") if "uevent" in names else {}
    vendor_id, product_id = _pair(reading, folder, event.get("PCI_ID"), ("vendor", "device"))
    class_id = event.get("PCI_CLASS") or reading.line(f"{folder}/class") or ""
    found_class = CLASS.fullmatch(class_id)
    if not (vendor_id and product_id and found_class):
        reading.gap(folder, "vendor, device or class is missing or is no id")
        return None
    subsystem = ("subsystem_vendor", "subsystem_device")
    subsystem_vendor_id, subsystem_id = _pair(
        reading, folder, event.get("PCI_SUBSYS_ID"), subsystem, names
    )
    driver = reading.root.target(f"{folder}/driver") if "driver" in names else None
    return PciFunction(
        address=address,
        vendor_id=vendor_id,
        product_id=product_id,
        class_id=found_class[1].lower().zfill(6),
        subsystem_vendor_id=subsystem_vendor_id,
        subsystem_id=subsystem_id,
        driver=driver.rpartition("/")[2] if driver else event.get("DRIVER"),
        driver_override=_override(reading, folder) if "driver_override" in names else None,
        modalias=event.get("MODALIAS")
        or (reading.line(f"{folder}/modalias") if "modalias" in names else None),
        numa_node=_node(reading, folder) if "numa_node" in names else None,
        iommu_group=_group(reading, folder) if "iommu_group" in names else None,
        bars=_bars(reading, folder) if "resource" in names else (),
        link=_link(reading, folder) if "current_link_width" in names else None,
        reset_methods=_reset_methods(reading, folder, names),
        boot_vga="boot_vga" in names and reading.line(f"{folder}/boot_vga") == "1",
        sriov_total=reading.number(f"{folder}/sriov_totalvfs")
        if "sriov_totalvfs" in names
        else None,
        sriov_enabled=(reading.number(f"{folder}/sriov_numvfs") or 0)
        if "sriov_numvfs" in names
        else 0,
        physical_function=_address(reading.root.target(f"{folder}/physfn"))
        if "physfn" in names
        else None,
        mdev_types=_mdev_types(reading, folder) if "mdev_supported_types" in names else (),
        vfio_device=_first(reading.root.names(f"{folder}/vfio-dev"))
        if "vfio-dev" in names
        else None,
        parent=_parent(reading.root.target(folder)),
    )


def _event(text: str) -> dict[str, str]:
    """The settings of a uevent file; a value that a terminal would obey is left out."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, _, value in pairs if value and value.isprintable()}


def _pair(
    reading: Reading,
    folder: str,
    pair: str | None,
    files: tuple[str, str],
    names: AbstractSet[str] | None = None,
) -> tuple[str | None, str | None]:
    """Two ids, from `XXXX:XXXX` where the uevent has it, otherwise from the two files."""
    parts: Iterable[str | None]
    if pair:
        parts = pair.split(":")
    else:
        parts = (
            reading.line(f"{folder}/{file}") if names is None or file in names else None
            for file in files
        )
    ids = [match[1].lower() if part and (match := ID.fullmatch(part)) else None for part in parts]
    one, *other = ids
    return (one, other[0]) if len(other) == 1 else (None, None)


def _override(reading: Reading, folder: str) -> str | None:
    line = reading.line(f"{folder}/driver_override")
    return None if line == "(null)" else line  # how printf writes that there is none


def _node(reading: Reading, folder: str) -> int | None:
    """None where the firmware does not say (-1)."""
    node = reading.number(f"{folder}/numa_node")
    return node if node is not None and node >= 0 else None


def _group(reading: Reading, folder: str) -> int | None:
    name = (reading.root.target(f"{folder}/iommu_group") or "").rpartition("/")[2]
    if name.isdecimal():
        return int(name)
    reading.gap(f"{folder}/iommu_group", "leads to no IOMMU group")
    return None


def _bars(reading: Reading, folder: str) -> tuple[Bar, ...]:
    """From lines of `start end flags`; the first six are those of the base address registers."""
    found = []
    lines = (reading.root.text(f"{folder}/resource") or "").split("\n")
    for index, line in enumerate(lines[:BARS]):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            if line:
                reading.gap(f"{folder}/resource", f"line {index + 1} is no region")
            continue
        if flags & (IORESOURCE_MEM | IORESOURCE_IO) and end >= start:
            placed = start > 0 and not flags & IORESOURCE_UNSET
            found.append(
                Bar(
                    index=index,
                    kind="memory" if flags & IORESOURCE_MEM else "io",
                    size=end - start + 1,
                    start=start if placed else None,
                    prefetchable=bool(flags & IORESOURCE_PREFETCH),
                )
            )
    return tuple(found)


def _link(reading: Reading, folder: str) -> Link:
    def speed(name: str) -> float | None:
        found = SPEED.match(reading.line(f"{folder}/{name}") or "")
        return float(found[1]) if found else None

    def width(name: str) -> int | None:
        found = reading.number(f"{folder}/{name}")
        return found if found is not None and 0 <= found <= WIDEST else None

    return Link(
        speed=speed("current_link_speed"),
        max_speed=speed("max_link_speed"),
        width=width("current_link_width"),
        max_width=width("max_link_width"),
    )


def _reset_methods(
    reading: Reading, folder: str, names: AbstractSet[str]
) -> tuple[str, ...] | None:
    """The methods in the order in which they are tried.

    The files are there only where a reset is (pci_dev_reset_method_attr_is_visible). Kernels before
    5.15 have `reset` alone and name no method: `unknown`.
    """
    if "reset_method" in names:
        return tuple((reading.line(f"{folder}/reset_method") or "").split())
    if "reset" in names:
        return ("unknown",)
    return () if "resource" in names else None


def _mdev_types(reading: Reading, folder: str) -> tuple[MdevType, ...]:
    types = f"{folder}/mdev_supported_types"
    return tuple(
        MdevType(
            name=name,
            title=reading.line(f"{types}/{name}/name"),
            available=reading.number(f"{types}/{name}/available_instances"),
        )
        for name in reading.root.names(types)
    )


def _address(path: str | None) -> str | None:
    name = (path or "").rpartition("/")[2]
    return name if ADDRESS.fullmatch(name) else None


def _parent(path: str | None) -> str | None:
    """The bridge above, which in sysfs is the folder around it."""
    return _address(path.rpartition("/")[0]) if path else None


def _first(names: tuple[str, ...]) -> str | None:
    return names[0] if names else None


def _with_header(reading: Reading, function: PciFunction) -> PciFunction:
    """What only configuration space says.

    A device that is gone reads all ones. A BAR for which the kernel found no room may be reset to
    nothing (reset_resource() in drivers/pci/setup-bus.c), while its register still has type bits.
    """
    header = reading.root.read(f"{DEVICES}/{function.address}/config") or b""
    header = header[:HEADER_BYTES]
    if len(header) < HEADER_BYTES or header[HEADER_TYPE] & 0x7F:
        dead = len(header) == HEADER_BYTES and not header.strip(b"\xff")
        return msgspec.structs.replace(function, answers=False) if dead else function
    lost = _lost_bars(header, {bar.index for bar in function.bars})
    if not lost:
        return function
    bars = sorted((*function.bars, *lost), key=lambda bar: bar.index)
    return msgspec.structs.replace(function, bars=tuple(bars))


def _lost_bars(header: bytes, known: set[int]) -> list[Bar]:
    found = []
    index = 0
    while index < BARS:
        place = FIRST_BAR + 4 * index
        bits = int.from_bytes(header[place : place + 4], "little") & BAR_TYPE_BITS
        io = bits & BAR_IO
        if bits and index not in known:
            found.append(Bar(index=index, kind="io" if io else "memory", size=None, start=None))
        index += 2 if bits & BAR_64 and not io else 1
    return found
