"""The farm file: which cards a cloud offers, where, and as which flavors, aggregates and images.

What is decided here: what a farm file may say. Whether its parts agree with each other is
`consistency`'s, what the cloud has of it is not looked at.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gpufarm.model import document, release, reserve
from gpufarm.model.document import Document
from gpufarm.model.pci import DeviceType, PciId, placement_class

FARM_MARK = "gpufarm:farm"
"""Flavor extra spec and aggregate property that holds the name of the farm that owns the object.
Nova's filters ignore extra specs of a namespace that they do not know."""

IMAGE_FARM_MARK = "gpufarm_farm"
"""The same for images: Glance's schema-checked names do without a colon."""

IMAGE_PROPERTIES_MARK = "gpufarm_properties"
"""Image property with the names of the properties that the farm file set, comma separated: Glance
and others add properties of their own to an image, which are not ours to remove."""

CARDS_MARK = "gpufarm:cards"
"""Flavor extra spec `alias=RESOURCE_CLASS[,...]`: no API tells which class an alias asks for."""

ALIAS = "pci_passthrough:alias"
HIDE_KVM = "hw:hide_hypervisor_id"
AGGREGATE_SCOPE = "aggregate_instance_extra_specs:"
"""Flavor extra specs (nova/pci/request.py, nova/virt/libvirt/driver.py,
nova/scheduler/filters/aggregate_instance_extra_specs.py)."""

FarmName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
CardName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}$", description="also the name of its alias"),
]
ComputeName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?$",
        description="the host of a nova-compute service, as `openstack compute service list` says",
    ),
]
ObjectName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^\S(.*\S)?$")]
ZoneName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\s:]([^:]*[^\s:])?$")]
PropertyName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_:. -]{0,254}$")]
PropertyValue = Annotated[str, Meta(max_length=255)]
Properties = dict[PropertyName, PropertyValue]
CustomName = Annotated[str, Meta(pattern=r"^CUSTOM_[A-Z0-9_]{1,248}$")]
FilterName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Amount = Annotated[int, Meta(ge=0, le=2**31 - 1)]
ReserveMode = Literal["none", "dynamic", "hard"]


Part = Annotated[float, Meta(gt=0, le=1)]


class CardReserve(Document, frozen=True):
    """What a host keeps for one free card: vCPU after its allocation ratio, and MiB."""

    vcpus: Annotated[float, Meta(ge=0, le=2**31 - 1)]
    memory_mb: Amount


class Reserve(Document, frozen=True):
    """How CPU and memory are kept for free cards; `share` caps it, as a fraction of a host's fair
    share of each card.

    Of `hard` only: how many vCPU Nova gives out for one CPU (1 holds for every ratio, and keeps a
    whole CPU for each vCPU), and what a host keeps for itself.
    """

    mode: ReserveMode
    share: Part = 1.0
    cpu_ratio: Annotated[float, Meta(ge=1, le=1000)] = 1.0
    host_cpus: Amount = 0
    host_memory_mb: Amount = 512


class Card(Document, frozen=True):
    """One model of card, under the name of its alias.

    Without `hosts` and `aggregates` every compute host offers the cards that it finds. Without
    `reserve` a free card is kept what its flavors give one (median).
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
    hosts: tuple[ComputeName, ...] = ()
    aggregates: tuple[ObjectName, ...] = ()
    managed: bool | None = None
    live_migratable: bool | None = None
    one_time_use: bool | None = None
    reserve: CardReserve | None = None

    @property
    def placement_class(self) -> str:
        """The resource class that Placement counts it in."""
        return self.resource_class or placement_class(self.vendor_id, self.product_id)


class Flavor(Document, frozen=True):
    """A flavor. `aggregate` holds properties that the host's aggregate must have (SC-5)."""

    vcpus: Count
    memory_mb: Count
    disk_gb: Amount
    cards: dict[CardName, Count] = msgspec.field(default_factory=dict)
    aggregate: Properties = msgspec.field(default_factory=dict)
    hide_kvm: bool = False
    public: bool = True
    properties: Properties = msgspec.field(default_factory=dict)


class Aggregate(Document, frozen=True):
    """A host aggregate; with `zone` its hosts are in that availability zone."""

    zone: ZoneName | None = None
    hosts: tuple[ComputeName, ...] = ()
    properties: Properties = msgspec.field(default_factory=dict)


class Image(Document, frozen=True):
    """An image. Without `file` it must be in Glance already; what is given here is kept equal.

    An image with `file` gets Glance's raw, 0 and 0 for what is not given, and is public; of one
    without, what is not given stays as it is.
    """

    file: Annotated[str, Meta(min_length=1)] | None = None
    disk_format: Literal["raw", "qcow2", "vmdk", "vdi", "iso"] | None = None
    min_disk_gb: Amount | None = None
    min_memory_mb: Amount | None = None
    public: bool | None = None
    properties: Properties = msgspec.field(default_factory=dict)


class Farm(Document, frozen=True):
    """A farm file, version 1. `release` is Nova's major version or its name ("2026.2")."""

    version: Literal[1]
    name: FarmName
    release: int | float | str
    cards: dict[CardName, Card] = msgspec.field(default_factory=dict)
    flavors: dict[ObjectName, Flavor] = msgspec.field(default_factory=dict)
    aggregates: dict[ObjectName, Aggregate] = msgspec.field(default_factory=dict)
    images: dict[ObjectName, Image] = msgspec.field(default_factory=dict)
    console: Literal["vnc", "spice"] | None = None
    extra_filters: tuple[FilterName, ...] = ()
    reserve: ReserveMode | Reserve = "none"

    @property
    def keeping(self) -> Reserve:
        """How CPU and memory are kept for free cards."""
        return self.reserve if isinstance(self.reserve, Reserve) else Reserve(mode=self.reserve)

    @property
    def nova(self) -> int:
        """Nova's major version."""
        return release.parse(self.release)


def read(path: Path) -> Farm:
    """The farm file at `path`, checked; DocumentError or FarmError where it cannot be taken."""
    from gpufarm.model import consistency

    farm = document.read(Farm, path)
    consistency.check(farm)
    return farm


def card_hosts(farm: Farm, card: Card) -> frozenset[str] | None:
    """Names of the hosts that offer `card`; None for every compute host."""
    if not card.hosts and not card.aggregates:
        return None
    return frozenset(card.hosts).union(
        *(farm.aggregates[aggregate].hosts for aggregate in card.aggregates)
    )


def named_hosts(farm: Farm) -> frozenset[str]:
    """Every host name that the farm file speaks of."""
    of_cards = (card.hosts for card in farm.cards.values())
    of_aggregates = (aggregate.hosts for aggregate in farm.aggregates.values())
    return frozenset(host for hosts in (*of_cards, *of_aggregates) for host in hosts)


def flavor_properties(farm: Farm, flavor: Flavor) -> dict[str, str]:
    """Every extra spec that `flavor` has in Nova, the farm's marks included."""
    properties = dict(flavor.properties) | reserve.drawn(farm, flavor)
    properties |= {f"{AGGREGATE_SCOPE}{key}": value for key, value in flavor.aggregate.items()}
    if flavor.hide_kvm:
        properties[HIDE_KVM] = "true"
    if flavor.cards:
        properties[ALIAS] = ",".join(f"{card}:{count}" for card, count in flavor.cards.items())
        properties[CARDS_MARK] = ",".join(
            f"{card}={farm.cards[card].placement_class}" for card in flavor.cards
        )
    return properties | {FARM_MARK: farm.name}
