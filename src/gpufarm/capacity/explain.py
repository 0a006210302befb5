"""Why a server of a flavor can or cannot start: host by host, in the scheduler's order.

What is decided here: which of our obstacles stand against Placement's own answer, what the verdict
is, and what would have to end for a host to take the server. Of two that differ Placement is right:
Nova asks it and nobody else. The difference is said.
"""

from collections.abc import Mapping

import msgspec

from gpufarm.capacity import messages, quota
from gpufarm.capacity.admission import no_zone, unjudged
from gpufarm.capacity.aliases import known
from gpufarm.capacity.cures import Cure, Tree, of_host, of_quota
from gpufarm.capacity.filters import of_filters, unknown
from gpufarm.capacity.flavors import can_start
from gpufarm.capacity.obstacle import NOVA, PLACEMENT, Obstacle
from gpufarm.capacity.obstacles import Rules, how_many, of_placement, rules
from gpufarm.capacity.preferred import Preferred, preferred
from gpufarm.capacity.rooms import Need, Room, rooms, taken
from gpufarm.capacity.scheduler import ASSUMED
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import Candidates, CloudFlavor

SHOWN = "filters from {}"
NOT_SHOWN = (
    "no API shows the scheduler's filters: those that `gpufarm farm` sets are assumed; name a "
    "nova.conf (--nova-conf) or a farm file (--farm)"
)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is None for what holds for the whole request; one that does not block is a doubt."""

    host: str | None
    code: str
    message: str
    needed: int | str | None = None
    available: int | str | None = None
    source: str
    blocks: bool = True


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`can_start` is None where it cannot be said. `preferred`: hosts of a server that is admitted,
    in the order of the scheduler's packing weigher."""

    admitted: bool
    can_start: int | None
    reasons: tuple[Reason, ...]
    frees_when: tuple[Cure, ...]
    preferred: tuple[Preferred, ...] = ()


def cannot_tell(snapshot: Snapshot, flavor: CloudFlavor) -> Explanation:
    """Of a flavor whose alias nobody explains: Nova alone knows what it asks for."""
    said = unjudged(snapshot, flavor) or ""
    return Explanation(
        admitted=False,
        can_start=None,
        reasons=(Reason(host=None, code="ALIAS_UNKNOWN", message=said, source="[pci]alias"),),
        frees_when=(),
    )


def explain(
    snapshot: Snapshot, wanted: Need, candidates: Candidates | None, count: int = 1
) -> Explanation:
    """The verdict on `count` servers; `candidates` is Placement's answer for the first of them."""
    by, found = rules(snapshot), rooms(snapshot)
    judged = {room.host: _judge(room, wanted, by, candidates) for room in found}
    open_ = tuple(room for room in found if not any(each.blocks for each in judged[room.host]))
    refused = _request(snapshot, wanted, count)
    number = 0 if any(each.blocks for each in refused) else can_start(snapshot, open_, wanted, by)
    if number == 0 and open_ and not refused:
        # Placement offers what our count does not see.
        number = 1 if not quota.obstacles(snapshot.limits, wanted) else 0
    admitted = number is None or number >= count
    if not admitted and open_:
        # What stands in the way of the first one that does not start.
        full = {room.host: taken(room, wanted, how_many(room, wanted, by)) for room in open_}
        judged |= {host: _judge(room, wanted, by, None) for host, room in full.items()}
        found = tuple(full.get(room.host, room) for room in found)
    aliases = known(snapshot)
    reasons = [*refused, *_doubts(snapshot)]
    for room in found:
        reasons += [_reason(room, each, aliases) for each in judged[room.host]]
    cures: tuple[Cure, ...] = ()
    if not admitted:
        over = quota.obstacles(snapshot.limits, wanted, count)
        cures = (*of_quota(over), *_cures(snapshot, found, judged, aliases))
    return Explanation(
        admitted=admitted,
        can_start=number,
        reasons=tuple(reasons),
        frees_when=cures,
        preferred=preferred(open_, wanted, by.scheduler) if admitted else (),
    )


def _judge(
    room: Room, wanted: Need, by: Rules, candidates: Candidates | None
) -> tuple[Obstacle, ...]:
    ours = tuple(of_placement(room, wanted, by))
    after = tuple(of_filters(room, wanted, by.scheduler))
    if candidates is None:
        return (*ours, *after)
    return (*_with_placement(room, ours, candidates, by), *after)


def _with_placement(
    room: Room, ours: tuple[Obstacle, ...], candidates: Candidates, by: Rules
) -> tuple[Obstacle, ...]:
    """Placement's answer about the host, with our reasons for it where there are any."""
    offered = room.root in candidates.roots
    if offered:
        return tuple(msgspec.structs.replace(each, blocks=False) for each in ours)
    if ours:
        return ours
    if candidates.ways >= by.scheduler.max_candidates:
        limit = Obstacle(
            "CANDIDATE_LIMIT", "max_placement_results", "on the list", by.scheduler.max_candidates
        )
        return (limit,)
    return (Obstacle("PLACEMENT", "allocation candidates", "one", "none"),)


def _request(snapshot: Snapshot, wanted: Need, count: int) -> list[Reason]:
    """What stops the request before any host is looked at: the zone, then the quota."""
    found = []
    if problem := no_zone(snapshot, wanted.zone):
        found.append(
            Reason(host=None, code="ZONE", message=problem, needed=wanted.zone, source=NOVA)
        )
    found += [
        Reason(
            host=None,
            code=each.code,
            message=messages.quota(each),
            needed=each.needed,
            available=each.available,
            source=each.source,
            # Fewer may start all the same, which can_start says.
            blocks=bool(quota.obstacles(snapshot.limits, wanted)),
        )
        for each in quota.obstacles(snapshot.limits, wanted, count)
    ]
    return found


def _doubts(snapshot: Snapshot) -> list[Reason]:
    """Filters that somebody added and gpufarm cannot know, and settings that nobody showed."""
    source = snapshot.scheduler.source
    return [
        Reason(host=None, code="FILTER_UNKNOWN", message=text, source=name, blocks=False)
        for name in unknown(snapshot.scheduler)
        if (text := f"{name} is enabled ({source}); gpufarm does not know what it lets through")
    ]


def notes(snapshot: Snapshot) -> tuple[str, ...]:
    """What the user should know of how the verdict came about."""
    source = snapshot.scheduler.source
    return (SHOWN.format(source) if source != ASSUMED else NOT_SHOWN,)


def _reason(room: Room, obstacle: Obstacle, aliases: Mapping[str, str]) -> Reason:
    message = messages.sentence(room, obstacle, dict(aliases))
    if not obstacle.blocks and obstacle.source == PLACEMENT:
        message = f"Placement offers the host all the same: {message}"
    return Reason(
        host=room.host,
        code=obstacle.code,
        message=message,
        needed=obstacle.needed,
        available=obstacle.available,
        source=obstacle.source,
        blocks=obstacle.blocks,
    )


def _cures(
    snapshot: Snapshot,
    found: tuple[Room, ...],
    judged: Mapping[str, tuple[Obstacle, ...]],
    aliases: Mapping[str, str],
) -> tuple[Cure, ...]:
    cures: list[Cure] = []
    trees, names = snapshot.trees(), dict(aliases)
    for room in found:
        blocking = [each for each in judged[room.host] if each.blocks]
        cures += of_host(Tree(trees[room.root], snapshot.lost), room, blocking, names)
    return tuple(cures)
