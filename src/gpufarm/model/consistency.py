"""Whether the parts of a farm file agree with each other and with the Nova release it names.

What is decided here: everything that can be seen in the file alone. Each refusal is for something
that Nova or Glance would refuse, or, worse, take and not do.
"""

import itertools
import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec

from gpufarm.model import release, reserve
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import (
    AGGREGATE_SCOPE,
    ALIAS,
    CARDS_MARK,
    HIDE_KVM,
    Aggregate,
    Card,
    Farm,
    Flavor,
    Image,
    Reserve,
    card_hosts,
    flavor_properties,
)

LONGEST_VALUE = 255
"""Of an extra spec, name and value (nova/api/validation/parameter_types.py, metadata)."""

# glance/api/v2/images.py: RequestDeserializer and get_base_properties
# fmt: off
GLANCE_NAMES = frozenset((
    "checksum", "container_format", "created_at", "deleted", "deleted_at", "direct_url",
    "disk_format", "file", "id", "location", "locations", "min_disk", "min_ram", "name",
    "os_hash_algo", "os_hash_value", "os_hidden", "owner", "protected", "schema", "self",
    "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
))
# fmt: on
"""What Glance keeps about an image itself, so that no property may be called so."""


def check(farm: Farm) -> None:
    """Raise FarmError (or FeatureMissing) for the first contradiction in `farm`."""
    for path, text in _texts(msgspec.to_builtins(farm), "$"):
        _check_text(path, text)
    release.parse(farm.release)
    for kind, names in (("flavor", farm.flavors), ("aggregate", farm.aggregates)):
        _check_case(kind, names)
    for name, card in farm.cards.items():
        _check_card(f"card {name}", card, farm)
    for (one, card), (other, twin) in itertools.combinations(farm.cards.items(), 2):
        _check_pair(other, twin, one, card, farm)
    for name, flavor in farm.flavors.items():
        _check_flavor(f"flavor {name}", flavor, farm)
    for name, aggregate in farm.aggregates.items():
        _check_aggregate(f"aggregate {name}", aggregate)
    _check_zones(farm)
    _check_reserve(farm)
    for name, image in farm.images.items():
        _check_image(f"image {name}", image)


def _texts(value: Any, path: str) -> Iterable[tuple[str, str]]:
    """Every string in `value`, keys too, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield path, key
            yield from _texts(child, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, child in enumerate(value):
            yield from _texts(child, f"{path}[{number}]")


def _check_text(path: str, text: str) -> None:
    """Nova takes printable names only, and a line break would start a setting of its own."""
    for character in text:
        category = unicodedata.category(character)
        if category[0] == "C" or category in ("Zl", "Zp"):
            raise FarmError(
                path.encode("unicode_escape").decode(),
                f"{text!r} holds a character that cannot be printed (U+{ord(character):04X})",
            )


def _check_case(kind: str, names: Iterable[str]) -> None:
    """Nova's database compares names without case (MariaDB's default collation)."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise FarmError(
                f"{kind} {name}", f"differs from {kind} {other} only in case: rename it"
            )


def _check_card(subject: str, card: Card, farm: Farm) -> None:
    for feature in release.SINCE:
        if getattr(card, feature) is not None:
            release.require(feature, farm.nova, subject)
    if card.one_time_use and card.device_type == "type-VF":
        raise FarmError(subject, "one_time_use is for type-PCI and type-PF only, not for a VF")
    for aggregate in card.aggregates:
        if aggregate not in farm.aggregates:
            known = ", ".join(farm.aggregates) or "none"
            raise FarmError(
                subject, f"aggregate {aggregate} is not in the farm file, which has: {known}"
            )
    if card_hosts(farm, card) == frozenset():
        raise FarmError(
            subject, f"no host offers it: {', '.join(card.aggregates)} has no hosts: name some"
        )


def _check_pair(name: str, card: Card, other_name: str, other: Card, farm: Farm) -> None:
    """What Nova cannot tell apart.

    nova-compute gives a device to the first device_spec that matches it (nova/pci/whitelist.py),
    and Placement finds a device by its class alone.
    """
    ids, other_ids = (f"{each.vendor_id}:{each.product_id}" for each in (card, other))
    if ids == other_ids and _share_a_host(card_hosts(farm, card), card_hosts(farm, other)):
        raise FarmError(
            f"card {name}",
            f"card {other_name} names the same device ({ids}) on the same hosts: keep one of them "
            "(another NUMA policy is the flavor property hw:pci_numa_affinity_policy)",
        )
    if card.placement_class == other.placement_class:
        raise FarmError(
            f"card {name}",
            f"card {other_name} is counted in the same resource class ({card.placement_class}): "
            "give one of them a resource_class of its own",
        )


def _share_a_host(some: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    return some is None or others is None or bool(some & others)


def _check_flavor(subject: str, flavor: Flavor, farm: Farm) -> None:
    for card in flavor.cards:
        if card not in farm.cards:
            known = ", ".join(sorted(farm.cards)) or "none"
            raise FarmError(subject, f"unknown card {card}; the farm file has: {known}")
    for key in flavor.properties:
        _check_flavor_property(subject, key, farm)
    for key, value in flavor_properties(farm, flavor).items():
        if len(key) > LONGEST_VALUE or len(value) > LONGEST_VALUE:
            raise FarmError(
                subject,
                f"its property {key} would be longer than Nova's {LONGEST_VALUE} characters: use "
                "shorter names, or fewer cards in one flavor",
            )


def _check_flavor_property(subject: str, key: str, farm: Farm) -> None:
    reserved = {ALIAS: "cards", HIDE_KVM: "hide_kvm", CARDS_MARK: "cards"}
    if key in reserved:
        raise FarmError(subject, f"property {key} is written by the field `{reserved[key]}`")
    if key.startswith("gpufarm:"):
        raise FarmError(subject, f"property {key}: names in gpufarm: are the farm's own marks")
    if key.startswith(AGGREGATE_SCOPE) or ":" not in key:
        # AggregateInstanceExtraSpecsFilter takes a key without a namespace for an aggregate's
        # property, ComputeCapabilitiesFilter for a capability where the host has one of that name.
        raise FarmError(
            subject,
            f"property {key}: a property that the host's aggregate must have goes into the field "
            "`aggregate`; any other needs a namespace, like hw:",
        )
    release.require(key, farm.nova, f"{subject}: property")


def _check_aggregate(subject: str, aggregate: Aggregate) -> None:
    for key in aggregate.properties:
        if key == "availability_zone":
            raise FarmError(subject, f"property {key} is written by the field `zone`")
        if key.startswith("gpufarm:"):
            raise FarmError(subject, f"property {key}: names in gpufarm: are the farm's own marks")


def _check_zones(farm: Farm) -> None:
    """Nova refuses a host in two aggregates with different zones (nova/compute/api.py)."""
    zones: dict[str, tuple[str, str]] = {}
    for name, aggregate in farm.aggregates.items():
        if aggregate.zone is None:
            continue
        for host in aggregate.hosts:
            zone, other = zones.setdefault(host, (aggregate.zone, name))
            if zone != aggregate.zone:
                raise FarmError(
                    f"aggregate {name}",
                    f"host {host} would be in zone {aggregate.zone} and, through aggregate "
                    f"{other}, in zone {zone}: a host has one zone",
                )


def _check_reserve(farm: Farm) -> None:
    keeping = farm.keeping
    if keeping.mode == "none":
        return
    if not reserve.of_cards(farm):
        raise FarmError(
            "reserve",
            f"{keeping.mode}, and no card has flavors or a reserve of its own: give one a reserve",
        )
    if keeping.mode == "hard":
        _check_hard(farm)
        return
    for field in ("cpu_ratio", "host_cpus", "host_memory_mb"):
        if getattr(keeping, field) != getattr(Reserve(mode="hard"), field):
            raise FarmError("reserve", f"{field} is for `mode: hard` only")
    ids: dict[tuple[str, str], str] = {}
    for name in reserve.of_cards(farm):
        card = farm.cards[name]
        other = ids.setdefault((card.vendor_id, card.product_id), name)
        if other != name:
            raise FarmError(
                f"card {name}",
                f"card {other} has the same ids, by which the scheduler knows whose reserve it is: "
                "with `reserve: dynamic` one card of them",
            )


def _check_hard(farm: Farm) -> None:
    """Only servers with cards draw on the classes of the reserve, by what gpufarm says."""
    for name, card in farm.cards.items():
        if card.placement_class in reserve.CLASSES:
            raise FarmError(
                f"card {name}", f"resource_class {card.placement_class} is the reserve's own"
            )
    own = tuple(name for pair in reserve.CLASSES.items() for name in pair)
    for name, flavor in farm.flavors.items():
        for key, value in flavor.properties.items():
            asked = key.removeprefix("resources").rpartition(":")[2]
            if key.startswith("resources") and asked in (own if flavor.cards else reserve.CLASSES):
                raise FarmError(
                    f"flavor {name}",
                    f"property {key}: with `reserve: hard` gpufarm says what a server draws",
                )
            if flavor.cards and key == "hw:cpu_policy" and value != "shared":
                raise FarmError(
                    f"flavor {name}",
                    f"property {key}: `reserve: hard` keeps shared CPUs, of which a server with "
                    f"{value} ones cannot draw: use `reserve: dynamic`",
                )


def _check_image(subject: str, image: Image) -> None:
    if image.disk_format and not image.file:
        raise FarmError(
            subject,
            "disk_format without file: Glance does not change the format of an image that is there",
        )
    for key in image.properties:
        if key in GLANCE_NAMES or key.startswith(("os_glance", "gpufarm_")):
            raise FarmError(
                subject, f"property {key} is Glance's or the farm's own: use a field, or drop it"
            )
