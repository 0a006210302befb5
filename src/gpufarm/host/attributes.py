"""Attributes of PCI functions, as the kernel writes them into sysfs.

Sources: the kernel's Documentation/ABI/testing/sysfs-bus-pci, drivers/pci/pci-sysfs.c and
include/linux/ioport.h; PCI Local Bus Specification 3.0 for the configuration header.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from gpufarm.host.numbers import hexadecimal, whole
from gpufarm.model.facts import Bar, Link

ID = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
CLASS = re.compile(r"(?:0x)?([0-9a-f]{1,6})", re.IGNORECASE)
SPEED = re.compile(r"(\d{1,4}(?:\.\d)?) GT/s")

IORESOURCE_IO = 0x00000100
IORESOURCE_MEM = 0x00000200
IORESOURCE_PREFETCH = 0x00002000
IORESOURCE_UNSET = 0x20000000

# Sections 6.1 and 6.2.5.1: the standard header and its base address registers.
HEADER_BYTES = 64
HEADER_TYPE = 0x0E
FIRST_BAR = 0x10
BAR_TYPE_BITS = 0xF
BAR_IO = 0x1
BAR_64 = 0x4
BARS = 6
REGION = ("start", "end", "flags")
NOTHING = " ".join(["0x0000000000000000"] * 3)
"""The line of a register that the function does not have."""

WIDEST = 32
"""Lanes of a link; a device that sleeps too deep to answer shows 63 or 255."""

Odd = Callable[[str, str], None]
"""Told of an attribute (its name) that is not what it should be, and why."""


def event(text: str) -> dict[str, str]:
    """The settings of a uevent file; a value that a terminal would obey is left out."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, _, value in pairs if value and value.isprintable()}


def pair(parts: Iterable[str | None]) -> tuple[str | None, str | None]:
    """Two ids of four digits; None for what is none."""
    ids = [
        match[1].lower() if part and (match := ID.fullmatch(part.strip())) else None
        for part in parts
    ]
    one, *other = ids
    return (one, other[0]) if len(other) == 1 else (None, None)


def class_id(text: str) -> str | None:
    """Six digits of `0x030000`, or of a uevent's `30000`."""
    found = CLASS.fullmatch(text.strip())
    return found[1].lower().zfill(6) if found else None


def number(texts: Mapping[str, str], name: str, odd: Odd) -> int | None:
    text = texts.get(name, "").strip()
    if not text:
        return None
    found = whole(text)
    if found is None:
        odd(name, f"no number: {text[:40]!r}")
    return found


def numa_node(texts: Mapping[str, str], odd: Odd) -> int | None:
    """None where the firmware does not say (-1)."""
    node = number(texts, "numa_node", odd)
    return node if node is not None and node >= 0 else None


def bars(text: str, odd: Odd) -> tuple[Bar, ...]:
    """From lines of `start end flags`; the first six are those of the base address registers."""
    found = []
    for index, line in enumerate(text.split("\n", BARS)[:BARS]):
        if line == NOTHING or not line:
            continue
        start, end, flags = _region(line)
        if start is None or end is None or flags is None:
            odd("resource", f"line {index + 1} is no region")
        elif flags & (IORESOURCE_MEM | IORESOURCE_IO) and end >= start:
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


def _region(line: str) -> tuple[int | None, int | None, int | None]:
    words = [hexadecimal(word) for word in line.split()]
    return (words[0], words[1], words[2]) if len(words) == len(REGION) else (None, None, None)


def link(texts: Mapping[str, str], odd: Odd) -> Link:
    def speed(name: str) -> float | None:
        found = SPEED.match(texts.get(name, ""))
        return float(found[1]) if found else None

    def width(name: str) -> int | None:
        found = number(texts, name, odd)
        return found if found is not None and 0 <= found <= WIDEST else None

    return Link(
        speed=speed("current_link_speed"),
        max_speed=speed("max_link_speed"),
        width=width("current_link_width"),
        max_width=width("max_link_width"),
    )


def is_dead(header: bytes) -> bool:
    """Whether configuration space reads all ones: the device is gone, or does not answer."""
    return len(header) == HEADER_BYTES and not header.strip(b"\xff")


def lost_bars(header: bytes, known: Iterable[int]) -> list[Bar]:
    """Regions that the kernel has forgotten.

    It may reset a region for which it finds no room to nothing (reset_resource() in
    drivers/pci/setup-bus.c), while the register still has its type bits.
    """
    found: list[Bar] = []
    if len(header) < HEADER_BYTES or header[HEADER_TYPE] & 0x7F:
        return found  # a bridge, whose registers from the third on are others
    placed = set(known)
    index = 0
    while index < BARS:
        place = FIRST_BAR + 4 * index
        bits = int.from_bytes(header[place : place + 4], "little") & BAR_TYPE_BITS
        io = bits & BAR_IO
        if bits and index not in placed:
            found.append(Bar(index=index, kind="io" if io else "memory", size=None, start=None))
        index += 2 if bits & BAR_64 and not io else 1
    return found
