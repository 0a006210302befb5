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
from gpufarm.model.cloud import Provider

END = "delete or move servers"
UNCORDON = "uncordon cards"
REPAIR = "remove leaked allocations"
START = "start nova-compute"
ENABLE = "enable nova-compute"
QUOTA = "delete servers of the project, or raise its quota"


Step = tuple[str, str]
"""(action, what it is done to)"""


class Cure(msgspec.Struct, frozen=True, kw_only=True):
    """The first `number` of those in `of` are enough: uuids of consumers, or addresses of cards;
    the others are of the same kind. `what` is what they free."""

    host: str | None
    action: str
    what: str
    number: int
    of: tuple[str, ...] = ()


class Tree(msgspec.Struct, frozen=True):
    """The providers of one host, and the consumers that nobody knows."""

    providers: tuple[Provider, ...]
    lost: frozenset[str]


def of_quota(over: Iterable[Obstacle]) -> tuple[Cure, ...]:
    return tuple(
        Cure(host=None, action=QUOTA, what=each.what, number=_short(each)) for each in over
    )


def of_host(
    tree: Tree, room: Room, blocking: list[Obstacle], aliases: dict[str, str]
) -> tuple[Cure, ...]:
    """All that has to end; nothing where the host takes the server or no end would do."""
    cures: dict[tuple[str, str], Cure] = {}
    for obstacle in blocking:
        found = _of(tree, room, obstacle, aliases)
        if not found:
            return ()
        cures |= {(each.action, each.what): each for each in found}
    return tuple(cures.values())


def _of(tree: Tree, room: Room, obstacle: Obstacle, aliases: dict[str, str]) -> list[Cure]:
    match obstacle.code:
        case "HOST_DOWN" if obstacle.available == "down":
            return [Cure(host=room.host, action=START, what="host", number=1, of=(room.host,))]
        case "HOST_DISABLED":
            return [Cure(host=room.host, action=ENABLE, what="host", number=1, of=(room.host,))]
        case "NO_FREE_CARD" | "CORDONED" | "CARD_LEAKED":
            return _of_cards(tree, room, obstacle, aliases)
        case "NOT_ENOUGH_VCPU" | "NOT_ENOUGH_MEMORY" | "NOT_ENOUGH_DISK" | "RESERVE_USED":
            return _of_amount(tree, room, obstacle, frozenset())
        case "RESERVED_FOR_GPU":
            # The end of a server with cards gives the reserve back to them.
            devices = (each for each in tree.providers if each.uuid != room.root)
            return _of_amount(
                tree, room, obstacle, frozenset(who for each in devices for who in each.allocations)
            )
        case _:
            return []


def _of_cards(tree: Tree, room: Room, obstacle: Obstacle, aliases: dict[str, str]) -> list[Cure]:
    """First what costs nobody anything, then what does; only what is needed of it."""
    name, needed = obstacle.what, _whole(obstacle.needed)
    devices = tuple(each for each in tree.providers if name in each.inventories)
    steps = _steps(devices, name, tree.lost)
    if _free(devices, name, steps) < needed:
        return []
    chosen = steps
    # The last ones are dropped first: they cost most.
    for step in reversed(steps):
        fewer = [each for each in chosen if each != step]
        if _free(devices, name, fewer) >= needed:
            chosen = fewer
    cures = []
    for action in dict.fromkeys(action for action, _ in chosen):
        first = [what for kind, what in chosen if kind == action]
        others = [what for kind, what in steps if kind == action and what not in first]
        cures.append(
            Cure(
                host=room.host,
                action=action,
                what=card_name(name, aliases),
                number=len(first),
                of=(*first, *others),
            )
        )
    return cures


def _steps(devices: tuple[Provider, ...], name: str, lost: frozenset[str]) -> list[Step]:
    reserved = sorted(_address(each) for each in devices if each.inventories[name].reserved)
    held = sorted({who for each in devices for who in each.allocations})
    return [
        *((UNCORDON, address) for address in reserved),
        *((REPAIR, who) for who in held if who in lost),
        *((END, who) for who in held if who not in lost),
    ]


def _free(devices: tuple[Provider, ...], name: str, done: list[Step]) -> int:
    """Cards that are free once all of `done` are."""
    opened = {what for action, what in done if action == UNCORDON}
    gone = {what for action, what in done if action != UNCORDON}
    free = 0
    for each in devices:
        stock = each.inventories[name]
        reserved = 0 if _address(each) in opened else stock.reserved
        held = sum(
            amounts.get(name, 0) for who, amounts in each.allocations.items() if who not in gone
        )
        free += max(0, stock.total - reserved - held)
    return free


def _of_amount(tree: Tree, room: Room, obstacle: Obstacle, without: frozenset[str]) -> list[Cure]:
    """The fewest servers that free enough, the largest first; none of those in `without`."""
    if _whole(obstacle.needed) > room.largest.get(obstacle.what, 0):
        return []
    (root,) = (each for each in tree.providers if each.uuid == room.root)
    having = sorted(
        (
            (amounts[obstacle.what], who)
            for who, amounts in root.allocations.items()
            if amounts.get(obstacle.what) and who not in without
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
    listed = tuple(who for _, who in having[:number])
    return [Cure(host=room.host, action=END, what=obstacle.what, number=number, of=listed)]


def _short(obstacle: Obstacle) -> int:
    return _whole(obstacle.needed) - _whole(obstacle.available)


def _whole(value: int | str) -> int:
    return value if isinstance(value, int) else 0


def _address(device: Provider) -> str:
    return device.name.rpartition("_")[2].lower()
