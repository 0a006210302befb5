"""Findings about a card's hardware: memory regions, link, reset, NUMA."""

from collections.abc import Iterator

from gpufarm.host.cards import Card
from gpufarm.host.findings.codes import finding
from gpufarm.model.facts import HostFacts, Link
from gpufarm.model.finding import Finding

GIB = 1 << 30
LARGE_BAR = 64 * GIB
"""A guest's firmware leaves about as much room for 64-bit regions by itself (edk2, OvmfPkg)."""


def size(count: int) -> str:
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"


def bars(_: HostFacts, card: Card) -> Iterator[Finding]:
    """I/O regions are left out: cards work without, and large hosts run out of them."""
    for function in card.functions:
        lost = [bar for bar in function.bars if bar.kind == "memory" and bar.start is None]
        # The size is not known where the kernel has forgotten it; such a region may be any.
        large = any(bar.size is None or bar.size >= GIB for bar in lost)
        if lost and function.answers:
            listed = ", ".join(
                f"BAR {bar.index} ({size(bar.size) if bar.size else 'size not known'})"
                for bar in lost
            )
            yield finding(
                "BAR_UNASSIGNED",
                function.address,
                f"no address for {listed}",
                "turn on above-4G decoding (large memory-mapped I/O) in the firmware set-up"
                if large
                else "turn on above-4G decoding in the firmware set-up, or update the firmware",
            )


def link(facts: HostFacts, card: Card) -> Iterator[Finding]:
    own = card.first.link
    if own is None:
        return
    above = next((each.link for each in facts.functions if each.address == card.first.parent), None)
    possible_width = _least(own.max_width, above.max_width if above else None)
    possible_speed = _least(own.max_speed, above.max_speed if above else None)
    now = _link(own.width, own.speed)
    best = _link(own.max_width, own.max_speed)
    if own.width is not None and possible_width and own.width < possible_width:
        yield finding(
            "LINK_DEGRADED",
            card.address,
            f"the link runs at {now}; card and slot can do {_link(possible_width, possible_speed)}",
            "reseat the card, clean its contacts, check riser and cable, then try another slot",
        )
    elif own.width is not None and own.max_width and own.width < own.max_width:
        yield finding(
            "LINK_DEGRADED",
            card.address,
            f"the link runs at {now}, the most that the slot can do; the card can do {best}",
            "move the card to a wider slot if it needs the bandwidth",
            severity="info",
        )
    elif own.speed is not None and own.max_speed and own.speed < own.max_speed:
        yield finding(
            "LINK_DEGRADED",
            card.address,
            _slow(own, possible_speed, now, best),
            "look again while the card works; if it stays, check riser and firmware set-up",
            severity="info",
        )


def _slow(own: Link, possible: float | None, now: str, best: str) -> str:
    if possible is not None and own.speed is not None and own.speed >= possible:
        return f"the link runs at {now}, the most that the slot can do; the card can do {best}"
    return (
        f"the link runs at {now}, it can do {best}: an idle card lowers its speed to save power, "
        "a bad riser lowers it for good"
    )


def _least(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each]
    return min(known) if known else None


def _link(width: float | None, speed: float | None) -> str:
    lanes = f"x{width:g}" if width is not None else "x?"
    return f"{lanes} at {speed:g} GT/s" if speed is not None else lanes


def reset(facts: HostFacts, card: Card) -> Iterator[Finding]:
    first = card.first
    if first.reset_methods == () and first.physical_function is None:
        yield finding(
            "NO_RESET",
            card.address,
            f"the kernel knows no way to reset it (0 methods for {len(card.functions)} functions)",
            "do not give it to VMs of different owners: what one leaves in it, the next one finds",
        )
    elif first.reset_methods == ("bus",):
        others = _on_the_same_bus(facts, card)
        if others:
            yield finding(
                "NO_RESET",
                card.address,
                f"its only reset is that of its bus, on which {len(others)} devices are that are "
                f"not the card's: {', '.join(others)}",
                "move the card to a slot of its own",
            )


def _on_the_same_bus(facts: HostFacts, card: Card) -> list[str]:
    own = {each.address for each in card.functions}
    bus = card.address.rpartition(":")[0] + ":"
    return [
        each.address
        for each in facts.functions
        if each.address.startswith(bus)
        and each.address not in own
        and each.physical_function not in own
    ]


def numa(facts: HostFacts, card: Card) -> Iterator[Finding]:
    nodes = facts.machine.numa_nodes or 1
    if nodes > 1 and card.first.numa_node is None:
        yield finding(
            "NUMA_UNKNOWN",
            card.address,
            f"the firmware does not say at which of the {nodes} NUMA nodes it is",
            "update the firmware; until then Nova cannot place a VM's memory near the card",
        )


def guest_bits(_: HostFacts, card: Card) -> Iterator[Finding]:
    largest = max(
        (bar.size or 0 for each in card.functions for bar in each.bars if bar.kind == "memory"),
        default=0,
    )
    if largest >= LARGE_BAR:
        yield finding(
            "GUEST_ADDRESS_BITS",
            card.address,
            f"its largest memory region takes {size(largest)} of a guest's address space, for each "
            "such card in the guest",
            "give flavors with several of these cards hw:maxphysaddr_mode=passthrough (Nova 29)",
        )


CARD_RULES = (bars, link, reset, numa, guest_bits)
