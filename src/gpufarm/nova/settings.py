"""The Nova and Placement settings that a farm needs, for each role and for the farm's release.

What is decided here: which option has which value on which role. How the files are called that hold
them is decided in `layouts`. Options and forms are those of nova/conf/{pci,scheduler,spice,vnc}.py,
nova/pci/{request,devspec}.py and placement/conf/{placement,workarounds}.py.
"""

import json

from gpufarm.model import release
from gpufarm.model.farm import Card, Farm, card_hosts
from gpufarm.model.settings import Options, Settings

PCI_FILTER = "PciPassthroughFilter"
"""Still decides whether a host has the devices, and is in no release's default list."""

NUMA_FILTER = "NUMATopologyFilter"
"""The one place where a device's NUMA node is compared with the server's. It passes every server
that has no NUMA topology, so it is on in every farm: a flavor that gets hw:numa_nodes or pinned
CPUs later, or somebody else's, is then placed right without a change of settings."""

AGGREGATE_FILTER = "AggregateInstanceExtraSpecsFilter"
"""Makes flavors that name an aggregate's property stay on such hosts. Only where a flavor does: it
changes the placement of every flavor with an extra spec that has no namespace."""

WIDE = 5
"""Cards of one kind in one flavor from which Placement's help for optimize_for_wide_provider_trees
says to switch it on ("more than 4")."""

MOST_CANDIDATES = 1000
"""The most that the same help text recommends beside it."""


def controller(farm: Farm) -> Settings:
    """For nova-api, nova-scheduler, nova-conductor and the console proxies."""
    sections: dict[str, Options] = {
        "filter_scheduler": {
            "enabled_filters": (",".join(filters(farm)),),
            # On API, scheduler and conductors, once every compute reports (nova/conf/scheduler.py).
            "pci_in_placement": ("true",),
        },
    }
    if farm.cards:
        sections["pci"] = {"alias": aliases(farm)}
    return Settings(sections | console(farm))


def compute(farm: Farm, host: str | None) -> Settings:
    """For the nova-compute of `host`; None for one that offers only what every host offers.

    report_in_placement stands in a farm without cards too: a nova-compute that once reported does
    not start without it (nova/compute/pci_placement_translator.py).
    """
    pci: Options = {"report_in_placement": ("true",)}
    specs = tuple(
        device_spec(farm, card) for card in farm.cards.values() if offers(farm, card, host)
    )
    if specs:
        pci["device_spec"] = specs
    if farm.cards:
        pci["alias"] = aliases(farm)
    return Settings({"pci": pci} | console(farm))


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
    return tuple(dict.fromkeys((*release.DEFAULT_FILTERS, *needed, *farm.extra_filters)))


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


def _placement_part(card: Card) -> dict[str, str]:
    part = {}
    if card.resource_class:
        part["resource_class"] = card.resource_class
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
