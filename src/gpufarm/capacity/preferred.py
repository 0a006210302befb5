"""Which of the hosts that would take a server its scheduler prefers, and what each would lose.

What is decided here: the order of gpufarm's weigher in Nova's scheduler, by the rule that both have
(`gpufarm_nova.packing`). Not looked at are Nova's other weighers, which decide between hosts that
lose the same; and servers that are bound to NUMA nodes, which the weigher weighs on the node.
"""

from collections.abc import Iterable

import msgspec

from gpufarm.capacity import reserve
from gpufarm.capacity.rooms import Need, Room
from gpufarm.capacity.scheduler import Packing, Scheduler
from gpufarm_nova import packing
from gpufarm_nova.reserve import Amounts, Host

OF_NODES = (
    "preferred hosts: not said of a server that is bound to NUMA nodes, since the weigher compares "
    "nodes, not hosts"
)
ALONE = "preferred hosts: by the GPU flavors alone{}; a loss is in cards"
LEARNED = "preferred hosts: by what was learned ({}, made {}); a loss is in vCPU"


class Preferred(msgspec.Struct, frozen=True):
    """`why` are the parts of the loss in words; empty where only how full the host is counts."""

    host: str
    loss: float
    why: tuple[str, ...]


def preferred(open_: Iterable[Room], wanted: Need, scheduler: Scheduler) -> tuple[Preferred, ...]:
    """All of `open_`, the hosts with nothing in the way, the best first; empty where gpufarm's
    weigher is not configured or nothing can be said."""
    by = scheduler.packing
    if by is None or wanted.shape is not None:
        return ()
    rule = packing.Packing(by.flavors, by.lesson)
    hosts = [(room, _host(room, scheduler, by)) for room in open_]
    supply = rule.supply(host for _, host in hosts)
    # As a request has them: the weigher counts the flavor's, whatever Placement is asked for.
    server = Amounts(wanted.vcpus, wanted.memory_mb)
    cards = {by.cards[name]: number for name, number in wanted.cards.items() if name in by.cards}
    found = []
    for room, host in hosts:
        loss = rule.loss(host, server, cards, supply, is_open=room.is_open)
        why = rule.why(host, server, cards, supply, is_open=room.is_open)
        found.append(Preferred(room.host, round(loss, packing.DIGITS), why))
    return tuple(sorted(found, key=lambda each: (each.loss, each.host)))


def notes(wanted: Need, scheduler: Scheduler) -> tuple[str, ...]:
    """What the order goes by."""
    by = scheduler.packing
    if by is None:
        return ()
    if wanted.shape is not None:
        return (OF_NODES,)
    if by.lesson is None:
        since = f", since {by.file} cannot be used here: {by.problem}" if by.problem else ""
        return (ALONE.format(since),)
    if not any(kind.cards for kind in by.lesson.requests):
        return (ALONE.format(f", since {by.file} knows of no server with cards"),)
    return (LEARNED.format(by.file, by.lesson.made),)


def _host(room: Room, scheduler: Scheduler, by: Packing) -> Host:
    """With the names that cards have in flavors and lesson."""
    seen = reserve.host(room, scheduler.reserves)
    return seen._replace(free={by.cards[name]: number for name, number in seen.free.items()})
