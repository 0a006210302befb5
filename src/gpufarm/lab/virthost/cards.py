"""Which cards a virtual host can have, and how they are spelled on a command line.

A card is all functions of one slot. What is decided here is what the emulated functions look like
to a host: ids, classes, BARs, reset, link. How they are served is `vfu`'s part, where they are
plugged is `machine`'s.
"""

import re
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from gpufarm.lab.virthost.models import MODELS
from gpufarm.lab.virthost.pci import Bar, Function
from gpufarm.model.pci import PciId

MOST_FUNCTIONS = 8
MOST_BARS = 6
LARGEST_BAR = 16 << 30
"""A port's window of 64-bit addresses is twice that (`machine.WINDOW_64`)."""
LARGEST_BAR_32 = 16 << 20

Address = Annotated[str, Meta(pattern=r"^0000:[0-9a-f]{2}:[01][0-9a-f]$")]
"""A slot: an address without its function."""

DEFAULT_CLASSES = ("030000", "040300", "0c0330", "0c8000")
"""What functions 0 to 3 of a graphics card are: VGA, audio, USB, UCSI (lspci of an RTX 2080 Ti)."""

DEFAULT_BARS = {
    "03": (Bar(16 << 20), Bar(256 << 20, wide=True), Bar(32 << 20, wide=True)),
    "04": (Bar(16 << 10),),
}
"""By base class; any other function has one page."""

SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the model or the ids, as given; `address` a slot that it has to appear at.

    A `shared` card is put below a switch without ACS, and so into one IOMMU group with the other
    shared cards and an NVMe disk.
    """

    name: str
    functions: tuple[Function, ...]
    shared: bool = False
    address: Address | None = None


def parse(text: str) -> Card:
    """The card of `MODEL[,OPTION...]` or `ID[+ID...][,OPTION...]`; ValueError says what is wrong.

    An ID is `VVVV:DDDD[/CLASS[/SUBSYSTEM[/BARS]]]`, for instance
    `10de:1b80/030000/10de:119e/16M:256Mp`, where `p` makes a BAR 64-bit and prefetchable and `-`
    stands for no BARs.
    """
    name, *options = text.split(",")
    functions = MODELS.get(name.lower()) or _functions(name)
    card = Card(name=name.lower(), functions=functions)
    for option in options:
        card = _with_option(card, option)
    return card


def spell(card: Card) -> str:
    """The text that `parse` reads as that card, with every id and option written out."""
    first = card.functions[0]
    options = ["flr" if first.flr else "noflr", f"rev={first.revision}", f"link={first.link_width}"]
    if card.shared:
        options.append("group=shared")
    if card.address:
        options.append(f"address={card.address}")
    return ",".join(["+".join(map(_spell_function, card.functions)), *options])


def _functions(text: str) -> tuple[Function, ...]:
    if not re.match(r"[0-9a-fA-F]{4}:", text):
        known = ", ".join(sorted(MODELS))
        raise ValueError(f"{text!r} is neither a known card ({known}) nor ids such as 10de:1b80")
    words = text.lower().split("+")
    if len(words) > MOST_FUNCTIONS:
        raise ValueError(f"{len(words)} functions in one slot: there are {MOST_FUNCTIONS} at most")
    return tuple(_function(word, number) for number, word in enumerate(words))


def _function(text: str, number: int) -> Function:
    ids, *more = text.split("/", 3)
    vendor, product = _pair(ids, "a function's ids")
    class_id = more[0] if more else DEFAULT_CLASSES[min(number, len(DEFAULT_CLASSES) - 1)]
    if not re.fullmatch(r"[0-9a-f]{6}", class_id):
        raise ValueError(f"class {class_id!r}: six hex digits are expected, such as 030000")
    subsystem = _pair(more[1], "subsystem ids") if more[1:] else (vendor, "0000")
    bars = _bars(more[2]) if more[2:] else _default_bars(class_id)
    return Function(
        vendor_id=vendor, product_id=product, class_id=class_id, subsystem=subsystem, bars=bars
    )


def _default_bars(class_id: str) -> tuple[Bar, ...]:
    return DEFAULT_BARS.get(class_id[:2], (Bar(4 << 10),))


def _pair(text: str, what: str) -> tuple[PciId, PciId]:
    found = re.fullmatch(r"([0-9a-f]{4}):([0-9a-f]{4})", text)
    if not found:
        raise ValueError(f"{what} {text!r}: two times four hex digits are expected: 10de:1b80")
    return found[1], found[2]


def _bars(text: str) -> tuple[Bar, ...]:
    bars = () if text == "-" else tuple(_bar(word) for word in text.split(":"))
    if sum(2 if bar.wide else 1 for bar in bars) > MOST_BARS:
        raise ValueError(f"BARs {text!r}: a function has {MOST_BARS}, of which a 64-bit one uses 2")
    return bars


def _bar(text: str) -> Bar:
    found = re.fullmatch(r"([1-9][0-9]{0,3})([kmg])(p?)", text)
    if not found:
        raise ValueError(f"BAR {text!r}: a size such as 16M or 256Mp is expected")
    size = int(found[1]) * SUFFIXES[found[2].upper()]
    wide = bool(found[3])
    if size & (size - 1):
        raise ValueError(f"BAR {text!r}: not a power of two")
    if size > (LARGEST_BAR if wide else LARGEST_BAR_32):
        raise ValueError(f"BAR {text!r}: 16G is the most with p, 16M without")
    return Bar(size, wide=wide)


def _with_option(card: Card, option: str) -> Card:
    name, given, value = option.partition("=")
    change = OPTIONS.get((name, bool(given)))
    if change is None:
        raise ValueError(
            f"option {option!r} of a card: there are flr, noflr, group=own|shared, "
            "address=BB:DD, link=WIDTH, rev=XX"
        )
    return change(card, value)


def _on_functions(card: Card, **changes: object) -> Card:
    functions = tuple(msgspec.structs.replace(each, **changes) for each in card.functions)
    return msgspec.structs.replace(card, functions=functions)


def _with_group(card: Card, value: str) -> Card:
    if value not in {"own", "shared"}:
        raise ValueError(f"group={value!r}: own or shared")
    return msgspec.structs.replace(card, shared=value == "shared")


def _with_address(card: Card, value: str) -> Card:
    found = re.fullmatch(r"(?:0000:)?([0-9a-f]{2}):([01][0-9a-f])(?:\.0)?", value.lower())
    if not found:
        raise ValueError(f"address={value!r}: a slot such as 42:00 is expected")
    return msgspec.structs.replace(card, address=f"0000:{found[1]}:{found[2]}")


def _with_link(card: Card, value: str) -> Card:
    if value not in {"1", "2", "4", "8", "16"}:
        raise ValueError(f"link={value!r}: a width of 1, 2, 4, 8 or 16 lanes is expected")
    return _on_functions(card, link_width=int(value))


def _with_revision(card: Card, value: str) -> Card:
    if not re.fullmatch(r"[0-9a-f]{2}", value):
        raise ValueError(f"rev={value!r}: two hex digits are expected")
    return _on_functions(card, revision=value)


OPTIONS: dict[tuple[str, bool], Callable[[Card, str], Card]] = {
    ("flr", False): lambda card, _: _on_functions(card, flr=True),
    ("noflr", False): lambda card, _: _on_functions(card, flr=False),
    ("group", True): _with_group,
    ("address", True): _with_address,
    ("link", True): _with_link,
    ("rev", True): _with_revision,
}
"""{(name, whether it takes a value): what it changes}"""


def _spell_function(function: Function) -> str:
    bars = ":".join(_spell_bar(bar) for bar in function.bars) or "-"
    subsystem = ":".join(function.subsystem)
    return f"{function.vendor_id}:{function.product_id}/{function.class_id}/{subsystem}/{bars}"


def _spell_bar(bar: Bar) -> str:
    suffix, unit = next(
        (suffix, unit) for suffix, unit in reversed(SUFFIXES.items()) if bar.size >= unit
    )
    return f"{bar.size // unit}{suffix}{'p' if bar.wide else ''}"
