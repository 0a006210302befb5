"""What a machine has of a farm's cards."""

from collections.abc import Iterable

import msgspec

from gpufarm.model.farm import Card, Farm, card_hosts
from gpufarm.model.host import HostFile
from gpufarm.model.pci import device_type
from gpufarm.model.reserve import Machine

Device = tuple[str, str, str]
"""Vendor id, product id, device type: by these a card of a farm file is found."""


class Hardware(msgspec.Struct, frozen=True):
    """CPUs and MiB that the kernel has, and its PCI devices."""

    cpus: int
    memory_mb: int
    devices: tuple[Device, ...] = ()


def of_file(host: HostFile) -> Hardware:
    devices = (
        (function.vendor_id, function.product_id, device_type(function.sriov))
        for function in host.pci_functions
    )
    return Hardware(host.vcpus, host.memory_mb, tuple(devices))


def count(card: Card, found: Hardware) -> int:
    """How many of such a card the machine has."""
    asked = (card.vendor_id, card.product_id, card.device_type)
    return sum(device == asked for device in found.devices)


def machine(farm: Farm, host: str, found: Hardware) -> Machine:
    """The host of that name as its reserve depends on it: with the cards that it offers."""
    offering = {name: card_hosts(farm, card) for name, card in farm.cards.items()}
    cards = {
        name: count(farm.cards[name], found)
        for name, hosts in offering.items()
        if hosts is None or host in hosts
    }
    return Machine(found.cpus, found.memory_mb, cards)


def machines(farm: Farm, hosts: Iterable[HostFile]) -> dict[str, Machine]:
    """The same of hosts that files describe, by name."""
    return {host.name: machine(farm, host.name, of_file(host)) for host in hosts}
