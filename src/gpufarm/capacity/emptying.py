"""Where the servers of one host can go, all of them together.

What is decided here: the order, servers of many cards first, since they find room nowhere once the
others have taken a card here and a card there; and for each the host that it fills best: the one
with the fewest free cards left, so that whole hosts stay free. Servers without cards go where the
fewest free cards are.
"""

from collections.abc import Iterable

import msgspec

from gpufarm.capacity import admission, elsewhere
from gpufarm.capacity.elsewhere import Traveller
from gpufarm.capacity.obstacles import Rules, obstacles, rules
from gpufarm.capacity.rooms import Need, Room, rooms, taken
from gpufarm.capacity.snapshot import Snapshot


class Seat(msgspec.Struct, frozen=True):
    """`host` None and no `reason`: the scheduler has to choose, since nobody else can tell; with a
    `reason` there is no room for it."""

    traveller: Traveller
    host: str | None = None
    reason: str | None = None


def seats(snapshot: Snapshot, leaving: str, found: Iterable[Traveller]) -> tuple[Seat, ...]:
    """One for each, in the order in which they are to move."""
    others = elsewhere.without(snapshot, leaving)
    by = rules(others)
    free = {room.host: room for room in rooms(others)}
    wanted = [(each, elsewhere.wanted(snapshot, each)) for each in found]
    made = []
    for each, need in sorted(wanted, key=_size):
        if need is None:
            made.append(Seat(each))
            continue
        room = _best(free.values(), need, by)
        if room is None:
            reason = admission.of_hosts(others, need) or (
                "the room there is on other hosts is taken by the other servers of this host"
            )
            made.append(Seat(each, reason=reason))
            continue
        free[room.host] = taken(room, need, 1)
        made.append(Seat(each, host=room.host))
    return tuple(made)


def _size(pair: tuple[Traveller, Need | None]) -> tuple[int, int, int, str, str]:
    """Largest first."""
    each, need = pair
    cards = sum(need.cards.values()) if need else 0
    flavor, server = each.flavor, each.server
    return -cards, -flavor.memory_mb, -flavor.vcpus, server.name, server.id


def _best(found: Iterable[Room], need: Need, by: Rules) -> Room | None:
    """Of the rooms that take it the one that it fills best."""

    def rest(room: Room) -> tuple[int, int, int, str]:
        of_its_kind = sum(room.cards.get(name, 0) for name in need.cards)
        every = sum(room.cards.values())
        return of_its_kind, every, room.free.get("MEMORY_MB", 0), room.host

    return min((room for room in found if not obstacles(room, need, by)), key=rest, default=None)
