"""Why one more server of a flavor cannot start on a host, and how many can.

What is decided here: every obstacle that one host puts up, with its numbers. Left for later, and
not looked at: NUMA nodes, quotas, a reserve kept for GPU servers, traits, and filters that an
operator added.
"""

from typing import Literal

import msgspec

from gpufarm.capacity.extra_specs import matches
from gpufarm.capacity.rooms import Need, Room

Code = Literal[
    "NO_FREE_CARD",
    "NOT_ENOUGH_VCPU",
    "NOT_ENOUGH_MEMORY",
    "NOT_ENOUGH_DISK",
    "AGGREGATE",
    "ZONE",
    "HOST_DOWN",
    "HOST_DISABLED",
]

RESOURCE_CODES: dict[str, Code] = {
    "VCPU": "NOT_ENOUGH_VCPU",
    "PCPU": "NOT_ENOUGH_VCPU",
    "MEMORY_MB": "NOT_ENOUGH_MEMORY",
    "DISK_GB": "NOT_ENOUGH_DISK",
}

LIMITS: dict[Code, str] = {
    "NO_FREE_CARD": "gpu",
    "NOT_ENOUGH_VCPU": "vcpu",
    "NOT_ENOUGH_MEMORY": "memory",
    "NOT_ENOUGH_DISK": "disk",
    "AGGREGATE": "aggregate",
    "ZONE": "aggregate",
    "HOST_DOWN": "host state",
    "HOST_DISABLED": "host state",
}
"""What `capacity` prints under limited_by."""


class Obstacle(msgspec.Struct, frozen=True):
    """`needed` and `available` are amounts, or a property and the values that the host has."""

    code: Code
    what: str
    needed: int | str
    available: int | str


def obstacles(room: Room, wanted: Need, zone: str | None = None) -> tuple[Obstacle, ...]:
    """Everything that keeps one more such server off the host; empty where it fits."""
    return (
        *_of_host(room, zone),
        *_of_aggregate(room, wanted),
        *_of_cards(room, wanted),
        *_of_amounts(room, wanted),
    )


def how_many(room: Room, wanted: Need, zone: str | None = None) -> int:
    """How many such servers fit, one after another; of a flavor that takes nothing, one."""
    if obstacles(room, wanted, zone):
        return 0
    shares = [room.cards.get(name, 0) // number for name, number in wanted.cards.items() if number]
    shares += [room.free.get(name, 0) // amount for name, amount in wanted.amounts.items()]
    return min(shares, default=1)


def has_cards(room: Room, wanted: Need) -> bool:
    """Whether the host has the free cards for one more."""
    return not _of_cards(room, wanted)


def _of_host(room: Room, zone: str | None) -> list[Obstacle]:
    found = []
    if room.state in ("down", "gone"):
        found.append(Obstacle("HOST_DOWN", "nova-compute", "up", room.state))
    elif room.state == "disabled":
        found.append(Obstacle("HOST_DISABLED", "nova-compute", "enabled", "disabled"))
    if zone is not None and zone != room.zone:
        found.append(Obstacle("ZONE", "availability zone", zone, room.zone))
    return found


def _of_aggregate(room: Room, wanted: Need) -> list[Obstacle]:
    return [
        Obstacle("AGGREGATE", key, value, ", ".join(sorted(room.properties.get(key, ()))))
        for key, value in sorted(wanted.aggregate.items())
        if not any(matches(has, value) for has in room.properties.get(key, ()))
    ]


def _of_cards(room: Room, wanted: Need) -> list[Obstacle]:
    return [
        Obstacle("NO_FREE_CARD", name, number, room.cards.get(name, 0))
        for name, number in sorted(wanted.cards.items())
        if number > room.cards.get(name, 0)
    ]


def _of_amounts(room: Room, wanted: Need) -> list[Obstacle]:
    return [
        Obstacle(RESOURCE_CODES[name], name, amount, available)
        for name, amount in sorted(wanted.amounts.items())
        if amount > (available := min(room.free.get(name, 0), room.largest.get(name, 0)))
    ]
