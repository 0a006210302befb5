"""Whether a cloud, or a set of machines, can be what the farm file says.

What is decided here: which of the farm's hosts and cards are not there. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gpufarm.model import hardware, reserve
from gpufarm.model.change import Change, FieldChange
from gpufarm.model.cloud import ComputeHost, Provider, services
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Card, Farm, card_hosts
from gpufarm.model.host import HostFile
from gpufarm.model.pci import device_type

CARD: Final = "card"


def check_hosts(farm: Farm, hosts: Iterable[ComputeHost]) -> None:
    """Raise FarmError for the first host named in the file that has no nova-compute."""
    known = {host.name for host in hosts}
    named = [
        *((f"aggregate {name}", each.hosts) for name, each in farm.aggregates.items()),
        *((f"card {name}", each.hosts) for name, each in farm.cards.items()),
    ]
    for subject, names in named:
        for host in names:
            if host not in known:
                raise FarmError(
                    subject,
                    f"host {host} has no nova-compute in this cloud, which has: "
                    f"{', '.join(sorted(known)) or 'none'}",
                )


def check_hardware(farm: Farm, hosts: Iterable[HostFile]) -> None:
    """Raise FarmError for a card that no host has, and for a flavor that no host has enough for."""
    machines = {host.name: host for host in hosts}
    most: dict[str, int] = {}
    for name, card in farm.cards.items():
        offering = card_hosts(farm, card)
        offered = [host for host in machines if offering is None or host in offering]
        counts = {host: hardware.count(card, hardware.of_file(machines[host])) for host in offered}
        for host in card.hosts:
            if host in counts and not counts[host]:
                raise FarmError(f"card {name}", _absent(card, [machines[host]]))
        most[name] = max(counts.values(), default=0)
        if not most[name]:
            raise FarmError(f"card {name}", _absent(card, [machines[host] for host in offered]))
        _check_reserve(name, card, [machines[host] for host in offered if counts[host]])
    for name, flavor in farm.flavors.items():
        for card_name, count in flavor.cards.items():
            if count > most[card_name]:
                raise FarmError(
                    f"flavor {name}",
                    f"asks for {count} of card {card_name}, and no host has more than "
                    f"{most[card_name]}: a server's cards are all of one host",
                )


def _check_reserve(name: str, card: Card, hosts: list[HostFile]) -> None:
    """No server gets more than the whole of its host, whatever the allocation ratio: Nova sets
    Placement's max_unit to the total (nova/virt/libvirt/driver.py, update_provider_tree)."""
    if card.reserve is None:
        return
    for what, amount, most in (
        ("vcpus", card.reserve.vcpus, max(host.vcpus for host in hosts)),
        ("memory_mb", card.reserve.memory_mb, max(host.memory_mb for host in hosts)),
    ):
        if amount > most:
            raise FarmError(
                f"card {name}",
                f"reserve.{what} {amount:g} is larger than every host with such a card, of which "
                f"the largest has {most}",
            )


def _absent(card: Card, hosts: list[HostFile]) -> str:
    ids = f"{card.vendor_id}:{card.product_id}"
    where = f"host {hosts[0].name} does not have" if len(hosts) == 1 else "no host has"
    for host in hosts:
        for function in host.pci_functions:
            if (function.vendor_id, function.product_id) == (card.vendor_id, card.product_id):
                return (
                    f"{where} {ids} as {card.device_type}; {host.name} has it as "
                    f"{device_type(function.sriov)}: set device_type"
                )
    return f"{where} a device {ids}: correct the ids, or the hosts that offer it"


def unreported(
    farm: Farm, hosts: Iterable[ComputeHost], providers: Iterable[Provider]
) -> tuple[Change, ...]:
    """A change for each card that hosts should report to Placement and do not, yet.

    For a card that every host may offer one that does is enough; otherwise each host has to.
    """
    reporting = reported(hosts, providers)
    changes = []
    for name, card in farm.cards.items():
        have = reporting.get(card.placement_class, frozenset())
        offering = card_hosts(farm, card)
        missing = sorted((offering or frozenset()) - have)
        if missing or not have:
            field = FieldChange(
                f"hosts with {card.placement_class}",
                sorted(have),
                "any" if offering is None else sorted(offering),
            )
            lacking = f"{', '.join(missing)} reports none" if missing else "no host reports any"
            reason = f"{lacking}: are the Nova settings in place there, and nova-compute restarted?"
            changes.append(Change("change", CARD, name, (field,), reason))
    return (*changes, *_unkept(farm, reporting))


def _unkept(farm: Farm, reporting: Mapping[str, frozenset[str]]) -> Iterator[Change]:
    """Hosts that report cards and nothing of their hard reserve, on which GPU servers draw."""
    reserved = reserve.of_cards(farm) if farm.keeping.mode == "hard" else {}
    for name in reserved:
        offering = reporting.get(farm.cards[name].placement_class, frozenset())
        for resource_class in reserve.CLASSES:
            have = reporting.get(resource_class, frozenset())
            missing = sorted(offering - have)
            if missing:
                field = FieldChange(f"hosts with {resource_class}", sorted(have), sorted(offering))
                reason = (
                    f"{', '.join(missing)} keeps no hard reserve: is its provider.yaml in place, "
                    "and nova-compute restarted?"
                )
                yield Change("change", CARD, name, (field,), reason)


def reported(
    hosts: Iterable[ComputeHost], providers: Iterable[Provider]
) -> Mapping[str, frozenset[str]]:
    """{resource class: hosts} of what Placement counts below the hosts' own providers."""
    known = list(providers)
    names = services(hosts)
    roots = {each.uuid: names.get(each.name, each.name) for each in known}
    found: dict[str, set[str]] = {}
    for provider in known:
        for resource_class in provider.inventories:
            if provider.root_uuid in roots:
                found.setdefault(resource_class, set()).add(roots[provider.root_uuid])
    return {resource_class: frozenset(on) for resource_class, on in found.items()}
