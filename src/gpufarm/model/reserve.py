"""CPU and memory that a farm keeps for its free cards: of each card, of a host, of a server.

What is decided here: the amounts of one card, and how `reserve: hard` lets Placement keep them. A
host's reserve is taken out of what Nova gives out and put into two resource classes of its own; a
server draws there what is kept for the cards that it takes, and the rest, if it is larger, as
everybody does. So whatever else runs, N free cards leave N times the reserve. How much of it a host
keeps under `reserve: dynamic` is the scheduler's decision (`gpufarm_nova.reserve`).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from gpufarm_nova import reserve
from gpufarm_nova.reserve import Amounts, GpuFlavor

if TYPE_CHECKING:
    from gpufarm.model.farm import Farm, Flavor

VCPU_CLASS: Final = "CUSTOM_GPU_VCPU"
MEMORY_CLASS: Final = "CUSTOM_GPU_MEMORY_MB"
CLASSES: Final = {VCPU_CLASS: "VCPU", MEMORY_CLASS: "MEMORY_MB"}
"""{class that `hard` keeps: class that ordinary servers draw on}."""


class Machine(msgspec.Struct, frozen=True):
    """A host as its reserve depends on it; `cards` is how many it offers, by the card's name."""

    cpus: int
    memory_mb: int
    cards: Mapping[str, int]


class Kept(msgspec.Struct, frozen=True):
    """What `hard` keeps on one host: `inventory` by class, and what Nova is told to give nobody,
    in CPUs and MiB, the host's own part included."""

    inventory: Mapping[str, int]
    host_cpus: int
    host_memory_mb: int


def of_cards(farm: "Farm") -> dict[str, Amounts]:
    """{card: reserve of one that is free}: its own, or the median of what its flavors give a card.

    A card without either has none; in a farm that keeps nothing no card has one.
    """
    if farm.keeping.mode == "none":
        return {}
    found = {}
    for name, card in farm.cards.items():
        if card.reserve is not None:
            found[name] = Amounts(card.reserve.vcpus, card.reserve.memory_mb)
        elif (derived := reserve.of_flavors(_flavors(farm, name))) is not None:
            found[name] = derived
    return found


def _flavors(farm: "Farm", card: str) -> list[GpuFlavor]:
    """Those with that card; what one gives a card counts all of its cards, whatever the model."""
    return [
        GpuFlavor(flavor.vcpus, flavor.memory_mb, sum(flavor.cards.values()))
        for flavor in farm.flavors.values()
        if card in flavor.cards
    ]


def drawn(farm: "Farm", flavor: "Flavor") -> dict[str, str]:
    """Extra specs by which a server of `flavor` draws on the classes of `hard`; else none.

    `resources:VCPU` takes the place of the flavor's own vCPU in the request to Placement, and 0
    takes it out (nova/scheduler/utils.py, ResourceRequest.from_request_spec and strip_zeros).
    """
    if farm.keeping.mode != "hard":
        return {}
    whole = _whole(of_cards(farm))
    none = Amounts(0, 0)
    share = {
        VCPU_CLASS: sum(n * whole.get(card, none).vcpus for card, n in flavor.cards.items()),
        MEMORY_CLASS: sum(n * whole.get(card, none).memory_mb for card, n in flavor.cards.items()),
    }
    needed = {VCPU_CLASS: flavor.vcpus, MEMORY_CLASS: flavor.memory_mb}
    specs = {}
    for name, ordinary in CLASSES.items():
        part = int(min(share[name], needed[name]))
        if part:
            specs[f"resources:{name}"] = str(part)
            specs[f"resources:{ordinary}"] = str(needed[name] - part)
    return specs


def on(farm: "Farm", machine: Machine) -> Kept | None:
    """What `hard` keeps on `machine`; None where it has no card with a reserve, or the farm's
    reserve is another one.

    CPUs are rounded up, so that no CPU is promised twice.
    """
    keeping = farm.keeping
    reserves = _whole(of_cards(farm))
    free = {name: count for name, count in machine.cards.items() if name in reserves and count}
    if keeping.mode != "hard" or not free:
        return None
    cpus = max(0, machine.cpus - keeping.host_cpus)
    memory = max(0, machine.memory_mb - keeping.host_memory_mb)
    total = Amounts(cpus * keeping.cpu_ratio, memory)
    host = reserve.Host(total, total, sum(free.values()), free)
    kept = reserve.kept(host, reserves, keeping.share)
    amounts = {VCPU_CLASS: math.floor(kept.vcpus), MEMORY_CLASS: math.floor(kept.memory_mb)}
    return Kept(
        inventory={name: amount for name, amount in amounts.items() if amount},
        host_cpus=keeping.host_cpus + math.ceil(amounts[VCPU_CLASS] / keeping.cpu_ratio),
        host_memory_mb=keeping.host_memory_mb + amounts[MEMORY_CLASS],
    )


def _whole(reserves: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """Placement counts in whole numbers."""
    return {
        name: Amounts(math.ceil(each.vcpus), math.ceil(each.memory_mb))
        for name, each in reserves.items()
    }
