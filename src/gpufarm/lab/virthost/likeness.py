"""The virtual host that is most like a host of which there are facts.

What is decided here: which cards it gets, where, and what becomes of sizes that the board has no
room for. How the two then differ is seen by comparing their facts, not promised here.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gpufarm.lab.virthost import machine
from gpufarm.lab.virthost.cards import (
    LARGEST_BAR,
    LARGEST_BAR_32,
    MOST_BARS,
    MOST_FUNCTIONS,
    Card,
)
from gpufarm.lab.virthost.machine import Iommu, Machine
from gpufarm.lab.virthost.pci import FULL_WIDTH, Bar, Function
from gpufarm.model.facts import HostFacts, Link, PciFunction
from gpufarm.model.pci import slot

PAGE = 4 << 10
WINDOW, WINDOW_32 = 2 * LARGEST_BAR, 2 * LARGEST_BAR_32
"""Bytes that all functions of a card find room for: of 64-bit BARs and of others (`qemu`)."""
WIDTHS = frozenset((1, 2, 4, 8, 16))
IOMMU_OF: dict[str, Iommu] = {"DMAR": "intel", "IVRS": "amd"}


class Original(msgspec.Struct, frozen=True):
    """All functions of a card. A `crowded` one shares its IOMMU group with what is not its own."""

    functions: tuple[PciFunction, ...]
    crowded: bool = False


class Likeness(msgspec.Struct, frozen=True):
    """`places` has {address of a function: address of the one that stands for it}."""

    machine: Machine
    places: dict[str, str]


def of(name: str, facts: HostFacts, originals: Iterable[Original]) -> Likeness:
    """A virtual host `name`. Where the board has not room for all cards, the first ones count.

    ValueError for what is no name of a host.
    """
    found = Machine(name=name, iommu=_iommu(facts))
    machine.check(found)
    taken: list[Original] = []
    for original in originals:
        for way in _ways(original):
            wider = msgspec.structs.replace(found, cards=(*found.cards, way))
            try:
                machine.check(wider)
            except ValueError:
                continue
            found = wider
            taken.append(original)
            break
    places = {
        function.address: f"{place}.{number}"
        for place, original in zip(machine.slots(found), taken, strict=True)
        for number, function in enumerate(original.functions[:MOST_FUNCTIONS])
    }
    return Likeness(found, places)


def _iommu(facts: HostFacts) -> Iommu:
    """That of the firmware's tables; an IOMMU of another kind is an IOMMU all the same."""
    for table in facts.iommu.firmware_tables or ():
        if table in IOMMU_OF:
            return IOMMU_OF[table]
    return "intel" if facts.iommu.active else "none"


def _ways(original: Original) -> Iterator[Card]:
    """The card at its own address, or in a group with others; and where that cannot be, anywhere.

    The board has one shared group, and no card that is at a given address is in it.
    """
    card = _card(original.functions[:MOST_FUNCTIONS])
    place = slot(original.functions[0].address)
    if original.crowded:
        yield msgspec.structs.replace(card, shared=True)
    elif place.startswith("0000:"):
        yield msgspec.structs.replace(card, address=place)
    yield card


def _card(functions: Sequence[PciFunction]) -> Card:
    name = "+".join(f"{each.vendor_id}:{each.product_id}" for each in functions)
    return Card(name=name, functions=tuple(_fitted([_function(each) for each in functions])))


def _function(function: PciFunction) -> Function:
    return Function(
        vendor_id=function.vendor_id,
        product_id=function.product_id,
        class_id=function.class_id,
        subsystem=(
            function.subsystem_vendor_id or function.vendor_id,
            function.subsystem_id or "0000",
        ),
        bars=tuple(_bars(function)),
        flr="flr" in (function.reset_methods or ()),
        link_width=_width(function.link),
    )


def _width(link: Link | None) -> int:
    """What both ends can do here is FULL_WIDTH; a link that is narrower there is narrower here."""
    if link and link.width in WIDTHS and link.width < (link.max_width or 0):
        return link.width
    return FULL_WIDTH


def _bars(function: PciFunction) -> Iterator[Bar]:
    """Its memory regions; nothing emulates I/O regions. One that the kernel forgot is a page."""
    left = MOST_BARS
    for each in function.bars:
        wide = each.prefetchable
        left -= 2 if wide else 1
        if each.kind == "memory" and left >= 0:
            size = max(each.size or 0, PAGE)
            largest = LARGEST_BAR if wide else LARGEST_BAR_32
            yield Bar(min(1 << (size - 1).bit_length(), largest), wide=wide)


def _fitted(functions: list[Function]) -> list[Function]:
    """The same with their largest BARs halved until all of them have room."""
    for wide, window in ((True, WINDOW), (False, WINDOW_32)):
        while sum(bar.size for each in functions for bar in each.bars if bar.wide is wide) > window:
            sizes = [
                (bar.size, number, index)
                for number, each in enumerate(functions)
                for index, bar in enumerate(each.bars)
                if bar.wide is wide
            ]
            size, number, index = max(sizes)
            bars = list(functions[number].bars)
            bars[index] = Bar(size // 2, wide=wide)
            functions[number] = msgspec.structs.replace(functions[number], bars=tuple(bars))
    return functions
