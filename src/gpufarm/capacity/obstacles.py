"""Why one more server of a flavor cannot start on a host, and how many can.

What is decided here: every obstacle that one host puts up, in the order in which Nova's scheduler
meets them: what its request to Placement asks for, then its filters, then nova-compute's claim.
`capacity`, `explain` and `server create` all decide by this.
"""

from collections.abc import Iterator

import msgspec

from gpufarm.capacity import numa, reserve
from gpufarm.capacity.filters import SERVERS, TENANT_KEY, most_servers, of_filters
from gpufarm.capacity.obstacle import Code, Obstacle
from gpufarm.capacity.rooms import DISABLED_TRAIT, Need, Room
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.reserve import MEMORY_CLASS, VCPU_CLASS

RESOURCE_CODES: dict[str, Code] = {
    "VCPU": "NOT_ENOUGH_VCPU",
    "PCPU": "NOT_ENOUGH_VCPU",
    "MEMORY_MB": "NOT_ENOUGH_MEMORY",
    "DISK_GB": "NOT_ENOUGH_DISK",
    VCPU_CLASS: "RESERVE_USED",
    MEMORY_CLASS: "RESERVE_USED",
}

TRAIT_KEY = "trait:"


class Rules(msgspec.Struct, frozen=True):
    """What holds for every host: the settings, the zones there are, and the projects that have
    aggregates of their own."""

    scheduler: Scheduler = Scheduler()
    zones: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


def rules(snapshot: Snapshot) -> Rules:
    return Rules(
        scheduler=snapshot.scheduler,
        zones=frozenset(found.zone for found in snapshot.aggregates if found.zone),
        tenants=frozenset(
            value
            for aggregate in snapshot.aggregates
            for key, value in aggregate.properties.items()
            if key.startswith(TENANT_KEY)
        ),
    )


def obstacles(room: Room, wanted: Need, by: Rules) -> tuple[Obstacle, ...]:
    """Everything that keeps one more such server off the host; empty where it fits."""
    return tuple(found for found in every(room, wanted, by) if found.blocks)


def every(room: Room, wanted: Need, by: Rules) -> tuple[Obstacle, ...]:
    """The same and the doubts: what somebody decides who cannot be asked."""
    return (*of_placement(room, wanted, by), *of_filters(room, wanted, by.scheduler))


def of_placement(room: Room, wanted: Need, by: Rules) -> Iterator[Obstacle]:
    """What Nova's request to Placement asks for and the host has not."""
    yield from _of_cards(room, wanted)
    yield from _of_amounts(room, wanted, by.scheduler)
    yield from _of_traits(room, wanted)
    yield from _of_aggregates(room, wanted, by)


def how_many(room: Room, wanted: Need, by: Rules) -> int:
    """How many such servers fit, one after another; of a flavor that takes nothing, one."""
    if obstacles(room, wanted, by):
        return 0
    shares = [room.cards.get(name, 0) // number for name, number in wanted.cards.items() if number]
    shares += [
        room.free.get(name, 0) // amount
        for name, amount in _amounts(room, wanted, by.scheduler).items()
    ]
    for name in SERVERS:
        if name in by.scheduler.filters:
            of_aggregates = name == SERVERS[1]
            shares.append(most_servers(room, by.scheduler, of_aggregates) - room.servers)
    beside = reserve.most(room, wanted, by.scheduler)
    most = min(shares if beside is None else [*shares, beside], default=1)
    if room.cells and wanted.shape and wanted.shape.known:
        return numa.starts(room.cells, wanted.shape, wanted.cards, most)
    return most


def has_cards(room: Room, wanted: Need) -> bool:
    """Whether the host has the free cards for one more."""
    return not any(True for _ in _of_cards(room, wanted))


def _of_cards(room: Room, wanted: Need) -> Iterator[Obstacle]:
    for name, number in sorted(wanted.cards.items()):
        free = room.cards.get(name, 0)
        if number > free:
            yield Obstacle(_card_code(room, name, number), name, number, free)


def _card_code(room: Room, name: str, number: int) -> Code:
    """What would be enough to end; where only the end of a server is, no card is free."""
    count = room.counts.get(name)
    if count is not None and count.free + count.cordoned >= number:
        return "CORDONED"
    if count is not None and count.free + count.cordoned + count.leaked >= number:
        return "CARD_LEAKED"
    return "NO_FREE_CARD"


def _amounts(room: Room, wanted: Need, scheduler: Scheduler) -> dict[str, int]:
    """Nova asks a second time, with VCPU for PCPU, so that a host without an inventory of PCPU may
    be chosen (nova/scheduler/manager.py, select_destinations)."""
    amounts = dict(wanted.amounts)
    if "PCPU" in amounts and "PCPU" not in room.largest and scheduler.vcpu_for_pcpu:
        amounts.pop("PCPU")
        amounts["VCPU"] = wanted.vcpus
    return amounts


def _of_amounts(room: Room, wanted: Need, scheduler: Scheduler) -> Iterator[Obstacle]:
    for name, amount in sorted(_amounts(room, wanted, scheduler).items()):
        available = min(room.free.get(name, 0), room.largest.get(name, 0))
        if amount > available:
            kept = reserve.kept_by_placement(room, name)
            of_cards = not wanted.cards and amount <= min(available + kept, room.largest[name])
            code = "RESERVED_FOR_GPU" if of_cards else RESOURCE_CODES[name]
            yield Obstacle(code, name, amount, available)


def _of_traits(room: Room, wanted: Need) -> Iterator[Obstacle]:
    for name in sorted(wanted.required - room.traits):
        yield Obstacle("TRAIT", name, "required", "missing")
    for name in sorted(wanted.forbidden & room.traits):
        yield Obstacle("TRAIT", name, "forbidden", "present")
    if DISABLED_TRAIT in room.traits:
        yield Obstacle("HOST_DISABLED", "nova-compute", "enabled", "disabled")


def _of_aggregates(room: Room, wanted: Need, by: Rules) -> Iterator[Obstacle]:
    zone = wanted.zone or by.scheduler.schedule_zone
    # A zone of no aggregate, which is the default one, limits nothing
    # (nova/scheduler/request_filter.py, map_az_to_placement_aggregate).
    if zone in by.zones and zone not in room.zones:
        yield Obstacle("ZONE", "availability zone", zone or "", room.zone)
    if by.scheduler.isolated_aggregates:
        yield from _isolated(room, wanted)
    if by.scheduler.tenant_aggregates:
        yield from _tenant(room, wanted, by)


def _isolated(room: Room, wanted: Need) -> Iterator[Obstacle]:
    """An aggregate with trait:NAME=required is closed to whoever does not require all of them."""
    asked = wanted.required.union(*wanted.card_traits.values())
    for properties in room.aggregates:
        for key, value in sorted(properties.items()):
            name = key.removeprefix(TRAIT_KEY)
            if key.startswith(TRAIT_KEY) and value == "required" and name not in asked:
                yield Obstacle("AGGREGATE", key, "not required by the flavor", "required")


def _tenant(room: Room, wanted: Need, by: Rules) -> Iterator[Obstacle]:
    """nova/scheduler/request_filter.py, require_tenant_aggregate."""
    own = any(
        key.startswith(TENANT_KEY) and value == wanted.project
        for properties in room.aggregates
        for key, value in properties.items()
    )
    bound = wanted.project in by.tenants or by.scheduler.tenant_aggregates_required
    if bound and not own:
        yield Obstacle("PROJECT", TENANT_KEY, wanted.project or "", "none of its aggregates")
