"""What is kept for the free cards of a host, where the scheduler or Placement keeps it.

What is decided here: a host in the words of the rule that gpufarm's filter in Nova's scheduler has
too (`gpufarm_nova.reserve`), and which cards that filter takes for free. It goes by Nova's table of
devices: a leaked allocation holds no card there, and a card is closed by gpufarm's record, not by
what Placement has reserved. Not seen is the reserve of single NUMA nodes.
"""

import math
from collections.abc import Mapping

from gpufarm.capacity.rooms import Need, Room
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.model.reserve import CLASSES
from gpufarm_nova import reserve
from gpufarm_nova.reserve import Amounts, Shortfall

FILTER = "GpuReserveFilter"
RESOURCES = {"vcpus": "VCPU", "memory_mb": "MEMORY_MB"}
OF_HARD = {ordinary: kept for kept, ordinary in CLASSES.items()}


def is_asked(room: Room, wanted: Need, scheduler: Scheduler) -> bool:
    """Whether the filter looks at such a server: one without cards, where a card is free."""
    if room.is_open:
        return False
    draws = any(wanted.cards.get(name) for name in scheduler.reserves)
    return not draws and any(room.unheld.get(name) for name in scheduler.reserves)


def shortfall(room: Room, wanted: Need, scheduler: Scheduler) -> Shortfall | None:
    """What one more such server would take of the reserve."""
    if not is_asked(room, wanted, scheduler):
        return None
    seen = host(room, scheduler.reserves)
    kept = reserve.kept(seen, scheduler.reserves, scheduler.reserve_share)
    return reserve.shortfall(seen, _server(wanted), kept)


def most(room: Room, wanted: Need, scheduler: Scheduler) -> int | None:
    """How many such servers leave the reserve alone; None where it does not limit them."""
    if FILTER not in scheduler.filters or not is_asked(room, wanted, scheduler):
        return None
    seen = host(room, scheduler.reserves)
    kept = reserve.kept(seen, scheduler.reserves, scheduler.reserve_share)
    shares = [
        max(0, math.floor((left - keep) / needed))
        for needed, left, keep in zip(_server(wanted), seen.left, kept, strict=True)
        if needed > 0
    ]
    return min(shares, default=None)


def kept_by_placement(room: Room, name: str) -> int:
    """How much of VCPU or MEMORY_MB a hard reserve keeps on the host, unused."""
    return room.free.get(OF_HARD.get(name, ""), 0)


def host(room: Room, reserves: Mapping[str, Amounts]) -> reserve.Host:
    """The host as the scheduler's filter and weigher see it, cards by resource class."""
    return reserve.Host(
        total=Amounts(room.total.get("VCPU", 0), room.total.get("MEMORY_MB", 0)),
        left=Amounts(room.free.get("VCPU", 0), room.free.get("MEMORY_MB", 0)),
        cards=sum(count.total for name, count in room.counts.items() if name in reserves),
        free={name: number for name, number in room.unheld.items() if name in reserves},
    )


def _server(wanted: Need) -> Amounts:
    """Pinned CPUs are no floating ones."""
    vcpus = 0 if "PCPU" in wanted.amounts else wanted.vcpus
    return Amounts(vcpus, wanted.memory_mb)
