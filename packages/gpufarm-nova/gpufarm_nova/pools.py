"""The cards of a host in the pools of its HostState, and the cards that a request asks for.

Pools are the dictionaries of nova/pci/stats.py, PciDeviceStats.pools, alike in Nova 29 to 34:
`vendor_id`, `product_id` and `dev_type` of the devices (type-PCI, type-PF or type-VF), their
`numa_node`, the `address` of the device or of the PF of its VFs, so that there is a pool for each,
and `count`, how many of them are free. `rp_uuid` is there with [pci] report_in_placement. Devices
that a server has are in no pool once their nova-compute was started anew.
"""

from __future__ import annotations

from typing import AbstractSet, Any, Iterable, Mapping, Tuple

Pool = Mapping[str, Any]
Models = Mapping[Tuple[str, str], str]
"""{(vendor id, product id): name of the card}."""

IDS = ("vendor_id", "product_id")


def free(
    pools: Iterable[Pool], models: Models, node: str, closed: AbstractSet[str]
) -> dict[str, int]:
    """How many cards of each model a server could take now. Other devices, such as NICs, are none.

    `node` is the host's hypervisor name, `closed` has the names of the resource providers of cards
    that nobody can take (nova/compute/pci_placement_translator.py, _get_rp_name_for_address).
    """
    found: dict[str, int] = {}
    for pool in pools:
        model = models.get((pool["vendor_id"], pool["product_id"]))
        if model is None or (closed and provider(node, pool.get("address") or "") in closed):
            continue
        found[model] = found.get(model, 0) + pool["count"]
    return found


def offered(pools: Iterable[Pool], models: Models) -> int:
    """How many cards the pools have at all, those that nobody can take included."""
    return sum(pool["count"] for pool in pools if (pool["vendor_id"], pool["product_id"]) in models)


def provider(node: str, address: str) -> str:
    """The name of a card's resource provider in Placement."""
    return f"{node}_{address.upper()}"


def asked(requests: Iterable[Any], cards: Iterable[Any]) -> dict[str, int]:
    """How many of which cards the PCI requests of a server are for.

    A request of a Neutron port is for none. An alias says which devices by their ids, by their
    resource class, or by both; one that fits several cards counts as the first of them.
    """
    found: dict[str, int] = {}
    for request in requests:
        if request.source == request.NEUTRON_PORT:
            continue
        card = next((card for card in cards for spec in request.spec if _fits(spec, card)), None)
        if card is not None:
            found[card.name] = found.get(card.name, 0) + request.count
    return found


def _fits(spec: Mapping[str, str], card: Any) -> bool:
    given = {key: spec[key].lower() for key in IDS if key in spec}
    if given:
        return all(getattr(card, key) == value for key, value in given.items())
    # nova/compute/pci_placement_translator.py: upper case, and CUSTOM_ where it is not there.
    name = spec.get("resource_class", "").upper()
    return bool(name) and card.resource_class.upper() in (name, f"CUSTOM_{name}")
