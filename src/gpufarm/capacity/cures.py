"""What would have to end for a host to take a server that it cannot take now.

What is decided here: for each host on which ends alone would do it, all of them: servers that go,
cards that are uncordoned, leaks that are removed, a nova-compute that comes back. A host that lacks
what no end brings (an aggregate, a trait, a card) is left out.
"""

from collections.abc import Iterable

import msgspec

from gpufarm.capacity.aliases import card_name
from gpufarm.capacity.obstacle import Obstacle
from gpufarm.capacity.rooms import Room
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import Provider

END = "delete or move servers"
UNCORDON = "uncordon cards"
REPAIR = "remove leaked allocations"
START = "start nova-compute"
ENABLE = "enable nova-compute"
QUOTA = "delete servers of the project, or raise its quota"


class Cure(msgspec.Struct, frozen=True, kw_only=True):
    """`number` of those in `of` is enough: uuids of consumers, or addresses of cards; `what` is
    what they free."""

    host: str | None
    action: str
    what: str
    number: int
    of: tuple[str, ...] = ()


def of_quota(over: Iterable[Obstacle]) -> tuple[Cure, ...]:
    return tuple(
        Cure(host=None, action=QUOTA, what=each.what, number=_short(each)) for each in over
    )


def of_host(
    snapshot: Snapshot, room: Room, blocking: list[Obstacle], aliases: dict[str, str]
) -> tuple[Cure, ...]:
    """All that has to end; nothing where the host takes the server or no end would do."""
    cures: dict[tuple[str, str], Cure] = {}
    for obstacle in blocking:
        found = _of(snapshot, room, obstacle, aliases)
        if not found:
            return ()
        cures |= {(each.action, each.what): each for each in found}
    return tuple(cures.values())


def _of(snapshot: Snapshot, room: Room, obstacle: Obstacle, aliases: dict[str, str]) -> list[Cure]:
    match obstacle.code:
        case "HOST_DOWN" if obstacle.available == "down":
            return [Cure(host=room.host, action=START, what="host", number=1, of=(room.host,))]
        case "HOST_DISABLED":
            return [Cure(host=room.host, action=ENABLE, what="host", number=1, of=(room.host,))]
        case "NO_FREE_CARD" | "CORDONED" | "CARD_LEAKED":
            return _of_cards(snapshot, room, obstacle, aliases)
        case "NOT_ENOUGH_VCPU" | "NOT_ENOUGH_MEMORY" | "NOT_ENOUGH_DISK":
            return _of_amount(snapshot, room, obstacle)
        case _:
            return []


def _of_cards(
    snapshot: Snapshot, room: Room, obstacle: Obstacle, aliases: dict[str, str]
) -> list[Cure]:
    """First what costs nobody anything, then what does."""
    name = obstacle.what
    count, short = room.counts.get(name), _short(obstacle)
    if count is None or count.total < _whole(obstacle.needed):
        return []
    devices = [each for each in snapshot.devices() if each.root_uuid == room.root]
    devices = [each for each in devices if name in each.inventories]
    held = {who for each in devices for who in each.allocations}
    card = card_name(name, aliases)
    used = sum(
        amounts.get(name, 0)
        for each in devices
        for who, amounts in each.allocations.items()
        if who not in snapshot.lost
    )
    reserved = (each for each in devices if each.inventories[name].reserved)
    ways = (
        (UNCORDON, count.cordoned, (_address(each) for each in reserved if not each.allocations)),
        (REPAIR, count.leaked, held & snapshot.lost),
        (END, used, held - snapshot.lost),
    )
    cures = []
    for action, most, of in ways:
        number = min(short, most)
        if number:
            short -= number
            listed = tuple(sorted(of))
            cures.append(Cure(host=room.host, action=action, what=card, number=number, of=listed))
    return [] if short else cures


def _of_amount(snapshot: Snapshot, room: Room, obstacle: Obstacle) -> list[Cure]:
    """The fewest servers that free enough, the largest first."""
    if _whole(obstacle.needed) > room.largest.get(obstacle.what, 0):
        return []
    (root,) = (each for each in snapshot.providers if each.uuid == room.root)
    having = sorted(
        (
            (amounts[obstacle.what], who)
            for who, amounts in root.allocations.items()
            if amounts.get(obstacle.what)
        ),
        reverse=True,
    )
    short, number = _short(obstacle), 0
    for amount, _ in having:
        if short > 0:
            short -= amount
            number += 1
    if short > 0:
        return []
    listed = tuple(who for _, who in having)
    return [Cure(host=room.host, action=END, what=obstacle.what, number=number, of=listed)]


def _short(obstacle: Obstacle) -> int:
    return _whole(obstacle.needed) - _whole(obstacle.available)


def _whole(value: int | str) -> int:
    return value if isinstance(value, int) else 0


def _address(device: Provider) -> str:
    return device.name.rpartition("_")[2].lower()
