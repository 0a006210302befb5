"""The PCI functions of a machine, from sysfs.

What is decided here: which files of a function are read. A large host has 300 functions of twenty
files each, so that what one file says is not asked of another: `uevent` has ids, class and driver.
"""

import msgspec

from gpufarm.host import attributes
from gpufarm.host.addresses import ADDRESS, order
from gpufarm.host.classes import is_bridge, is_display
from gpufarm.host.numbers import natural
from gpufarm.host.reading import Reading
from gpufarm.model.facts import MdevType, PciFunction
from gpufarm.model.pci import slot
from gpufarm.model.printable import printable

DEVICES = "/sys/bus/pci/devices"

EVENT = frozenset(("uevent",))
TEXTS = frozenset(
    (
        "boot_vga",
        "driver_override",
        "numa_node",
        "reset_method",
        "resource",
        "sriov_numvfs",
        "sriov_totalvfs",
    )
)
LINK = frozenset(("current_link_speed", "current_link_width", "max_link_speed", "max_link_width"))
"""Read of displays and of bridges alone: the links between a card and the processor."""
IDS = frozenset(("class", "device", "modalias", "subsystem_device", "subsystem_vendor", "vendor"))
"""What a uevent says too; read where there is none."""
OTHERS = frozenset(
    ("config", "driver", "iommu_group", "mdev_supported_types", "physfn", "reset", "vfio-dev")
)
NAMES = EVENT | TEXTS | LINK | OTHERS | IDS


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

    def odd(name: str, problem: str) -> None:
        reading.gap(f"{folder}/{name}", problem)

    names = reading.root.among(folder, NAMES)
    event = attributes.event(reading.root.texts(folder, EVENT & names).get("uevent", ""))
    if "PCI_ID" not in event or "PCI_CLASS" not in event:
        event = _from_files(reading.root.texts(folder, names & IDS)) | event
    vendor_id, product_id = attributes.pair(event.get("PCI_ID", "").split(":"))
    class_id = attributes.class_id(event.get("PCI_CLASS", ""))
    if not (vendor_id and product_id and class_id):
        reading.gap(folder, "vendor, device or class is missing or is no id")
        return None
    wanted = TEXTS | LINK if is_display(class_id) or is_bridge(class_id) else TEXTS
    texts = reading.root.texts(folder, wanted & names)
    subsystem = attributes.pair(event.get("PCI_SUBSYS_ID", "").split(":"))
    override = texts.get("driver_override", "").strip()
    return PciFunction(
        address=address,
        vendor_id=vendor_id,
        product_id=product_id,
        class_id=class_id,
        subsystem_vendor_id=subsystem[0],
        subsystem_id=subsystem[1],
        driver=event.get("DRIVER") or _driver(reading, folder, names),
        # (null) is how printf writes that there is none.
        driver_override=override if override.isprintable() and override != "(null)" else None,
        modalias=event.get("MODALIAS"),
        numa_node=attributes.numa_node(texts, odd),
        iommu_group=_group(reading, folder) if "iommu_group" in names else None,
        bars=attributes.bars(texts.get("resource", ""), odd),
        link=attributes.link(texts, odd) if "current_link_width" in texts else None,
        reset_methods=_reset_methods(texts, names),
        boot_vga=texts.get("boot_vga", "").strip() == "1",
        sriov_total=attributes.number(texts, "sriov_totalvfs", odd),
        sriov_enabled=attributes.number(texts, "sriov_numvfs", odd) or 0,
        physical_function=_address(reading.root.leads_to(f"{folder}/physfn"))
        if "physfn" in names
        else None,
        mdev_types=_mdev_types(reading, folder) if "mdev_supported_types" in names else (),
        vfio_device=next(iter(reading.root.names(f"{folder}/vfio-dev")), None)
        if "vfio-dev" in names
        else None,
        parent=_parent(reading.root.target(folder)),
    )


def _from_files(texts: dict[str, str]) -> dict[str, str]:
    """What a uevent would say."""
    stripped = {name: text.strip() for name, text in texts.items()}
    found = {
        "PCI_ID": f"{stripped.get('vendor', '')}:{stripped.get('device', '')}",
        "PCI_CLASS": stripped.get("class", ""),
        "MODALIAS": stripped.get("modalias", ""),
    }
    if "subsystem_vendor" in stripped:
        vendor, device = stripped["subsystem_vendor"], stripped.get("subsystem_device", "")
        found["PCI_SUBSYS_ID"] = f"{vendor}:{device}"
    return {name: value for name, value in found.items() if value and value.isprintable()}


def _driver(reading: Reading, folder: str, names: frozenset[str]) -> str | None:
    name = reading.root.leads_to(f"{folder}/driver") if "driver" in names else None
    return printable(name) if name else None


def _group(reading: Reading, folder: str) -> int | None:
    number = natural(reading.root.leads_to(f"{folder}/iommu_group"))
    if number is None:
        reading.gap(f"{folder}/iommu_group", "leads to no IOMMU group")
    return number


def _reset_methods(texts: dict[str, str], names: frozenset[str]) -> tuple[str, ...] | None:
    """The methods in the order in which they are tried.

    The files are there only where a reset is (pci_dev_reset_method_attr_is_visible). Kernels before
    5.15 have `reset` alone and name no method: `unknown`.
    """
    if "reset_method" in texts:
        return tuple(word for word in texts["reset_method"].split() if word.isprintable())
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


def _address(name: str | None) -> str | None:
    return name if name and ADDRESS.fullmatch(name) else None


def _parent(path: str | None) -> str | None:
    """The bridge above, which in sysfs is the folder around it."""
    return _address(path.split("/")[-2]) if path else None


def _with_header(reading: Reading, function: PciFunction) -> PciFunction:
    """With what only configuration space says."""
    config = reading.root.read(f"{DEVICES}/{function.address}/config") or b""
    header = config[: attributes.HEADER_BYTES]
    if attributes.is_dead(header):
        return msgspec.structs.replace(function, answers=False)
    lost = attributes.lost_bars(header, (bar.index for bar in function.bars))
    if not lost:
        return function
    bars = sorted((*function.bars, *lost), key=lambda bar: bar.index)
    return msgspec.structs.replace(function, bars=tuple(bars))
