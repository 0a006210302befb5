"""Findings about a card's hardware: memory regions, link, reset, NUMA."""

from collections.abc import Iterator

from gpufarm.host.cards import Card
from gpufarm.host.findings.codes import count, finding
from gpufarm.model.facts import HostFacts, PciFunction
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
    """The narrowest link between card and processor, or else one that is slow."""
    found = [each for hop in _hops(facts, card.first) if (each := _judged(card, *hop))]
    if found:
        yield min(found, key=lambda each: each.severity != "warning")


def _hops(
    facts: HostFacts, function: PciFunction
) -> Iterator[tuple[PciFunction, PciFunction | None]]:
    """(lower, upper end) of each link from the card up: a switch has a port at either end of it.

    A card may carry a switch of its own, and then only the link above that is the slot's (AMD since
    Vega, boards with several GPUs).
    """
    by_address = {each.address: each for each in facts.functions}
    lower: PciFunction | None = function
    seen: set[str] = set()  # lspci's text may say anything, a bridge above itself too
    while lower is not None and lower.address not in seen:
        seen.add(lower.address)
        upper = by_address.get(lower.parent or "")
        yield lower, upper
        lower = by_address.get(upper.parent or "") if upper else None


def _judged(card: Card, lower: PciFunction, upper: PciFunction | None) -> Finding | None:
    own, above = lower.link, upper.link if upper else None
    if own is None or own.width is None:
        return None
    width = _least(own.max_width, above.max_width if above else None)
    speed = _least(own.max_speed, above.max_speed if above else None)
    where = "the link" if lower.address == card.address else f"the link above {lower.address}"
    now, best = _link(own.width, own.speed), _link(own.max_width, own.max_speed)
    if width is not None and own.width < width:
        return finding(
            "LINK_DEGRADED",
            card.address,
            f"{where} runs at {now}; both ends can do {_link(width, speed)}",
            "reseat the card, clean its contacts, check riser and cable, then try another slot",
        )
    if own.max_width is not None and own.width < own.max_width:
        return finding(
            "LINK_DEGRADED",
            card.address,
            f"{where} runs at {now}, the most that the slot can do; the card can do {best}",
            "move the card to a wider slot if it needs the bandwidth",
            severity="info",
        )
    if own.speed is None or own.max_speed is None or own.speed >= own.max_speed:
        return None
    reason = (
        f"{now}, the most that the slot can do; the card can do {best}"
        if speed is not None and own.speed >= speed
        else f"{now}, it can do {best}: an idle card lowers its speed to save power, a bad riser "
        "lowers it for good"
    )
    return finding(
        "LINK_DEGRADED",
        card.address,
        f"{where} runs at {reason}",
        "look again while the card works; if it stays, check riser and firmware set-up",
        severity="info",
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
            "the kernel knows no way to reset it (0 methods for "
            f"{count(len(card.functions), 'function')})",
            "do not give it to VMs of different owners: what one leaves in it, the next one finds",
        )
    elif first.reset_methods == ("bus",):
        others = _on_the_same_bus(facts, card)
        if others:
            yield finding(
                "NO_RESET",
                card.address,
                "its only reset is that of its bus, which it shares with "
                f"{count(len(others), 'function')} of others: {', '.join(others)}",
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


def guest_bits(_: HostFacts, cards: tuple[Card, ...]) -> Iterator[Finding]:
    largest = {
        card.address: max(
            (bar.size or 0 for each in card.functions for bar in each.bars if bar.kind == "memory"),
            default=0,
        )
        for card in cards
        if card.kind == "gpu"
    }
    large = {address: found for address, found in largest.items() if found >= LARGE_BAR}
    if large:
        yield finding(
            "GUEST_ADDRESS_BITS",
            next(iter(large)) if len(large) == 1 else None,
            f"{count(len(large), 'card')} with memory regions of up to {size(max(large.values()))},"
            f" {size(sum(large.values()))} together, which a guest with all of them has to address",
            "give flavors with several of these cards hw:maxphysaddr_mode=passthrough (Nova 29)",
        )


HOST_RULES = (guest_bits,)
CARD_RULES = (bars, link, reset, numa)
