"""Hosts as lspci prints them: plain, -n, -nn, -nnk and -vvnnk, with and without domains.

What is decided here: which facts a text holds. Everything that it does not show stays unknown, and
a line that names no ids, directly or by a name of pci.ids, is a gap. Sources: lspci(8) and the
pciutils sources (lspci.c, ls-caps.c) for the form of the lines.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gpufarm.host import classes
from gpufarm.host.addresses import order
from gpufarm.host.ids import Names
from gpufarm.host.lspci_details import Details, read_details
from gpufarm.model.facts import Gap, HostFacts, Iommu, IommuGroup, Machine, PciFunction
from gpufarm.model.pci import slot
from gpufarm.model.printable import printable

MOST_BYTES = 16 * 1024 * 1024
MOST_GAPS = 200
COLOURS = re.compile(r"\x1b\[[0-9;]*[mK]")
"""Of `grep --color`."""

HEAD = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<rest>[0-9a-f]{2}:[01][0-9a-f]\.[0-7])\s+(?P<text>\S.*)",
    re.IGNORECASE,
)
WITH_IDS = re.compile(
    r"(?:(?P<class_name>.*?) )?\[(?P<class_id>[0-9a-f]{4})\]: "
    r"(?P<name>.*?) ?\[(?P<vendor>[0-9a-f]{4}):(?P<product>[0-9a-f]{4})\](?P<tail>(?: \(.*)?)"
)
NUMERIC = re.compile(
    r"(?P<class_id>[0-9a-f]{4}): (?P<vendor>[0-9a-f]{4}):(?P<product>[0-9a-f]{4})(?P<tail>.*)"
)
PLAIN = re.compile(r"(?P<class_name>[^:]+): (?P<name>.+?)(?P<tail>(?: \((?:rev|prog-if) .*)?)")
NUMBERED_CLASS = re.compile(r".* \[([0-9a-f]{4})\]")
"""What lspci prints without -n for a class that has no name."""
INTERFACE = re.compile(r"\(prog-if ([0-9a-f]{2})")
DEVICE = re.compile(r"Device (?:(?P<vendor>[0-9a-f]{4}):)?(?P<product>[0-9a-f]{4})")
UNNAMED = re.compile(r"(?:.* )?Device")
DEAD = "(rev ff) (prog-if ff"


def parse(text: str, names: Names, origin: str = "lspci") -> HostFacts:
    """The facts in `text`. Raises nothing: what is not understood is in `gaps`."""
    gaps: list[Gap] = []
    found: dict[str, PciFunction] = {}
    details: dict[str, Details] = {}
    for number, head, below in _blocks(COLOURS.sub("", text[:MOST_BYTES])):
        function = _function(head, names)
        where = f"{origin}, line {number}"
        if isinstance(function, str):
            if len(gaps) < MOST_GAPS:
                gaps.append(Gap(where=where, problem=function))
        elif function.address in found:
            gaps.append(Gap(where=where, problem=f"{function.address} was there before"))
        else:
            known = details[function.address] = read_details(below)
            found[function.address] = _detailed(function, known)
    functions = _related(found, details)
    return HostFacts(
        origin=origin,
        source="lspci",
        functions=functions,
        iommu=_iommu(functions),
        machine=Machine(
            slots={slot(address): each.slot for address, each in details.items() if each.slot}
        ),
        holders=None,
        gaps=(*gaps, *_denied(details, origin)),
    )


def _blocks(text: str) -> Iterable[tuple[int, str, list[str]]]:
    """(line number, line, indented lines below it)."""
    head, number = "", 0
    below: list[str] = []
    for count, line in enumerate(text.splitlines(), 1):
        if line[:1] in "\t " and head:
            below.append(line)
        elif line.strip():
            if head:
                yield number, head, below
            head, number, below = line.strip(), count, []
    if head:
        yield number, head, below


def _function(line: str, names: Names) -> PciFunction | str:
    """The function of one line, or why there is none."""
    head = HEAD.fullmatch(line)
    if not head:
        return f"no line of lspci: {printable(line[:60])!r}"
    text = head["text"]
    match = WITH_IDS.fullmatch(text) or NUMERIC.fullmatch(text)
    parts = match.groupdict() if match else _by_name(text, names)
    if parts is None:
        return f"no ids, and its names are not in pci.ids (print it with -nn): {line[:60]!r}"
    answers = DEAD not in parts["tail"]
    interface = INTERFACE.search(parts["tail"]) if answers else None
    return PciFunction(
        address=f"{head['domain'] or '0000'}:{head['rest']}".lower(),
        vendor_id=parts["vendor"],
        product_id=parts["product"],
        class_id=parts["class_id"] + (interface[1] if interface else "00"),
        name=_name(parts.get("name") or "", names),
        answers=answers,
    )


def _by_name(text: str, names: Names) -> dict[str, Any] | None:
    """What -nn would have printed, for a line without numbers."""
    match = PLAIN.fullmatch(text)
    if not match:
        return None
    parts: dict[str, Any] = match.groupdict()
    class_name = parts["class_name"]
    unnamed = NUMBERED_CLASS.fullmatch(class_name)
    parts["class_id"] = (
        unnamed[1] if unnamed else names.class_id(class_name) or classes.NAMES.get(class_name)
    )
    device = DEVICE.fullmatch(parts["name"])
    if device and device["vendor"]:
        parts |= device.groupdict()
    else:
        vendors, product = names.split(parts["name"]) or ((), "")
        parts["vendor"], parts["product"] = _by_product(vendors, product, names)
    return parts if parts["class_id"] and parts["vendor"] and parts["product"] else None


def _by_product(
    vendors: tuple[str, ...], product: str, names: Names
) -> tuple[str | None, str | None]:
    """(vendor id, product id) of a product's name, or of `Device 1b80`."""
    device = DEVICE.fullmatch(product)
    if device and vendors:
        return vendors[0], device["product"]
    for vendor in vendors:
        found = names.find(vendor, product)
        if found:
            return vendor, found
    return None, None


def _name(text: str, names: Names) -> str | None:
    """The product's name in `VENDOR PRODUCT`; None for `VENDOR Device`, which is none."""
    vendor = names.split(text)
    product = printable(vendor[1] if vendor else text)
    if not product or UNNAMED.fullmatch(product) or DEVICE.fullmatch(product):
        return None
    return product


def _detailed(function: PciFunction, details: Details) -> PciFunction:
    return msgspec.structs.replace(
        function,
        subsystem_vendor_id=details.subsystem_vendor_id,
        subsystem_id=details.subsystem_id,
        driver=details.driver,
        numa_node=details.numa_node,
        iommu_group=details.iommu_group,
        bars=details.bars,
        link=details.link,
        reset_methods=("flr",) if details.resets_itself else None,
        sriov_total=details.sriov_total,
        sriov_enabled=details.sriov_enabled,
        answers=function.answers and details.answers,
    )


def _related(found: dict[str, PciFunction], details: dict[str, Details]) -> tuple[PciFunction, ...]:
    """With the bridge above each function, and the PF of each VF."""
    bridges = {
        (address.partition(":")[0], each.secondary_bus): address
        for address, each in details.items()
        if each.secondary_bus
    }
    parents = {
        vf: address for address, each in details.items() for vf in _virtual_functions(address, each)
    }
    functions = []
    for address in sorted(found, key=order):
        domain, bus, _ = address.split(":")
        functions.append(
            msgspec.structs.replace(
                found[address],
                parent=bridges.get((domain, bus)),
                physical_function=parents.get(address),
            )
        )
    return tuple(functions)


def _virtual_functions(address: str, details: Details) -> Iterable[str]:
    """Addresses of a PF's VFs: its routing id, the first offset, then strides (SR-IOV, 2.1.2)."""
    domain, bus, rest = address.split(":")
    device, number = rest.split(".")
    first = (int(bus, 16) << 8 | int(device, 16) << 3 | int(number)) + details.sriov_offset
    for count in range(details.sriov_enabled):
        routing = first + count * details.sriov_stride
        if routing >> 16 == 0:
            yield f"{domain}:{routing >> 8:02x}:{routing >> 3 & 0x1F:02x}.{routing & 7}"


def _iommu(functions: tuple[PciFunction, ...]) -> Iommu:
    """On where lspci shows a group; where it shows none, it may be too old to show any."""
    members: dict[int, list[str]] = {}
    for function in functions:
        if function.iommu_group is not None:
            members.setdefault(function.iommu_group, []).append(function.address)
    groups = tuple(
        IommuGroup(number=number, addresses=tuple(members[number])) for number in sorted(members)
    )
    return Iommu(active=True if groups else None, groups=groups)


def _denied(details: dict[str, Details], origin: str) -> Iterable[Gap]:
    count = sum(each.denied for each in details.values())
    if count:
        yield Gap(
            where=origin,
            problem=f"capabilities of {count} functions were not shown: run it as root",
        )
