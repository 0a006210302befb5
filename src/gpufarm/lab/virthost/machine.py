"""A virtual host's hardware, and where each card of it appears.

The board is the same for every host, so that one saved state serves all of them: OWN_PORTS root
ports, then a port with a switch. A card gets a root port of its own, in the order in which cards
are named; shared cards go below the switch, beside an NVMe disk. The switch's downstream ports are
functions of one slot and without ACS, so all that is below it is one IOMMU group. A card that has
to appear at a given address gets a host bridge of its own.
"""

import re
from pathlib import Path
from typing import Literal, get_args

import msgspec

from gpufarm.lab.virthost.cards import Card
from gpufarm.lab.virthost.pci import Function

Iommu = Literal["intel", "amd", "none"]
IOMMUS: tuple[Iommu, ...] = get_args(Iommu)

OWN_PORTS = 8
SHARED_PORTS = 3
SWITCH_BUS = OWN_PORTS + 1
"""The bus of the switch's upstream port; SeaBIOS numbers buses in the order of the ports."""
SWITCH_ADDRESS = f"0000:{SWITCH_BUS:02x}:00.0"
DISK_BUS = SWITCH_BUS + 2
FIRST_FREE_BUS = DISK_BUS + SHARED_PORTS + 1
MOST_ADDRESSED = 5
"""Each has a host bridge of its own. Seen with QEMU 11 and 16 GB BARs: beside the board's own ports
SeaBIOS finds room for the 64-bit windows of five of them; of eight, three got none."""

MEMORY_MB, CPUS = 1024, 2
LEAST_MEMORY_MB = 512

NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
"""A host name of one label; it is also a folder, a QEMU name and an alias of SSH."""


class Reach(msgspec.Struct, frozen=True):
    """A service of this machine that a host may use: its port as the host sees it, and here."""

    port: int
    here: int


class Peer(msgspec.Struct, frozen=True):
    """Another host of the same state folder, running or not, whose SSH a host may use, at an
    `address` of its own network."""

    name: str
    address: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`disks` are images that the host sees as further, read-only disks.

    Beyond `reaches` and `peers` the host reaches nothing.
    """

    name: str
    cards: tuple[Card, ...] = ()
    iommu: Iommu = "intel"
    memory_mb: int = MEMORY_MB
    cpus: int = CPUS
    disks: tuple[Path, ...] = ()
    reaches: tuple[Reach, ...] = ()
    peers: tuple[Peer, ...] = ()


class Plugged(msgspec.Struct, frozen=True):
    """A function of a card: the port it is on, and the address that the host sees it at.

    `socket` is its name among the host's vfio-user sockets and QEMU's devices.
    """

    function: Function
    port: str
    address: str

    @property
    def socket(self) -> str:
        return f"{self.port}.{self.number}"

    @property
    def number(self) -> int:
        return int(self.address[-1])


def check(machine: Machine) -> None:
    """ValueError where no such host can be."""
    check_name(machine.name)
    own = [card for card in machine.cards if not card.shared and card.address is None]
    shared = [card for card in machine.cards if card.shared]
    if len(own) > OWN_PORTS:
        raise ValueError(f"{len(own)} cards with a group of their own: {OWN_PORTS} is the most")
    if len(shared) > SHARED_PORTS:
        raise ValueError(f"{len(shared)} cards in the shared group: {SHARED_PORTS} is the most")
    if machine.memory_mb < LEAST_MEMORY_MB:
        raise ValueError(f"{machine.memory_mb} MB of memory: {LEAST_MEMORY_MB} is the least")
    _check_addresses(machine.cards)


def check_name(name: str) -> None:
    """ValueError for what is no name of a host."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a host: lower-case letters, digits and hyphens, 32 at most, "
            "beginning with a letter"
        )


def _check_addresses(cards: tuple[Card, ...]) -> None:
    placed = [card for card in cards if card.address]
    buses = [_bus(card) for card in placed]
    if len(placed) > MOST_ADDRESSED:
        raise ValueError(f"{len(placed)} cards at given addresses: {MOST_ADDRESSED} is the most")
    for card, bus in zip(placed, buses, strict=True):
        if card.shared:
            raise ValueError(f"{card.name}: group=shared and address= exclude each other")
        if not (card.address or "").endswith(":00"):
            raise ValueError(f"{card.name}: address {card.address}: only device 00 of a bus can be")
        if bus <= FIRST_FREE_BUS:
            raise ValueError(
                f"{card.name}: address {card.address}: buses up to {FIRST_FREE_BUS:02x} are the "
                "board's own"
            )
        if buses.count(bus) > 1 or bus - 1 in buses:
            raise ValueError(f"{card.name}: address {card.address}: needs its bus and that before")


def _bus(card: Card) -> int:
    return int((card.address or "0:0").split(":")[1], 16)


def plugged(machine: Machine) -> tuple[Plugged, ...]:
    """Every function of every card, in the order in which they have to be plugged in.

    Function 0 comes last: the slot is looked at when it arrives.
    """
    own, shared, found = 0, 0, []
    for card in machine.cards:
        if card.address:
            port, bus = f"at{_bus(card):02x}", _bus(card)
        elif card.shared:
            shared += 1
            port, bus = f"shared{shared}", DISK_BUS + shared
        else:
            own += 1
            port, bus = f"own{own}", own
        found += [
            Plugged(function, port, f"0000:{bus:02x}:00.{number}")
            for number, function in reversed(list(enumerate(card.functions)))
        ]
    return tuple(found)


def slots(machine: Machine) -> tuple[str, ...]:
    """The address of each card's slot, in the order of the cards."""
    return tuple(each.address.rpartition(".")[0] for each in plugged(machine) if each.number == 0)


def disk_address(machine: Machine) -> str | None:
    """Where the NVMe disk of the shared group is; None where no card is shared."""
    shared = any(card.shared for card in machine.cards)
    return f"0000:{DISK_BUS:02x}:00.0" if shared else None


def addressed_buses(machine: Machine) -> tuple[int, ...]:
    """Buses that cards were asked to be on."""
    return tuple(_bus(card) for card in machine.cards if card.address)
