"""Reading Placement: the cards, the hosts that hold them, and who has what of them.

Nova reports one child provider for each PCI device that may be passed through, marked with the
trait COMPUTE_MANAGED_PCI_DEVICE (nova/compute/pci_placement_translator.py); those and their roots
are read, nothing else.
"""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, get_each, raise_for
from gpufarm.model.cloud import Candidates, Inventory, Provider
from gpufarm.model.errors import CloudConflict, NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

PCI_TRAIT = "COMPUTE_MANAGED_PCI_DEVICE"
ONE_TIME_USE_TRAIT = "HW_PCI_ONE_TIME_USE"

TRIES = 5
"""A nova-compute may write to the same provider meanwhile, once in each of its periods."""

Amounts = dict[str, dict[str, int]]
"""{consumer: {resource class: amount}}"""


def providers(
    connection: "Connection", root: str | None = None, hosts: Iterable[str] = ()
) -> tuple[Provider, ...]:
    """Every PCI provider of Nova and the root above it, by name; only below `root` if given.

    `hosts` names further roots, with or without cards.

    One call for each provider, and a second one only for those of which something may be in use.
    A provider that goes away meanwhile is left out. Raises CloudError.
    """
    adapter, named = connection.placement, frozenset(hosts)
    with faults("reading resource providers"):
        within = f"in_tree={root}" if root else ""
        cards = get(adapter, f"/resource_providers?required={PCI_TRAIT}&{within}")
        cards = cards["resource_providers"]
        roots = {card["root_provider_uuid"] for card in cards}
        wanted = roots or named
        everything = get(adapter, f"/resource_providers?{within}") if wanted else {}
        everything = everything.get("resource_providers", [])
        roots |= {found["uuid"] for found in everything if found["name"] in named}
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
    return with_traits(connection, [ONE_TIME_USE_TRAIT])[ONE_TIME_USE_TRAIT]


def with_traits(connection: "Connection", traits: Iterable[str]) -> dict[str, frozenset[str]]:
    """{trait: uuids of the providers that have it}, one call a trait.

    A trait that Placement does not know (HTTP 400) nobody has.
    """
    found = {}
    with faults("reading traits"):
        for trait in sorted(set(traits)):
            answer = connection.placement.get(f"/resource_providers?required={quote(trait)}")
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                found[trait] = frozenset[str]()
            else:
                raise_for(answer)
                listed = answer.json()["resource_providers"]
                found[trait] = frozenset(each["uuid"] for each in listed)
    return found


def candidates(
    connection: "Connection", queries: Iterable[Sequence[tuple[str, str]]]
) -> Candidates:
    """What Placement answers to all of `queries` together.

    A request that it cannot take, of a class or trait that it does not know (HTTP 400), has none.
    """
    roots: set[str] = set()
    ways = 0
    with faults("reading allocation candidates"):
        for query in queries:
            answer = connection.placement.get(f"/allocation_candidates?{urlencode(query)}")
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                continue
            raise_for(answer)
            document = answer.json()
            ways += len(document["allocation_requests"])
            summaries = document["provider_summaries"].values()
            roots.update(summary["root_provider_uuid"] for summary in summaries)
    return Candidates(roots=frozenset(roots), ways=ways)


def held_by(connection: "Connection", consumers: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """{consumer: {provider uuid: {resource class: amount}}}, empty for one that holds nothing."""
    with faults("reading allocations"):
        documents = get_each(connection.placement, [f"/allocations/{uuid}" for uuid in consumers])
    return {
        consumer: {uuid: part["resources"] for uuid, part in document["allocations"].items()}
        for consumer, document in zip(consumers, documents, strict=True)
        if document
    }


def held_on(connection: "Connection", consumer: str, hypervisor: str) -> dict[str, dict[str, int]]:
    """{provider uuid: {resource class: amount}} of that host alone: a server that was evacuated
    holds what it had on the dead one too, until nova-compute starts there (nova 34,
    compute/manager.py, _destroy_evacuated_instances).

    Raises NotInCloud, CloudError.
    """
    held = held_by(connection, [consumer]).get(consumer, {})
    root = root_of(connection, hypervisor)
    with faults("reading resource providers"):
        here = get(connection.placement, f"/resource_providers?in_tree={root}")
    uuids = {found["uuid"] for found in here["resource_providers"]}
    return {uuid: amounts for uuid, amounts in held.items() if uuid in uuids}


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
