"""Cards by model and host: in total, used, free, cordoned, leaked.

What is decided here: which of those a card is. A card is *used* where a server or a migration that
Nova knows holds its allocation, *leaked* where something else does, *cordoned* where Placement has
it reserved and nobody holds it, and *free* otherwise.
"""

import msgspec

from gpufarm.capacity.aliases import card_name, known
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import Provider

ONE_TIME_USE_TRAIT = "HW_PCI_ONE_TIME_USE"


class Count(msgspec.Struct, frozen=True):
    """How many cards of one model there are, and in which state."""

    used: int = 0
    free: int = 0
    cordoned: int = 0
    leaked: int = 0

    @property
    def total(self) -> int:
        return self.used + self.free + self.cordoned + self.leaked

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.used + other.used,
            self.free + other.free,
            self.cordoned + other.cordoned,
            self.leaked + other.leaked,
        )


class CardRow(msgspec.Struct, frozen=True):
    """The cards of one model in one host."""

    card: str
    host: str
    total: int
    used: int
    free: int
    cordoned: int
    leaked: int


def count(device: Provider, resource_class: str, lost: frozenset[str]) -> Count:
    """The state of the cards of `resource_class` that `device` stands for (a PF: its VFs)."""
    inventory = device.inventories[resource_class]
    held = {
        consumer: amounts.get(resource_class, 0) for consumer, amounts in device.allocations.items()
    }
    leaked = sum(amount for consumer, amount in held.items() if consumer in lost)
    used = sum(held.values()) - leaked
    # A one-time-use card is reserved from the moment it is allocated: used, then cordoned.
    free = max(0, inventory.total - inventory.reserved - used - leaked)
    return Count(used, free, max(0, inventory.total - used - leaked - free), leaked)


def counts(snapshot: Snapshot) -> dict[tuple[str, str], Count]:
    """{(resource class, host): cards}."""
    names = snapshot.host_names()
    found: dict[tuple[str, str], Count] = {}
    for device in snapshot.devices():
        host = names.get(device.root_uuid, device.name.rpartition("_")[0])
        for resource_class in device.inventories:
            key = (resource_class, host)
            found[key] = found.get(key, Count()) + count(device, resource_class, snapshot.lost)
    return found


def unheld(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """{host: {resource class: cards}} that gpufarm_nova's filter takes for free: neither a server
    has them, nor are they cordoned by gpufarm, nor do they wait for being cleaned after one use.
    """
    names, closed = snapshot.host_names(), snapshot.cordoned()
    once = snapshot.traits.get(ONE_TIME_USE_TRAIT, frozenset())
    found: dict[str, dict[str, int]] = {}
    for device in snapshot.devices():
        of_host = found.setdefault(names.get(device.root_uuid, ""), {})
        for name, inventory in device.inventories.items():
            state = count(device, name, snapshot.lost)
            waits = device.name in closed or (device.uuid in once and inventory.reserved)
            of_host[name] = of_host.get(name, 0) + (0 if waits else inventory.total - state.used)
    return found


def cards(snapshot: Snapshot) -> tuple[CardRow, ...]:
    """One row a model and host, by model, then by host; without those that have no card left."""
    aliases = known(snapshot)
    rows = [
        CardRow(
            card_name(resource_class, aliases),
            host,
            number.total,
            number.used,
            number.free,
            number.cordoned,
            number.leaked,
        )
        for (resource_class, host), number in counts(snapshot).items()
        if number.total
    ]
    return tuple(sorted(rows, key=lambda row: (row.card, row.host)))


def suspects(snapshot: Snapshot, servers: frozenset[str]) -> frozenset[str]:
    """Consumers that hold a card and are not among `servers`."""
    return frozenset(
        consumer
        for device in snapshot.devices()
        for consumer in device.allocations
        if consumer not in servers
    )
