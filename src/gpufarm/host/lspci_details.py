"""The indented lines that lspci prints below a function with -k and -v."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gpufarm.model.facts import Bar, Link
from gpufarm.model.printable import printable

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LARGEST = 1 << 64


class Details(msgspec.Struct, kw_only=True):
    """What the lines say; what they do not say is None."""

    subsystem_vendor_id: str | None = None
    subsystem_id: str | None = None
    driver: str | None = None
    numa_node: int | None = None
    iommu_group: int | None = None
    slot: str | None = None
    bars: tuple[Bar, ...] = ()
    link: Link | None = None
    resets_itself: bool | None = None
    sriov_total: int | None = None
    sriov_enabled: int = 0
    sriov_offset: int = 0
    sriov_stride: int = 0
    secondary_bus: str | None = None
    answers: bool = True
    denied: bool = False


def read_details(lines: Iterable[str]) -> Details:
    """A line that is not known, or not as it should be, says nothing."""
    details = Details()
    for line in lines:
        text = line.strip()
        for pattern, take in LINES:
            found = pattern.match(text)
            if found:
                take(details, found)
                break
    return details


Match = re.Match[str]


def _subsystem(details: Details, found: Match) -> None:
    details.subsystem_vendor_id, details.subsystem_id = found.groups()


def _bar(details: Details, found: Match) -> None:
    index = int(found["index"])
    if index > 5 or any(bar.index == index for bar in details.bars):  # noqa: PLR2004
        return
    start = found["start"]
    details.bars += (
        Bar(
            index=index,
            kind="io" if found["kind"].startswith("I/O") else "memory",
            size=_size(found["size"]),
            start=int(start, 16) % LARGEST if re.fullmatch("[0-9a-f]+", start) else None,
            prefetchable=", prefetchable" in found["rest"],
        ),
    )


def _size(text: str | None) -> int | None:
    found = re.fullmatch(r"(\d{1,12})([KMGT]?)", text or "")
    return int(found[1]) * UNITS[found[2]] if found else None


def _capable(details: Details, found: Match) -> None:
    details.link = msgspec.structs.replace(
        details.link or Link(), max_speed=float(found[1]), max_width=int(found[2])
    )


def _current(details: Details, found: Match) -> None:
    details.link = msgspec.structs.replace(
        details.link or Link(), speed=float(found[1]), width=int(found[2])
    )


def _resets(details: Details, found: Match) -> None:
    # DevCap comes before DevCtl, where the same word says whether a reset is under way.
    if details.resets_itself is None:
        details.resets_itself = found[1] == "+"


def _sriov(details: Details, found: Match) -> None:
    details.sriov_total, details.sriov_enabled = int(found[1]), min(int(found[2]), int(found[1]))


def _sriov_places(details: Details, found: Match) -> None:
    details.sriov_offset, details.sriov_stride = int(found[1]), int(found[2])


def _dead(details: Details, _: Match) -> None:
    details.answers = False


def _denied(details: Details, _: Match) -> None:
    details.denied = True


def _number(field: str) -> Callable[[Details, Match], None]:
    return lambda details, found: setattr(details, field, int(found[1]))


def _text(field: str) -> Callable[[Details, Match], None]:
    return lambda details, found: setattr(details, field, printable(found[1]))


def _line(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


LINES: tuple[tuple[re.Pattern[str], Callable[[Details, Any], None]], ...] = (
    (_line(r"Subsystem: (?:.*\[)?([0-9a-f]{4}):([0-9a-f]{4})\]?$"), _subsystem),
    (_line(r"Kernel driver in use: (\S.*)"), _text("driver")),
    (_line(r"NUMA node: (\d{1,4})$"), _number("numa_node")),
    (_line(r"IOMMU group: (\d{1,6})$"), _number("iommu_group")),
    (_line(r"Physical Slot: (\S.*)"), _text("slot")),
    (
        _line(
            r"Region (?P<index>\d): (?P<kind>Memory|I/O ports) at (?P<start><?\w+>?)"
            r"(?P<rest>[^[]*(?:\[(?!size)[^]]*\] ?)*)(?:\[size=(?P<size>\w+)\])?"
        ),
        _bar,
    ),
    (_line(r"LnkCap:\s.*Speed (\d{1,3}(?:\.\d)?)GT/s.*, Width x(\d{1,2})\b"), _capable),
    (_line(r"LnkSta:\s.*Speed (\d{1,3}(?:\.\d)?)GT/s.*, Width x(\d{1,2})\b"), _current),
    (_line(r".*\bFLReset([+-])"), _resets),
    (_line(r"Initial VFs: \d+, Total VFs: (\d{1,5}), Number of VFs: (\d{1,5})"), _sriov),
    (_line(r"VF offset: (\d{1,5}), stride: (\d{1,5})"), _sriov_places),
    (_line(r"Bus: primary=\w+, secondary=([0-9a-f]{2}),"), _text("secondary_bus")),
    (_line(r"!!! Unknown header type 7f"), _dead),
    (_line(r"Capabilities: <access denied>"), _denied),
)
