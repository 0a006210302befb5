"""Obstacles in words: what is wrong with the host, and what to do."""

from collections.abc import Callable

from gpufarm.capacity.aliases import card_name
from gpufarm.capacity.cards import Count
from gpufarm.capacity.obstacle import UNKNOWN, Code, Obstacle
from gpufarm.capacity.reserve import kept_by_placement
from gpufarm.capacity.rooms import Room
from gpufarm.model.reserve import CLASSES

NAMES = {"VCPU": "VCPU", "PCPU": "dedicated CPU", "MEMORY_MB": "MB of memory", "DISK_GB": "GB disk"}
RATIOS = {"VCPU": "cpu", "MEMORY_MB": "ram", "DISK_GB": "disk"}
QUOTAS = {"instances": "servers", "cores": "cores", "ram": "MB of memory"}


def sentence(room: Room, obstacle: Obstacle, aliases: dict[str, str]) -> str:
    """What keeps the server off `room`, and the way out."""
    if obstacle.code in _OF_CARDS:
        return _cards(room, obstacle, aliases)
    words = _WORDS.get(obstacle.code)
    if words is None:
        return f"{obstacle.what}: {obstacle.needed} asked for, {obstacle.available} there"
    return words(room, obstacle)


def quota(obstacle: Obstacle) -> str:
    """What of the project's quota is used up."""
    what = QUOTAS.get(obstacle.what, obstacle.what)
    return (
        f"the project's quota of {what} has {obstacle.available} left and {obstacle.needed} are "
        "needed: delete servers of the project, or raise the quota"
    )


def not_listed(host: str, most: int | str) -> str:
    """The host would do, and is not on Placement's list.

    Disabling a nova-compute that is down does not help: it sets the trait itself
    (nova/compute/api.py, _update_compute_provider_status).
    """
    return (
        f"Placement lists {most} candidates, and {host}, which would do, is not among them: hosts "
        "that a filter refuses fill the list; close the cards of those (`gpufarm host cordon`), or "
        "raise [scheduler]max_placement_results and Placement's max_allocation_candidates"
    )


def states(count: Count) -> str:
    """`2 in use, 1 cordoned`."""
    parts = [(count.used, "in use"), (count.cordoned, "cordoned"), (count.leaked, "leaked")]
    return ", ".join(f"{number} {state}" for number, state in parts if number)


def _cards(room: Room, obstacle: Obstacle, aliases: dict[str, str]) -> str:
    name = card_name(obstacle.what, aliases)
    count = room.counts.get(obstacle.what, Count())
    if not count.total:
        return f"it has no {name} card ({obstacle.what})"
    held = f" ({states(count)})" if states(count) else ""
    return (
        f"{obstacle.available} of {count.total} {name} cards free, {obstacle.needed} needed{held}"
    )


def _too_little(room: Room, obstacle: Obstacle) -> str:
    name = NAMES[obstacle.what]
    largest = room.largest.get(obstacle.what, 0)
    if isinstance(obstacle.needed, int) and obstacle.needed > largest:
        return f"the host has {largest} {name} in all and it needs {obstacle.needed}"
    fix = f"delete servers on {room.host}"
    if obstacle.what in RATIOS:
        fix += f", or raise its {RATIOS[obstacle.what]}_allocation_ratio"
    return f"the host has {obstacle.available} {name} left and it needs {obstacle.needed}: {fix}"


def _reserved(room: Room, obstacle: Obstacle) -> str:
    if not obstacle.blocks:
        return "what is kept for the free cards of its NUMA nodes only the scheduler can say"
    name = NAMES[obstacle.what]
    free = room.free.get(obstacle.what, 0)
    kept = kept_by_placement(room, obstacle.what) or free - _number(obstacle.available)
    return (
        f"the host has {obstacle.available} {name} left beside the {kept} that are kept for its "
        f"free cards, and it needs {obstacle.needed}: delete ordinary servers on {room.host}"
    )


def _number(value: int | str) -> int:
    return value if isinstance(value, int) else 0


def _reserve_used(room: Room, obstacle: Obstacle) -> str:
    name = NAMES[CLASSES[obstacle.what]]
    if not room.largest.get(obstacle.what, 0):
        return (
            f"the host reports no {obstacle.what}, on which servers with cards draw: its settings "
            f"of the hard reserve are not in place, or nova-compute was not restarted"
        )
    return (
        f"the host has {obstacle.available} {name} of its reserve for cards left "
        f"({obstacle.what}) and it needs {obstacle.needed}: delete servers with cards there"
    )


def _aggregate(room: Room, obstacle: Obstacle) -> str:
    if obstacle.available == UNKNOWN:
        return f"whether it takes {obstacle.what}={obstacle.needed} no API tells"
    if obstacle.code == "PROJECT":
        return (
            f"it is kept for other projects ({obstacle.what} of its aggregates: "
            f"{obstacle.available})"
        )
    if obstacle.code == "IMAGE":
        return (
            f"an aggregate of the host takes images of {obstacle.what}={obstacle.available} only, "
            f"not {obstacle.needed}"
        )
    if obstacle.what.startswith("trait:"):
        return f"an aggregate of the host is closed to flavors without {obstacle.what}=required"
    return (
        f"no aggregate of the host has {obstacle.what}={obstacle.needed} (it has "
        f"{obstacle.available or 'none'}): add {room.host} to the flavor's aggregate"
    )


def _numa(obstacle: Obstacle) -> str:
    if obstacle.available == UNKNOWN:
        return (
            f"it needs {obstacle.needed}; no API shows the host's NUMA nodes, so that only "
            "the scheduler can say whether it fits"
        )
    return f"no NUMA nodes of the host fit {obstacle.needed} (left: {obstacle.available})"


def _zone(_room: Room, obstacle: Obstacle) -> str:
    return (
        f"the host is in availability zone {obstacle.available}, not {obstacle.needed}: "
        "name another zone, or none"
    )


def _disabled(room: Room, _obstacle: Obstacle) -> str:
    return (
        "its nova-compute is disabled: "
        f"`openstack compute service set --enable {room.host} nova-compute`"
    )


def _down(_room: Room, obstacle: Obstacle) -> str:
    return f"its nova-compute is {obstacle.available}: start it, or see its log"


def _trait(_room: Room, obstacle: Obstacle) -> str:
    return f"trait {obstacle.what} is {obstacle.needed}, and it is {obstacle.available}"


def _servers(room: Room, obstacle: Obstacle) -> str:
    return f"it has {room.servers} servers, the most that {obstacle.source} lets on a host"


_OF_CARDS = ("NO_FREE_CARD", "CORDONED", "CARD_LEAKED")

_WORDS: dict[Code, Callable[[Room, Obstacle], str]] = {
    "NOT_ENOUGH_VCPU": _too_little,
    "NOT_ENOUGH_MEMORY": _too_little,
    "NOT_ENOUGH_DISK": _too_little,
    "RESERVED_FOR_GPU": _reserved,
    "RESERVE_USED": _reserve_used,
    "AGGREGATE": _aggregate,
    "PROJECT": _aggregate,
    "IMAGE": _aggregate,
    "ZONE": _zone,
    "HOST_DISABLED": _disabled,
    "HOST_DOWN": _down,
    "TRAIT": _trait,
    "NUMA": lambda _room, obstacle: _numa(obstacle),
    "TOO_MANY_SERVERS": _servers,
    "CANDIDATE_LIMIT": lambda room, obstacle: not_listed(room.host, obstacle.available),
}
