"""What each host has left, and what a server of a flavor takes.

What is decided here: the amounts and the properties that are compared. Placement admits `amount`
where used + amount is at most (total - reserved) * allocation_ratio, and amount is at most
max_unit, which Nova sets to the total (placement/objects/allocation_candidate.py,
nova/virt/libvirt/driver.py update_provider_tree).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gpufarm.capacity import cards, numa
from gpufarm.capacity.aliases import asked
from gpufarm.capacity.cards import Count
from gpufarm.capacity.extra_specs import asked_of_aggregate
from gpufarm.capacity.numa import Cell, Shape
from gpufarm.capacity.scheduler import Alias
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudFlavor, Inventory, Provider
from gpufarm.model.reserve import CLASSES

HostState = Literal["up", "down", "disabled", "gone"]

DEFAULT_ZONE = "nova"
"""Of hosts in no zone, unless [DEFAULT]default_availability_zone says otherwise."""

DISABLED_TRAIT = "COMPUTE_STATUS_DISABLED"
"""On the providers of nova-computes that are disabled; every request forbids it
(nova/scheduler/request_filter.py, compute_status_filter)."""

SOCKET_TRAIT = "COMPUTE_SOCKET_PCI_NUMA_AFFINITY"
"""Required where cards are to be near by socket (nova/scheduler/utils.py)."""

_ROOT_CLASSES = "|".join(("VCPU", "PCPU", "MEMORY_MB", "DISK_GB", *CLASSES))
_RESOURCES = re.compile(rf"^resources[A-Za-z0-9_-]*:({_ROOT_CLASSES})$")
_TRAIT = re.compile(r"^trait:(.+)$")


class Need(msgspec.Struct, frozen=True):
    """What one server takes: `cards` by resource class, `amounts` of its host.

    `required` and `forbidden` are traits of the host, `card_traits` those of each card by class.
    """

    flavor: str
    cards: dict[str, int]
    amounts: dict[str, int]
    aggregate: tuple[tuple[str, str], ...]
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    card_traits: Mapping[str, frozenset[str]] = {}
    shape: Shape | None = None
    image: Mapping[str, str] = {}
    properties: Mapping[str, str] = {}
    vcpus: int = 0
    memory_mb: int = 0
    zone: str | None = None
    project: str | None = None


class Room(msgspec.Struct, frozen=True):
    """A host: `free` is what Placement would still hand out, `largest` the most to one server.

    `traits` are those of it that were asked about, `cards` are free, `counts` are all.
    `aggregates` are the properties of each aggregate it is in, zone left out. `total` is what
    Placement would hand out of an empty host with nothing reserved, `unheld` the cards that no
    server has and nobody closed.
    """

    host: str
    state: HostState
    zone: str
    properties: dict[str, frozenset[str]]
    cards: dict[str, int]
    free: dict[str, int]
    largest: dict[str, int]
    counts: Mapping[str, Count] = {}
    traits: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    aggregates: tuple[Mapping[str, str], ...] = ()
    cells: tuple[Cell, ...] = ()
    servers: int = 0
    root: str = ""
    total: Mapping[str, float] = {}
    unheld: Mapping[str, int] = {}
    is_open: bool = False
    """Whether the scheduler's filter keeps nothing here."""


def need(
    flavor: CloudFlavor,
    aliases: Mapping[str, str],
    *,
    image: Mapping[str, str] | None = None,
    configured: Mapping[str, Alias] | None = None,
    zone: str | None = None,
    project: str | None = None,
) -> Need | None:
    """What a server of `flavor` takes; None where one of its aliases is not among `aliases`.

    `image` are the image's properties, `configured` what Nova's settings say of the aliases.
    """
    wanted: dict[str, int] = {}
    traits: dict[str, frozenset[str]] = {}
    policy = "legacy"
    for alias, number in asked(flavor).items():
        if alias not in aliases:
            return None
        wanted[aliases[alias]] = wanted.get(aliases[alias], 0) + number
        if configured and alias in configured:
            traits[aliases[alias]] = configured[alias].traits
            policy = configured[alias].numa_policy
    required, forbidden = _traits(flavor, image or {})
    shape = numa.shape(flavor, dict(image or {}), policy)
    # Not for the alias's policy, which the request does not show.
    if "socket" in (flavor.properties.get(numa.POLICY), (image or {}).get(numa.IMAGE_POLICY)):
        required |= {SOCKET_TRAIT}
    return Need(
        flavor=flavor.name,
        cards=wanted,
        amounts=_amounts(flavor),
        aggregate=asked_of_aggregate(flavor.properties),
        required=required,
        forbidden=forbidden,
        card_traits=traits,
        shape=shape,
        image=image or {},
        properties=flavor.properties,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        zone=zone,
        project=project,
    )


def _traits(flavor: CloudFlavor, image: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Of the host, from `trait:NAME` of the flavor and `trait:NAME` of the image, which only
    requires (nova/scheduler/utils.py, ResourceRequest)."""
    found = {
        name[1]: value
        for key, value in flavor.properties.items()
        if (name := _TRAIT.match(key)) is not None
    }
    of_image = {
        name[1]
        for key, value in image.items()
        if (name := _TRAIT.match(key)) is not None and value == "required"
    }
    required = {name for name, value in found.items() if value == "required"}
    forbidden = {name for name, value in found.items() if value == "forbidden"}
    return frozenset(required | of_image), frozenset(forbidden)


def traits_of(
    flavors: Iterable[CloudFlavor], images: Iterable[Mapping[str, str]] = ()
) -> frozenset[str]:
    """Every trait that a server of one of `flavors` may be judged by, from an image with one of
    the properties `images`."""
    named = (_traits(flavor, {}) for flavor in flavors if asked(flavor))
    of_images = {name[1] for image in images for key in image if (name := _TRAIT.match(key))}
    return frozenset({DISABLED_TRAIT, SOCKET_TRAIT, cards.ONE_TIME_USE_TRAIT} | of_images).union(
        *(required | forbidden for required, forbidden in named)
    )


def _amounts(flavor: CloudFlavor) -> dict[str, int]:
    properties = flavor.properties
    cpus = "PCPU" if properties.get("hw:cpu_policy") == "dedicated" else "VCPU"
    # nova/scheduler/utils.py, ResourceRequest.from_request_spec; the swap in whole GB.
    disk = flavor.disk_gb + flavor.ephemeral_gb + -(-flavor.swap_mb // 1024)
    amounts = {cpus: flavor.vcpus, "MEMORY_MB": flavor.memory_mb, "DISK_GB": disk}
    if cpus == "PCPU" and properties.get("hw:emulator_threads_policy") == "isolate":
        amounts[cpus] += 1
    given: dict[str, int] = {}
    for key, value in properties.items():
        named = _RESOURCES.match(key)
        if named and value.isdigit():
            given[named[1]] = given.get(named[1], 0) + int(value)
    if {"VCPU", "PCPU"} & given.keys():
        del amounts[cpus]
    return {name: amount for name, amount in {**amounts, **given}.items() if amount}


def rooms(snapshot: Snapshot) -> tuple[Room, ...]:
    """One for each host of the snapshot, by name."""
    counts: dict[str, dict[str, Count]] = {}
    for (resource_class, host), number in cards.counts(snapshot).items():
        counts.setdefault(host, {})[resource_class] = number
    roots = {provider.uuid: provider for provider in snapshot.providers}
    unheld = cards.unheld(snapshot)
    found = [
        _room(snapshot, roots[uuid], host, counts.get(host, {}), unheld.get(host, {}))
        for uuid, host in snapshot.host_names().items()
    ]
    return tuple(sorted(found, key=lambda room: room.host))


def _room(
    snapshot: Snapshot, root: Provider, host: str, counts: dict[str, Count], unheld: dict[str, int]
) -> Room:
    stock = root.inventories
    joined = [aggregate for aggregate in snapshot.aggregates if host in aggregate.hosts]
    zones = [aggregate.zone for aggregate in joined if aggregate.zone]
    return Room(
        host=host,
        state=_state(snapshot, host),
        zone=zones[0] if zones else snapshot.scheduler.default_zone,
        properties=_properties(snapshot, host),
        cards={name: number.free for name, number in counts.items()},
        free={name: left(inventory) for name, inventory in stock.items()},
        largest={name: inventory.total for name, inventory in stock.items()},
        counts=counts,
        traits=frozenset(name for name, having in snapshot.traits.items() if root.uuid in having),
        zones=frozenset(zones),
        aggregates=tuple(aggregate.properties for aggregate in joined),
        cells=snapshot.cells.get(host, ()),
        servers=sum(service.servers for service in snapshot.hosts if service.name == host),
        root=root.uuid,
        total={name: each.total * each.allocation_ratio for name, each in stock.items()},
        unheld=unheld,
        is_open=root.name in snapshot.scheduler.open_hosts,
    )


def left(inventory: Inventory) -> int:
    """How much Placement would still hand out of `inventory`."""
    whole = int((inventory.total - inventory.reserved) * inventory.allocation_ratio)
    return max(0, whole - inventory.used)


def taken(room: Room, wanted: Need, times: int) -> Room:
    """`room` after `times` servers have started on it."""
    moved = {name: times * number for name, number in wanted.cards.items()}
    return msgspec.structs.replace(
        room,
        counts={
            name: count + Count(used=moved.get(name, 0), free=-moved.get(name, 0))
            for name, count in room.counts.items()
        },
        cards={
            name: number - times * wanted.cards.get(name, 0) for name, number in room.cards.items()
        },
        free={
            name: number - times * wanted.amounts.get(name, 0) for name, number in room.free.items()
        },
        cells=numa.after(room.cells, wanted.shape, wanted.cards, times),
        servers=room.servers + times,
        unheld={name: number - moved.get(name, 0) for name, number in room.unheld.items()},
    )


def _state(snapshot: Snapshot, host: str) -> HostState:
    for service in snapshot.hosts:
        if service.name == host:
            return "down" if not service.up else "up" if service.enabled else "disabled"
    return "gone"


def _properties(snapshot: Snapshot, host: str) -> dict[str, frozenset[str]]:
    """Every value that an aggregate of `host` gives; a comma separates several of one key
    (nova/scheduler/filters/utils.py, aggregate_metadata_get_by_host)."""
    found: dict[str, frozenset[str]] = {}
    for aggregate in snapshot.aggregates:
        if host in aggregate.hosts:
            for key, values in aggregate.properties.items():
                split = frozenset(value.strip() for value in values.split(","))
                found[key] = found.get(key, frozenset()) | split
    return found
