"""What each host with cards has left, and what a server of a flavor takes.

What is decided here: the amounts. Placement admits `amount` where used + amount is at most
(total - reserved) * allocation_ratio, and amount is at most max_unit, which Nova sets to the total
(placement/objects/allocation_candidate.py, nova/virt/libvirt/driver.py update_provider_tree).
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gpufarm.capacity import cards
from gpufarm.capacity.aliases import asked
from gpufarm.capacity.extra_specs import asked_of_aggregate
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudFlavor, Inventory

HostState = Literal["up", "down", "disabled", "gone"]

DEFAULT_ZONE = "nova"
"""Of hosts in no zone, unless [DEFAULT]default_availability_zone says otherwise."""

_RESOURCES = re.compile(r"^resources[A-Za-z0-9_-]*:(VCPU|PCPU|MEMORY_MB|DISK_GB)$")


class Need(msgspec.Struct, frozen=True):
    """What one server takes: `cards` by resource class, `amounts` of its host."""

    flavor: str
    cards: dict[str, int]
    amounts: dict[str, int]
    aggregate: dict[str, str]


class Room(msgspec.Struct, frozen=True):
    """A host: `free` is what Placement would still hand out, `largest` the most to one server."""

    host: str
    state: HostState
    zone: str
    properties: dict[str, frozenset[str]]
    cards: dict[str, int]
    free: dict[str, int]
    largest: dict[str, int]


def need(flavor: CloudFlavor, aliases: Mapping[str, str]) -> Need | None:
    """What a server of `flavor` takes; None where one of its aliases is not among `aliases`.

    The image's properties, ephemeral and swap disks are not looked at, nor traits.
    """
    wanted: dict[str, int] = {}
    for alias, number in asked(flavor).items():
        if alias not in aliases:
            return None
        wanted[aliases[alias]] = wanted.get(aliases[alias], 0) + number
    return Need(flavor.name, wanted, _amounts(flavor), asked_of_aggregate(flavor.properties))


def _amounts(flavor: CloudFlavor) -> dict[str, int]:
    properties = flavor.properties
    cpus = "PCPU" if properties.get("hw:cpu_policy") == "dedicated" else "VCPU"
    amounts = {cpus: flavor.vcpus, "MEMORY_MB": flavor.memory_mb, "DISK_GB": flavor.disk_gb}
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
    """One for each host with cards, by name."""
    free_cards: dict[str, dict[str, int]] = {}
    for (resource_class, host), number in cards.counts(snapshot).items():
        free_cards.setdefault(host, {})[resource_class] = number.free
    roots = {provider.uuid: provider for provider in snapshot.providers}
    found = []
    for uuid, host in snapshot.host_names().items():
        stock = roots[uuid].inventories
        found.append(
            Room(
                host=host,
                state=_state(snapshot, host),
                zone=_zone(snapshot, host),
                properties=_properties(snapshot, host),
                cards=free_cards.get(host, {}),
                free={name: left(inventory) for name, inventory in stock.items()},
                largest={name: inventory.total for name, inventory in stock.items()},
            )
        )
    return tuple(sorted(found, key=lambda room: room.host))


def left(inventory: Inventory) -> int:
    """How much Placement would still hand out of `inventory`."""
    whole = int((inventory.total - inventory.reserved) * inventory.allocation_ratio)
    return max(0, whole - inventory.used)


def taken(room: Room, wanted: Need, times: int) -> Room:
    """`room` after `times` servers have started on it."""
    return msgspec.structs.replace(
        room,
        cards={
            name: number - times * wanted.cards.get(name, 0) for name, number in room.cards.items()
        },
        free={
            name: number - times * wanted.amounts.get(name, 0) for name, number in room.free.items()
        },
    )


def _state(snapshot: Snapshot, host: str) -> HostState:
    for service in snapshot.hosts:
        if service.name == host:
            return "down" if not service.up else "up" if service.enabled else "disabled"
    return "gone"


def _zone(snapshot: Snapshot, host: str) -> str:
    zones = [found.zone for found in snapshot.aggregates if host in found.hosts and found.zone]
    return zones[0] if zones else DEFAULT_ZONE


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
