"""The farm file: which cards a cloud offers, where, and as which flavors, aggregates and images.

What is decided here: what a farm file may say, and whether its parts agree with each other. What
the cloud has of it is not looked at.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gpufarm.model import document, release
from gpufarm.model.document import Document
from gpufarm.model.errors import FarmError
from gpufarm.model.host import HostName
from gpufarm.model.pci import DeviceType, PciId

FARM_MARK = "gpufarm:farm"
"""Flavor extra spec and aggregate property that holds the name of the farm that owns the object.
Nova's filters ignore extra specs of a namespace that they do not know."""

IMAGE_FARM_MARK = "gpufarm_farm"
"""The same for images: Glance's schema-checked names do without a colon."""

CARDS_MARK = "gpufarm:cards"
"""Flavor extra spec `alias=RESOURCE_CLASS[,...]`: no API tells which class an alias asks for."""

FarmName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
CardName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}$", description="also the name of its alias"),
]
ObjectName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^\S(.*\S)?$")]
PropertyName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_:. -]{0,254}$")]
PropertyValue = Annotated[str, Meta(max_length=255)]
Properties = dict[PropertyName, PropertyValue]
CustomName = Annotated[str, Meta(pattern=r"^CUSTOM_[A-Z0-9_]{1,248}$")]
Count = Annotated[int, Meta(ge=1)]


class Card(Document):
    """One model of card, under the name of its alias.

    Without `hosts` and `aggregates` every compute host offers the cards that it finds.
    `managed`, `live_migratable` (Nova 31) and `one_time_use` (Nova 32) are left to Nova's default
    where they are not given.
    """

    vendor_id: PciId
    product_id: PciId
    model: str = ""
    device_type: DeviceType = "type-PCI"
    numa_policy: Literal["legacy", "preferred", "required", "socket"] | None = None
    resource_class: CustomName | None = None
    traits: tuple[CustomName, ...] = ()
    hosts: tuple[HostName, ...] = ()
    aggregates: tuple[ObjectName, ...] = ()
    managed: bool | None = None
    live_migratable: bool | None = None
    one_time_use: bool | None = None

    @property
    def placement_class(self) -> str:
        """The resource class that Placement counts it in (nova/compute/pci_placement_translator).

        CUSTOM_PCI_<VENDOR>_<PRODUCT> unless device_spec names one.
        """
        return self.resource_class or f"CUSTOM_PCI_{self.vendor_id}_{self.product_id}".upper()


class Flavor(Document):
    """A flavor. `aggregate` holds properties that the host's aggregate must have (SC-5)."""

    vcpus: Count
    memory_mb: Count
    disk_gb: Annotated[int, Meta(ge=0)]
    cards: dict[CardName, Count] = {}
    aggregate: Properties = {}
    hide_kvm: bool = False
    public: bool = True
    properties: Properties = {}


class Aggregate(Document):
    zone: ObjectName | None = None
    hosts: tuple[HostName, ...] = ()
    properties: Properties = {}


class Image(Document):
    """An image. Without `file` it must be in Glance already; its properties are kept equal."""

    file: str | None = None
    disk_format: Literal["raw", "qcow2", "vmdk", "vdi", "iso"] = "raw"
    min_disk_gb: Annotated[int, Meta(ge=0)] = 0
    min_memory_mb: Annotated[int, Meta(ge=0)] = 0
    public: bool = True
    properties: Properties = {}


class Farm(Document):
    """A farm file, version 1. `release` is Nova's major version or its name ("2026.2")."""

    version: Literal[1]
    name: FarmName
    release: int | str
    cards: dict[CardName, Card] = {}
    flavors: dict[ObjectName, Flavor] = {}
    aggregates: dict[ObjectName, Aggregate] = {}
    images: dict[ObjectName, Image] = {}
    console: Literal["vnc", "spice"] | None = None
    extra_filters: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], ...] = ()

    @property
    def nova(self) -> int:
        """Nova's major version."""
        return release.parse(self.release)


def read(path: Path) -> Farm:
    """The farm file at `path`, checked; DocumentError or FarmError where it cannot be taken."""
    farm = document.read(Farm, path)
    check(farm)
    return farm


def check(farm: Farm) -> None:
    """Raise FarmError (or FeatureMissing) for the first contradiction in `farm`."""
    for name, card in farm.cards.items():
        _check_card(f"card {name}", card, farm)
    for name, flavor in farm.flavors.items():
        _check_flavor(f"flavor {name}", flavor, farm)
    zones: dict[str, tuple[str, str]] = {}
    for name, aggregate in farm.aggregates.items():
        for host in aggregate.hosts:
            # Nova refuses a host in two aggregates with different zones (HTTP 409).
            zone, other = zones.setdefault(host, (aggregate.zone or "", name))
            if aggregate.zone and zone and zone != aggregate.zone:
                raise FarmError(
                    f"aggregate {name}",
                    f"host {host} would be in zone {aggregate.zone} and, through aggregate "
                    f"{other}, in zone {zone}: a host has one zone",
                )
            if aggregate.zone:
                zones[host] = (aggregate.zone, name)


def _check_card(subject: str, card: Card, farm: Farm) -> None:
    for feature in release.SINCE:
        if getattr(card, feature) is not None:
            release.require(feature, farm.nova, subject)
    if card.one_time_use and card.device_type == "type-VF":
        raise FarmError(subject, "one_time_use is for type-PCI and type-PF only, not for a VF")
    for aggregate in card.aggregates:
        if aggregate not in farm.aggregates:
            raise FarmError(subject, f"aggregate {aggregate} is not in the farm file")
    same = [
        name
        for name, other in farm.cards.items()
        if other is not card
        and (other.vendor_id, other.product_id) == (card.vendor_id, card.product_id)
        and (other.placement_class, other.traits) == (card.placement_class, card.traits)
        and _overlap(farm, card, other)
    ]
    if same:
        raise FarmError(
            subject,
            f"card {same[0]} names the same device ({card.vendor_id}:{card.product_id}) on the "
            "same hosts: give one a resource_class of its own, or one of them up",
        )


def _overlap(farm: Farm, one: Card, other: Card) -> bool:
    ones, others = card_hosts(farm, one), card_hosts(farm, other)
    return ones is None or others is None or bool(ones & others)


def _check_flavor(subject: str, flavor: Flavor, farm: Farm) -> None:
    for card in flavor.cards:
        if card not in farm.cards:
            known = ", ".join(sorted(farm.cards)) or "none"
            raise FarmError(subject, f"unknown card {card}; the farm file has: {known}")
    reserved = {"pci_passthrough:alias": "cards", "hw:hide_hypervisor_id": "hide_kvm"}
    for key in flavor.properties:
        if key in reserved:
            raise FarmError(subject, f"property {key} is written by the field `{reserved[key]}`")
        if key.startswith(("gpufarm:", "aggregate_instance_extra_specs:")):
            raise FarmError(subject, f"property {key}: use the field `aggregate`, or another name")
        if ":" not in key:
            # ComputeCapabilitiesFilter takes an unscoped key for a capability of the host and
            # then finds none (nova/scheduler/filters/compute_capabilities_filter.py).
            raise FarmError(
                subject,
                f"property {key} has no namespace, which Nova takes for a host capability and "
                "passes no host: for an aggregate's property use the field `aggregate`",
            )


def card_hosts(farm: Farm, card: Card) -> frozenset[str] | None:
    """Names of the hosts that offer `card`; None for every compute host."""
    if not card.hosts and not card.aggregates:
        return None
    return frozenset(card.hosts).union(
        *(farm.aggregates[aggregate].hosts for aggregate in card.aggregates)
    )


def named_hosts(farm: Farm) -> frozenset[str]:
    """Every host name that the farm file speaks of."""
    of_cards: Iterable[tuple[str, ...]] = (card.hosts for card in farm.cards.values())
    of_aggregates = (aggregate.hosts for aggregate in farm.aggregates.values())
    return frozenset(host for hosts in (*of_cards, *of_aggregates) for host in hosts)


def schema() -> dict[str, object]:
    """The farm file as JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpufarm farm file",
        **msgspec.json.schema(Farm),
    }
