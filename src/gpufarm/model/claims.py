"""What four layers say of who has which card, as frozen values.

The layers: the *host* (its PCI functions and who has them open), the *hypervisor* (guests and their
host devices), *Nova* (servers, migrations, and its table pci_devices) and *Placement*. Times are
seconds since 1970. A host that is missing from `Layers.hosts`, `Layers.guests` or `Layers.offered`,
and rows that are None, were not read: nothing is concluded from them.
"""

from typing import Literal

import msgspec

from gpufarm.model.cloud import ComputeHost, Provider

Layer = Literal["host", "hypervisor", "nova", "placement"]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the values below."""


class HostCard(Value, frozen=True):
    """A PCI function as its host sees it. `holder` is whoever has it open through VFIO."""

    driver: str | None
    holder: str | None = None


class Guest(Value, frozen=True):
    """A guest of a hypervisor; `devices` are PCI addresses of the host. One that is off holds none
    of them, and takes them when it is started."""

    id: str
    name: str
    devices: frozenset[str]
    runs: bool = True


class ServerState(Value, frozen=True):
    """`launched`: it was ACTIVE once."""

    id: str
    name: str
    status: str
    task: str | None
    host: str | None
    updated: float
    launched: bool


class Migration(Value, frozen=True):
    """`id` is Nova's number, `uuid` the consumer of its allocations; hosts are nova-computes."""

    id: int
    uuid: str
    server: str
    status: str
    kind: str
    source: str | None
    target: str | None
    updated: float


class DeviceRow(Value, frozen=True):
    """A row of pci_devices. `parent` is the address of a VF's PF, `server` who it is given to."""

    id: int
    hypervisor: str
    address: str
    parent: str | None
    status: str
    server: str | None
    updated: float


class NovaLayer(Value, frozen=True):
    """`rows` None: no database was given. `deleted` are servers that went a moment ago."""

    hosts: tuple[ComputeHost, ...] = ()
    servers: dict[str, ServerState] = {}
    migrations: dict[str, Migration] = {}
    """By uuid; those under way or waiting only."""
    deleted: frozenset[str] = frozenset()
    rows: tuple[DeviceRow, ...] | None = None


class Layers(Value, frozen=True):
    """One reading of all four, begun at `at`."""

    at: float
    placement: tuple[Provider, ...] = ()
    nova: NovaLayer = NovaLayer()
    guests: dict[str, tuple[Guest, ...]] = {}
    """{nova-compute: its guests}"""
    hosts: dict[str, dict[str, HostCard]] = {}
    """{nova-compute: {address: function}}"""
    offered: dict[str, frozenset[str]] = {}
    """{nova-compute: resource classes of the cards that its settings offer}"""
