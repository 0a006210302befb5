"""Placement's database, where a cloud has so many cards that one call for each takes too long.

What is decided here: four questions for all of it, whatever its size, with the same answer as
`cloud.placement.providers` gives (placement/db/sqlalchemy/models.py, the same since Stein).
"""

from typing import Any

from gpufarm.cloud.database import connect
from gpufarm.cloud.placement import PCI_TRAIT
from gpufarm.model.cloud import Inventory, Provider

READ: dict[str, tuple[str, ...]] = {
    "resource_providers": ("id", "uuid", "name", "generation", "root_provider_id"),
    "resource_provider_traits": ("resource_provider_id", "trait_id"),
    "traits": ("id", "name"),
    "resource_classes": ("id", "name"),
    "inventories": (
        *("resource_provider_id", "resource_class_id", "total", "reserved", "allocation_ratio"),
    ),
    "allocations": ("resource_provider_id", "resource_class_id", "consumer_id", "used"),
}

_CARDS = """
SELECT p.id, p.root_provider_id FROM resource_providers p
JOIN resource_provider_traits h ON h.resource_provider_id = p.id
JOIN traits t ON t.id = h.trait_id WHERE t.name = :trait
"""
_PROVIDERS = "SELECT id, uuid, name, generation, root_provider_id FROM resource_providers"
_INVENTORIES = """
SELECT i.resource_provider_id, c.name, i.total, i.reserved, i.allocation_ratio
FROM inventories i JOIN resource_classes c ON c.id = i.resource_class_id
"""
_ALLOCATIONS = """
SELECT a.resource_provider_id, c.name, a.consumer_id, a.used
FROM allocations a JOIN resource_classes c ON c.id = a.resource_class_id
"""


def providers(url: str) -> tuple[Provider, ...]:
    """Every PCI provider of Nova and the root above it, by name. Raises DatabaseError."""
    from sqlalchemy import text

    with connect(url) as connection:
        found = connection.execute(text(_CARDS), {"trait": PCI_TRAIT}).all()
        wanted = {id_ for row in found for id_ in row}
        listed = connection.execute(text(_PROVIDERS)).all()
        stock = connection.execute(text(_INVENTORIES)).all()
        taken = connection.execute(text(_ALLOCATIONS)).all()
    uuids = {id_: uuid for id_, uuid, *_ in listed}
    held: dict[int, dict[str, dict[str, int]]] = {}
    for id_, name, consumer, amount in taken:
        if id_ in wanted:
            held.setdefault(id_, {}).setdefault(consumer, {})[name] = amount
    inventories: dict[int, dict[str, Inventory]] = {}
    for id_, name, total, reserved, ratio in stock:
        if id_ in wanted:
            used = sum(amounts.get(name, 0) for amounts in held.get(id_, {}).values())
            inventory = Inventory(
                total=total, reserved=reserved, used=used, allocation_ratio=float(ratio)
            )
            inventories.setdefault(id_, {})[name] = inventory
    return tuple(
        sorted(
            (
                _provider(row, uuids, inventories.get(row.id, {}), held.get(row.id, {}))
                for row in listed
                if row.id in wanted
            ),
            key=lambda provider: provider.name,
        )
    )


def _provider(
    row: Any,
    uuids: dict[int, str],
    inventories: dict[str, Inventory],
    held: dict[str, dict[str, int]],
) -> Provider:
    return Provider(
        uuid=row.uuid,
        name=row.name,
        root_uuid=uuids[row.root_provider_id],
        generation=row.generation,
        inventories=inventories,
        allocations=held,
    )
