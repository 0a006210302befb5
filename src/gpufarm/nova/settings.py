"""The Nova and Placement settings that a farm needs, for each role and for the farm's release.

What is decided here: which option has which value on which role. How the files are called that hold
them is decided in `layouts`. Options and forms are those of nova/conf/{pci,scheduler,spice,vnc}.py,
nova/pci/{request,devspec}.py and placement/conf/{placement,workarounds}.py, and of the plugin
gpufarm_nova/options.py.
"""

import json

import yaml

from gpufarm.model import release, reserve
from gpufarm.model.farm import Card, Farm, card_hosts
from gpufarm.model.pci import placement_class
from gpufarm.model.reserve import Machine
from gpufarm.model.settings import Options, Settings
from gpufarm_nova.reserve import Amounts

PCI_FILTER = "PciPassthroughFilter"
"""Still decides whether a host has the devices, and is in no release's default list."""

NUMA_FILTER = "NUMATopologyFilter"
"""The one place where a device's NUMA node is compared with the server's. It passes every server
that has no NUMA topology, so it is on in every farm: a flavor that gets hw:numa_nodes or pinned
CPUs later, or somebody else's, is then placed right without a change of settings."""

AGGREGATE_FILTER = "AggregateInstanceExtraSpecsFilter"
"""Makes flavors that name an aggregate's property stay on such hosts. Only where a flavor does: it
changes the placement of every flavor with an extra spec that has no namespace."""

RESERVE_FILTER = "gpufarm_nova.filter.GpuReserveFilter"
PACKING_WEIGHER = "gpufarm_nova.weigher.GpuPackingWeigher"
NOVA_FILTERS = "nova.scheduler.filters.all_filters"
NOVA_WEIGHERS = "nova.scheduler.weights.all_weighers"
"""Nova's defaults of available_filters and weight_classes (nova/conf/scheduler.py), which a setting
replaces: the filter and the weigher of `reserve: dynamic` are named beside them."""

WIDE = 5
"""Cards of one kind in one flavor from which Placement's help for optimize_for_wide_provider_trees
says to switch it on ("more than 4")."""

MOST_CANDIDATES = 1000
"""The most that the same help text recommends beside it."""


def controller(farm: Farm) -> Settings:
    """For nova-api, nova-scheduler, nova-conductor and the console proxies."""
    scheduler: Options = {
        "enabled_filters": (",".join(filters(farm)),),
        # On API, scheduler and conductors, once every compute reports (nova/conf/scheduler.py).
        "pci_in_placement": ("true",),
    }
    sections: dict[str, Options] = {"filter_scheduler": scheduler}
    if farm.keeping.mode == "dynamic":
        scheduler["available_filters"] = (NOVA_FILTERS, RESERVE_FILTER)
        scheduler["weight_classes"] = (f"{NOVA_WEIGHERS},{PACKING_WEIGHER}",)
        sections["gpufarm"] = plugin(farm)
    if farm.cards:
        sections["pci"] = {"alias": aliases(farm)}
    return Settings(sections | console(farm))


def plugin(farm: Farm) -> Options:
    """What gpufarm_nova's filter and weigher read: a reserve a card model, and the GPU flavors that
    the weigher keeps room for."""
    reserves = (
        _kept_for(name, farm.cards[name], amounts)
        for name, amounts in reserve.of_cards(farm).items()
    )
    flavors = (
        {
            "name": name,
            "cards": flavor.cards,
            "vcpus": flavor.vcpus,
            "memory_mb": flavor.memory_mb,
        }
        for name, flavor in farm.flavors.items()
        if flavor.cards
    )
    return {
        "reserve": tuple(map(json.dumps, reserves)),
        "reserve_share": (str(_number(farm.keeping.share)),),
        "gpu_flavors": tuple(map(json.dumps, flavors)),
    }


def _kept_for(name: str, card: Card, amounts: Amounts) -> dict[str, str | float]:
    own = {"resource_class": card.resource_class} if card.resource_class else {}
    return {
        "card": name,
        "vendor_id": card.vendor_id,
        "product_id": card.product_id,
        "vcpus": _number(amounts.vcpus),
        "memory_mb": _number(amounts.memory_mb),
        **own,
    }


def _number(value: float) -> float:
    """Without a fraction that says nothing."""
    return int(value) if value == int(value) else value


def compute(farm: Farm, host: str | None, machine: Machine | None = None) -> Settings:
    """For the nova-compute of `host`; None for one that offers only what every host offers.

    `machine` is what the host is, on which `reserve: hard` depends. report_in_placement stands in a
    farm without cards too: a nova-compute that once reported does not start without it
    (nova/compute/pci_placement_translator.py).
    """
    pci: Options = {"report_in_placement": ("true",)}
    specs = tuple(
        device_spec(farm, card) for card in farm.cards.values() if offers(farm, card, host)
    )
    if specs:
        pci["device_spec"] = specs
    if farm.cards:
        pci["alias"] = aliases(farm)
    kept = reserve.on(farm, machine) if machine else None
    own: dict[str, Options] = {}
    if kept:
        own["DEFAULT"] = {
            "reserved_host_cpus": (str(kept.host_cpus),),
            "reserved_host_memory_mb": (str(kept.host_memory_mb),),
        }
    return Settings(own | {"pci": pci} | console(farm))


def providers(farm: Farm, machine: Machine | None) -> str | None:
    """The provider.yaml of a host whose reserve is hard, schema 1.0 (nova/compute/provider_config):
    inventory of the reserve's classes; None for a host without.
    """
    kept = reserve.on(farm, machine) if machine else None
    if kept is None or not kept.inventory:
        return None
    document = {
        "meta": {"schema_version": "1.0"},
        "providers": [
            {
                "identification": {"uuid": "$COMPUTE_NODE"},
                "inventories": {
                    "additional": [
                        {name: {"total": total}} for name, total in kept.inventory.items()
                    ]
                },
            }
        ],
    }
    comment = "".join(f"# {line}\n" for line in heading(farm).splitlines())
    return comment + yaml.safe_dump(document, sort_keys=False)


def placement(farm: Farm) -> Settings:
    """For placement-api: nothing, unless a flavor asks for so many cards of a kind that the ways to
    choose them from one host are too many to list (LP 2070257, 2126751).
    """
    most = max(
        (count for flavor in farm.flavors.values() for count in flavor.cards.values()), default=0
    )
    if most < WIDE:
        return Settings({})
    sections: dict[str, Options] = {
        "placement": {
            "max_allocation_candidates": (str(MOST_CANDIDATES),),
            # Otherwise the limit is used up on the first host.
            "allocation_candidates_generation_strategy": ("breadth-first",),
        }
    }
    if farm.nova >= release.WIDE_TREES_SINCE:
        sections["workarounds"] = {"optimize_for_wide_provider_trees": ("true",)}
    return Settings(sections)


def filters(farm: Farm) -> tuple[str, ...]:
    """Nova's default filters, then those that the farm needs, then the farm file's own."""
    needed = [PCI_FILTER, NUMA_FILTER]
    if any(flavor.aggregate for flavor in farm.flavors.values()):
        needed.append(AGGREGATE_FILTER)
    last = []
    if farm.keeping.mode == "dynamic":
        # It costs most and refuses least.
        last.append(RESERVE_FILTER.rpartition(".")[2])
    return tuple(dict.fromkeys((*release.DEFAULT_FILTERS, *needed, *farm.extra_filters, *last)))


def offers(farm: Farm, card: Card, host: str | None) -> bool:
    """Whether `host` offers `card`; None is a host that the farm file does not name."""
    hosts = card_hosts(farm, card)
    return hosts is None or host in hosts


def aliases(farm: Farm) -> tuple[str, ...]:
    """One alias a card, each with one spec: more Nova refuses with pci_in_placement
    (nova/pci/request.py, _validate_multispec).

    The ids stand beside a resource class of the card's own: PciPassthroughFilter goes by ids, and
    Placement by the class.
    """
    return tuple(_alias(name, card) for name, card in farm.cards.items())


def _alias(name: str, card: Card) -> str:
    alias = {
        "name": name,
        "vendor_id": card.vendor_id,
        "product_id": card.product_id,
        "device_type": card.device_type,
    }
    if card.numa_policy:
        alias["numa_policy"] = card.numa_policy
    if card.live_migratable is not None:
        alias["live_migratable"] = _yes_no(card.live_migratable)
    return json.dumps(alias | _placement_part(card))


def device_spec(farm: Farm, card: Card) -> str:
    """What nova-compute looks for on its host, in the words that the farm's release knows."""
    spec = {"vendor_id": card.vendor_id, "product_id": card.product_id} | _placement_part(card)
    for tag in ("managed", "live_migratable", "one_time_use"):
        value = getattr(card, tag)
        if value is not None:
            release.require(tag, farm.nova, f"device_spec of {card.vendor_id}:{card.product_id}")
            spec[tag] = _yes_no(value)
    return json.dumps(spec)


def offered(found: Settings) -> frozenset[str]:
    """Resource classes of the cards that a nova-compute with these settings of ours offers."""
    specs = [json.loads(text) for text in found.sections.get("pci", {}).get("device_spec", ())]
    return frozenset(
        spec.get("resource_class") or placement_class(spec["vendor_id"], spec["product_id"])
        for spec in specs
    )


def _own_class(card: Card) -> dict[str, str]:
    return {"resource_class": card.resource_class} if card.resource_class else {}


def _placement_part(card: Card) -> dict[str, str]:
    part = _own_class(card)
    if card.traits:
        part["traits"] = ",".join(card.traits)
    return part


def _yes_no(value: bool) -> str:
    """A string, since the alias schema and strutils take no JSON boolean."""
    return "yes" if value else "no"


def console(farm: Farm) -> dict[str, Options]:
    """SPICE needs VNC switched off explicitly (nova/conf/spice.py); the proxies read the same."""
    if farm.console is None:
        return {}
    spice = farm.console == "spice"
    return {
        "vnc": {"enabled": (str(not spice).lower(),)},
        "spice": {"enabled": (str(spice).lower(),)},
    }


def heading(farm: Farm) -> str:
    """What the files that hold these settings say at their top."""
    return (
        f"Farm {farm.name}, for Nova {farm.nova} ({release.NAMES[farm.nova]}).\n"
        "Written by gpufarm, which overwrites changes made here."
    )
