"""Reading Placement: the cards, the hosts that hold them, and who has what of them.

Nova reports one child provider for each PCI device that may be passed through, marked with the
trait COMPUTE_MANAGED_PCI_DEVICE (nova/compute/pci_placement_translator.py); those and their roots
are read, nothing else.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, get_each
from gpufarm.model.cloud import Inventory, Provider
from gpufarm.model.errors import CloudConflict, NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

PCI_TRAIT = "COMPUTE_MANAGED_PCI_DEVICE"
ONE_TIME_USE_TRAIT = "HW_PCI_ONE_TIME_USE"

TRIES = 5
"""A nova-compute may write to the same provider meanwhile, once in each of its periods."""

Amounts = dict[str, dict[str, int]]
"""{consumer: {resource class: amount}}"""


def providers(connection: "Connection", root: str | None = None) -> tuple[Provider, ...]:
    """Every PCI provider of Nova and the root above it, by name; only below `root` if given.

    One call for each provider, and a second one only for those of which something may be in use.
    A provider that goes away meanwhile is left out. Raises CloudError.
    """
    adapter = connection.placement
    with faults("reading resource providers"):
        within = f"in_tree={root}" if root else ""
        cards = get(adapter, f"/resource_providers?required={PCI_TRAIT}&{within}")
        cards = cards["resource_providers"]
        roots = {card["root_provider_uuid"] for card in cards}
        everything = get(adapter, f"/resource_providers?{within}") if roots else {}
        everything = everything.get("resource_providers", [])
        listed = [*cards, *(found for found in everything if found["uuid"] in roots)]
        documents = get_each(adapter, [_path(found) + "/inventories" for found in listed])
        found = [
            (entry, document["inventories"])
            for entry, document in zip(listed, documents, strict=True)
            if document
        ]
        held = _allocations(adapter, found)
    read = [_provider(entry, stock, held.get(entry["uuid"], {})) for entry, stock in found]
    return tuple(sorted(read, key=lambda provider: provider.name))


def root_of(connection: "Connection", hypervisor: str) -> str:
    """The uuid of the provider of that name. Raises NotInCloud."""
    with faults("reading a resource provider"):
        query = urlencode({"name": hypervisor})
        found = get(connection.placement, f"/resource_providers?{query}")["resource_providers"]
    if not found:
        raise NotInCloud(
            "resource provider", hypervisor, "`gpufarm card list` shows the hosts that have cards"
        )
    return str(found[0]["uuid"])


def one_time_use(connection: "Connection") -> frozenset[str]:
    """Uuids of the providers whose card Nova closes once it was used (since Nova 32).

    None of them where Placement is too old to know the trait. Raises CloudError.
    """
    with faults("reading resource providers"):
        from openstack.exceptions import raise_from_response

        response = connection.placement.get(f"/resource_providers?required={ONE_TIME_USE_TRAIT}")
        if response.status_code == HTTPStatus.BAD_REQUEST:
            return frozenset()
        raise_from_response(response)
        return frozenset(found["uuid"] for found in response.json()["resource_providers"])


def held_by(connection: "Connection", consumers: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """{consumer: {provider uuid: {resource class: amount}}}, empty for one that holds nothing."""
    with faults("reading allocations"):
        documents = get_each(connection.placement, [f"/allocations/{uuid}" for uuid in consumers])
    return {
        consumer: {uuid: part["resources"] for uuid, part in document["allocations"].items()}
        for consumer, document in zip(consumers, documents, strict=True)
        if document
    }


def provider_names(connection: "Connection", uuids: list[str]) -> list[str]:
    """Names of the providers that (still) exist among `uuids`."""
    with faults("reading resource providers"):
        documents = get_each(connection.placement, [f"/resource_providers/{id_}" for id_ in uuids])
    return [document["name"] for document in documents if document]


def reserve(connection: "Connection", provider: str, *, closed: bool) -> None:
    """Reserve all of the inventories of the provider of that uuid, or none of them.

    Nothing else of them is changed. Raises CloudError; CloudConflict where others change the
    provider without end.
    """
    path = f"/resource_providers/{provider}/inventories"
    for tried in range(1, TRIES + 1):
        with faults("reading an inventory"):
            document = get(connection.placement, path)
        stock = {
            name: {**inventory, "reserved": inventory["total"] if closed else 0}
            for name, inventory in document["inventories"].items()
        }
        if stock == document["inventories"]:
            return
        body = {**document, "inventories": stock}
        try:
            call(connection.placement, "reserving a card", "PUT", path, json=body)
        except CloudConflict:
            if tried == TRIES:
                raise
        else:
            return


def _allocations(adapter: Any, found: list[tuple[Any, Any]]) -> dict[str, Amounts]:
    """{provider uuid: allocations}, without providers of which nothing is in use.

    A device whose only unit Placement would still hand out has no allocation: that is one call
    for a resource class instead of one for each device.
    """
    classes = {name for entry, stock in found if not _is_root(entry) for name in stock}
    free = {
        entry["uuid"]
        for document in get_each(
            adapter, [f"/resource_providers?resources={name}:1" for name in sorted(classes)]
        )
        for entry in document["resource_providers"]
    }
    asked = [
        entry
        for entry, stock in found
        if _is_root(entry)
        or entry["uuid"] not in free
        or any(inventory["total"] != 1 for inventory in stock.values())
    ]
    documents = get_each(adapter, [_path(entry) + "/allocations" for entry in asked])
    return {
        entry["uuid"]: {
            consumer: part["resources"] for consumer, part in document["allocations"].items()
        }
        for entry, document in zip(asked, documents, strict=True)
        if document
    }


def _provider(entry: Any, stock: Any, held: Amounts) -> Provider:
    return Provider(
        uuid=entry["uuid"],
        name=entry["name"],
        root_uuid=entry["root_provider_uuid"],
        generation=entry["generation"],
        inventories={
            name: Inventory(
                total=inventory["total"],
                reserved=inventory["reserved"],
                used=sum(amounts.get(name, 0) for amounts in held.values()),
                allocation_ratio=inventory["allocation_ratio"],
            )
            for name, inventory in stock.items()
        },
        allocations=held,
    )


def _is_root(entry: Any) -> bool:
    return bool(entry["uuid"] == entry["root_provider_uuid"])


def _path(entry: Any) -> str:
    return f"/resource_providers/{entry['uuid']}"
