"""How many servers of each GPU flavor can still start, and what sets the limit.

What is decided here: `can_start` is how many servers of one flavor would become ACTIVE if they were
started one after another now and nothing else happened. Hosts do not share cards, CPUs, memory or
disks with each other, so that it is the sum of what fits on each. What is not looked at stands in
gpufarm.capacity.obstacles.
"""

import msgspec

from gpufarm.capacity.aliases import asked, classes
from gpufarm.capacity.obstacles import LIMITS, Obstacle, has_cards, how_many, obstacles
from gpufarm.capacity.rooms import Need, Room, need, rooms, taken
from gpufarm.capacity.snapshot import Snapshot

UNKNOWN_ALIAS = "unknown alias"
"""Under limited_by where it cannot be said which cards a flavor's alias asks for."""


class FlavorRow(msgspec.Struct, frozen=True):
    """`can_start` is None where it cannot be said."""

    flavor: str
    can_start: int | None
    limited_by: str


def flavors(snapshot: Snapshot) -> tuple[FlavorRow, ...]:
    """One row for each flavor with an alias, by name."""
    aliases = classes(snapshot.flavors)
    found = rooms(snapshot)
    rows = []
    for flavor in sorted(snapshot.flavors, key=lambda flavor: flavor.name):
        if not asked(flavor):
            continue
        wanted = need(flavor, aliases)
        if wanted is None:
            rows.append(FlavorRow(flavor.name, None, UNKNOWN_ALIAS))
        else:
            number = sum(how_many(room, wanted) for room in found)
            rows.append(FlavorRow(flavor.name, number, limited_by(found, wanted)))
    return tuple(rows)


def limited_by(found: tuple[Room, ...], wanted: Need) -> str:
    """What keeps the next server off, once all that fit have started.

    As long as a host would have cards for it, that is what the host lacks; otherwise it is cards.
    """
    full = [taken(room, wanted, how_many(room, wanted)) for room in found]
    nearest = closest([room for room in full if has_cards(room, wanted)], wanted)
    return LIMITS[nearest[1][0].code] if nearest else LIMITS["NO_FREE_CARD"]


def closest(
    candidates: list[Room], wanted: Need, zone: str | None = None
) -> tuple[Room, tuple[Obstacle, ...]] | None:
    """Of hosts on which nothing fits the one that lacks least, with its obstacles.

    A host that is up and in the right aggregate comes before one that is not, one that lacks one
    thing before one that lacks two, one that lacks little before one that lacks much.
    """
    placed = ("AGGREGATE", "ZONE", "HOST_DOWN", "HOST_DISABLED")

    def distance(pair: tuple[Room, tuple[Obstacle, ...]]) -> tuple[bool, bool, int, float, str]:
        room, blocking = pair
        codes = [obstacle.code for obstacle in blocking]
        return (
            any(code in placed[:2] for code in codes),
            any(code in placed[2:] for code in codes),
            len(codes),
            max(_shortfall(obstacle) for obstacle in blocking),
            room.host,
        )

    pairs = [(room, obstacles(room, wanted, zone)) for room in candidates]
    return min((pair for pair in pairs if pair[1]), key=distance, default=None)


def _shortfall(obstacle: Obstacle) -> float:
    if isinstance(obstacle.needed, int) and isinstance(obstacle.available, int):
        return 1 - obstacle.available / obstacle.needed
    return 1.0
