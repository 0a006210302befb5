"""How many servers of each GPU flavor can still start, and what sets the limit.

What is decided here: `can_start` is how many servers of one flavor would become ACTIVE if they were
started one after another now and nothing else happened. Hosts do not share cards, CPUs, memory or
disks with each other, so that it is the sum of what fits on each, as far as the project's quota
lets them.
"""

import msgspec

from gpufarm.capacity import quota
from gpufarm.capacity.aliases import asked, known
from gpufarm.capacity.candidates import hidden
from gpufarm.capacity.obstacle import LIMITS, Obstacle
from gpufarm.capacity.obstacles import Rules, every, has_cards, how_many, obstacles, rules
from gpufarm.capacity.rooms import Need, Room, need, rooms, taken
from gpufarm.capacity.snapshot import Snapshot

UNKNOWN_ALIAS = "unknown alias"
"""Under limited_by where it cannot be said which cards a flavor's alias asks for."""

UNKNOWN_NUMA = "numa unknown"
"""Where a flavor asks for NUMA nodes and those of a host with room for it are not known."""


class FlavorRow(msgspec.Struct, frozen=True):
    """`can_start` is None where it cannot be said."""

    flavor: str
    can_start: int | None
    limited_by: str


def flavors(snapshot: Snapshot) -> tuple[FlavorRow, ...]:
    """One row for each flavor with an alias, by name."""
    found, by = rooms(snapshot), rules(snapshot)
    return tuple(
        _row(name, snapshot, found, wanted, by)
        if wanted is not None
        else FlavorRow(name, None, UNKNOWN_ALIAS)
        for name, wanted in needs(snapshot).items()
    )


def needs(snapshot: Snapshot) -> dict[str, Need | None]:
    """{flavor: what a server of it takes}, by name; None where nobody tells what its alias is."""
    aliases = known(snapshot)
    return {
        flavor.name: need(
            flavor, aliases, configured=snapshot.scheduler.aliases, project=snapshot.project
        )
        for flavor in sorted(snapshot.flavors, key=lambda flavor: flavor.name)
        if asked(flavor)
    }


def at_most(snapshot: Snapshot) -> tuple[str, ...]:
    """Flavors of which Placement's list has only some of the hosts that would take a server."""
    if not snapshot.candidates:
        return ()
    found, by = rooms(snapshot), rules(snapshot)
    return tuple(
        name
        for name, wanted in needs(snapshot).items()
        if wanted and hidden(found, wanted, by, snapshot.candidates.get(name)) == "some"
    )


def can_start(snapshot: Snapshot, found: tuple[Room, ...], wanted: Need, by: Rules) -> int | None:
    """How many servers start on `found`; None where the NUMA nodes of one that fits are unknown."""
    numbers = {room.host: how_many(room, wanted, by) for room in found}
    number = sum(numbers.values())
    allowed = quota.most(snapshot.limits, wanted)
    if allowed == 0 or not number:
        return 0
    if any(numbers[room.host] and in_doubt(room, wanted, by) for room in found):
        return None
    return number if allowed is None else min(number, allowed)


def in_doubt(room: Room, wanted: Need, by: Rules) -> bool:
    """Whether `wanted` asks for NUMA nodes and nobody tells those of `room`."""
    return any(not each.blocks and each.code == "NUMA" for each in every(room, wanted, by))


def _row(
    name: str, snapshot: Snapshot, found: tuple[Room, ...], wanted: Need, by: Rules
) -> FlavorRow:
    number = can_start(snapshot, found, wanted, by)
    if number != 0 and hidden(found, wanted, by, snapshot.candidates.get(name)) == "all":
        return FlavorRow(name, 0, LIMITS["CANDIDATE_LIMIT"])
    if number is None:
        return FlavorRow(name, None, UNKNOWN_NUMA)
    if number == quota.most(snapshot.limits, wanted):
        fitting = sum(how_many(room, wanted, by) for room in found)
        if number < fitting or not number:
            return FlavorRow(name, number, LIMITS["QUOTA"])
    return FlavorRow(name, number, limited_by(found, wanted, by))


def limited_by(found: tuple[Room, ...], wanted: Need, by: Rules) -> str:
    """What keeps the next server off, once all that fit have started.

    As long as a host would have cards for it, that is what the host lacks; otherwise it is cards.
    """
    full = [taken(room, wanted, how_many(room, wanted, by)) for room in found]
    nearest = closest([room for room in full if has_cards(room, wanted)], wanted, by)
    return LIMITS[nearest[1][0].code] if nearest else LIMITS["NO_FREE_CARD"]


def closest(
    candidates: list[Room], wanted: Need, by: Rules
) -> tuple[Room, tuple[Obstacle, ...]] | None:
    """Of hosts on which nothing fits the one that lacks least, with its obstacles.

    A host that is up and in the right aggregate comes before one that is not, one that lacks one
    thing before one that lacks two, one that lacks little before one that lacks much.
    """
    placed = ("AGGREGATE", "ZONE", "PROJECT", "IMAGE", "TRAIT")
    states = ("HOST_DOWN", "HOST_DISABLED")

    def distance(pair: tuple[Room, tuple[Obstacle, ...]]) -> tuple[bool, bool, int, float, str]:
        room, blocking = pair
        codes = [obstacle.code for obstacle in blocking]
        return (
            any(code in placed for code in codes),
            any(code in states for code in codes),
            len(codes),
            max(_shortfall(obstacle) for obstacle in blocking),
            room.host,
        )

    pairs = [(room, _once(obstacles(room, wanted, by))) for room in candidates]
    return min((pair for pair in pairs if pair[1]), key=distance, default=None)


def _once(found: tuple[Obstacle, ...]) -> tuple[Obstacle, ...]:
    """Where Placement and a filter refuse for one reason, it counts once: hosts' state first."""
    seen: dict[tuple[str, str], Obstacle] = {}
    for obstacle in found:
        seen.setdefault((obstacle.code, obstacle.what), obstacle)
    return tuple(sorted(seen.values(), key=lambda each: each.code not in _FIRST))


_FIRST = ("HOST_DOWN", "HOST_DISABLED", "ZONE", "AGGREGATE")


def _shortfall(obstacle: Obstacle) -> float:
    if isinstance(obstacle.needed, int) and isinstance(obstacle.available, int):
        return 1 - obstacle.available / obstacle.needed
    return 1.0
