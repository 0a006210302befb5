"""One reading of the layers, laid out by card and by server.

What is decided here: what each layer says of one card, in words and in numbers, and whether a
server or a migration is still moving. Nothing that moved within `patience` seconds is judged.
"""

from functools import cached_property

import msgspec

from gpufarm.claims.cards import address_of
from gpufarm.model.claims import DeviceRow, Guest, HostCard, Layers, Migration, ServerState
from gpufarm.model.cloud import ComputeHost, Provider, services

OFF = frozenset(("evacuation", "migration", "resize"))
"""Kinds of migration with which nobody goes on once the server has no task; that of an evacuation
is `done` only a moment later."""

TAKEN = frozenset(("allocated", "claimed"))
"""nova/objects/fields.py, PciDeviceStatus."""


class LayerTexts(msgspec.Struct, frozen=True):
    """What each layer says of a card; None where it was not read."""

    host: str | None
    hypervisor: str | None
    nova: str | None
    placement: str | None


class Card(msgspec.Struct, frozen=True):
    """A PCI provider with its place: `host` is a nova-compute, `address` that of the provider."""

    host: str
    address: str
    provider: Provider


class View:
    """`patience` in seconds."""

    def __init__(self, layers: Layers, patience: float) -> None:
        self.layers = layers
        self.patience = patience
        self.servers = layers.nova.servers
        self.migrations = layers.nova.migrations

    @cached_property
    def services(self) -> dict[str, str]:
        """{hypervisor: name of its nova-compute}."""
        return services(self.layers.nova.hosts)

    @cached_property
    def computes(self) -> dict[str, ComputeHost]:
        """{name of a nova-compute: it}."""
        return {host.name: host for host in self.layers.nova.hosts}

    @cached_property
    def roots(self) -> dict[str, Provider]:
        return {each.uuid: each for each in self.layers.placement if each.uuid == each.root_uuid}

    @cached_property
    def cards(self) -> tuple[Card, ...]:
        return tuple(
            Card(self._host(each), address_of(each.name), each)
            for each in self.layers.placement
            if each.uuid != each.root_uuid
        )

    @cached_property
    def places(self) -> dict[tuple[str, str], Card]:
        return {(card.host, card.address): card for card in self.cards}

    def _host(self, device: Provider) -> str:
        root = self.roots.get(device.root_uuid)
        name = root.name if root else device.name.rpartition("_")[0]
        return self.services.get(name, name)

    # Nova's rows

    @property
    def has_rows(self) -> bool:
        return self.layers.nova.rows is not None

    @cached_property
    def _rows(self) -> dict[tuple[str, str], tuple[DeviceRow, ...]]:
        """By host and address of the provider: a VF's is that of its PF."""
        found: dict[tuple[str, str], tuple[DeviceRow, ...]] = {}
        for row in self.layers.nova.rows or ():
            key = self.place(row)
            found[key] = (*found.get(key, ()), row)
        return found

    def place(self, row: DeviceRow) -> tuple[str, str]:
        """Host and address of the provider that the row is of."""
        host = self.services.get(row.hypervisor, row.hypervisor)
        own = (host, row.address)
        above = (host, row.parent or row.address)
        return own if own in self.places else above

    def rows(self, host: str, address: str) -> tuple[DeviceRow, ...]:
        return self._rows.get((host, address), ())

    def rows_of(self, host: str, address: str, server: str) -> int:
        """How many functions of that card Nova's table has for the server."""
        return sum(row.server == server and row.status in TAKEN for row in self.rows(host, address))

    # Guests

    def read_guests(self, host: str) -> bool:
        return host in self.layers.guests

    @cached_property
    def _devices(self) -> dict[tuple[str, str], str]:
        """{(host, address of a function): address of its provider}."""
        own = {key: key[1] for key in self.places}
        below = {(key[0], row.address): key[1] for key, rows in self._rows.items() for row in rows}
        return {**below, **own}

    @cached_property
    def _guests(self) -> dict[tuple[str, str], tuple[Guest, ...]]:
        found: dict[tuple[str, str], tuple[Guest, ...]] = {}
        for host, guests in self.layers.guests.items():
            for guest in guests:
                for device in guest.devices:
                    provider = self._devices.get((host, device))
                    if provider is not None:
                        key = (host, provider)
                        found[key] = (*found.get(key, ()), guest)
        return found

    def guests(self, host: str, address: str) -> tuple[Guest, ...]:
        return self._guests.get((host, address), ())

    def held_by(self, host: str, address: str, server: str) -> int:
        """How many functions of that card the server's guest has."""
        return sum(guest.id == server for guest in self.guests(host, address))

    def has_guest(self, host: str, guest_id: str) -> bool:
        return any(guest.id == guest_id for guest in self.layers.guests.get(host, ()))

    def runs(self, host: str, guest_id: str) -> bool:
        """Whether that guest does, there."""
        found = self.layers.guests.get(host, ())
        return any(guest.id == guest_id and guest.runs for guest in found)

    def holders(self, card: Card) -> list[str]:
        """Whoever has it by Placement or by Nova's table."""
        taken = [row for row in self.rows(card.host, card.address) if row.status in TAKEN]
        return sorted({*card.provider.allocations, *(row.server or "?" for row in taken)})

    # The host

    def function(self, host: str, address: str) -> HostCard | None:
        return self.layers.hosts.get(host, {}).get(address)

    def is_gone(self, card: Card) -> bool:
        """Whether the host was read, and has no such function."""
        return card.host in self.layers.hosts and self.function(card.host, card.address) is None

    # Servers and migrations

    @cached_property
    def _moves(self) -> dict[str, tuple[Migration, ...]]:
        found: dict[str, tuple[Migration, ...]] = {}
        for migration in self.migrations.values():
            found[migration.server] = (*found.get(migration.server, ()), migration)
        return found

    def moves(self, server: str) -> tuple[Migration, ...]:
        """Those that Nova may go on with, or that hold something."""
        return tuple(move for move in self._moves.get(server, ()) if not self._over(move))

    def moves_over(self, server: str) -> tuple[Migration, ...]:
        """Those that failed, or were given up: Nova keeps the rows of both sides for them
        (nova/pci/manager.py, clean_usage), as long as the server lives."""
        return tuple(move for move in self._moves.get(server, ()) if self._over(move))

    def _over(self, move: Migration) -> bool:
        server = self.servers.get(move.server)
        return (
            move.kind in OFF
            and server is not None
            and server.task is None
            and not (self.waits(server) or self.recent(move.updated))
            and not any(move.uuid in each.allocations for each in self.layers.placement)
        )

    def recent(self, when: float) -> bool:
        return self.layers.at - when < self.patience

    def waits(self, server: ServerState) -> bool:
        """For its move to be confirmed or reverted: both sides are held, and rightly so."""
        return server.status == "VERIFY_RESIZE"

    def hidden(self, server: ServerState) -> bool:
        """In a cell that does not answer."""
        return server.status == "UNKNOWN"

    def busy(self, server: ServerState) -> bool:
        """Whether Nova may be about to change what it holds."""
        return (
            server.task is not None
            or self.recent(server.updated)
            or any(self.recent(move.updated) for move in self._moves.get(server.id, ()))
        )

    def never_built(self, server: ServerState) -> bool:
        """In BUILD with its nova-compute gone, or in ERROR without ever having run."""
        if server.launched or self.recent(server.updated):
            return False
        return server.status == "ERROR" or (server.status == "BUILD" and self.down(server.host))

    def down(self, host: str | None) -> bool:
        """Whether no nova-compute works there."""
        service = self.computes.get(host or "")
        return service is None or not service.up

    # Words

    def texts(self, host: str, address: str, holder: str | None) -> LayerTexts:
        return LayerTexts(
            host=self._host_text(host, address),
            hypervisor=self._guest_text(host, address),
            nova=self._nova_text(host, address, holder),
            placement=self._placement_text(host, address),
        )

    def _host_text(self, host: str, address: str) -> str | None:
        if host not in self.layers.hosts:
            return None
        found = self.function(host, address)
        if found is None:
            return "no such function"
        opened = f", open in {found.holder}" if found.holder else ""
        return f"driver {found.driver or 'none'}{opened}"

    def _guest_text(self, host: str, address: str) -> str | None:
        if not self.read_guests(host):
            return None
        held = [f"held by guest {each.name} ({each.id})" for each in self.guests(host, address)]
        return "; ".join(held) or "held by no guest"

    def _nova_text(self, host: str, address: str, holder: str | None) -> str:
        said = []
        if self.has_rows:
            states = [
                row.status + (f" to {row.server}" if row.server else "")
                for row in self.rows(host, address)
            ]
            said.append("; ".join(dict.fromkeys(states)) or "no such device")
        if holder is not None:
            said.append(self.who(holder))
        return "; ".join(said) or "nothing read of it"

    def who(self, holder: str) -> str:
        """What Nova knows of the holder of a claim."""
        server, move = self.servers.get(holder), self.migrations.get(holder)
        if server:
            task = f"/{server.task}" if server.task else ""
            return f"server {server.name} is {server.status}{task} on {server.host or 'no host'}"
        if move:
            return f"migration {move.id} of server {move.server} is {move.status}"
        return f"no server or migration {holder}"

    def _placement_text(self, host: str, address: str) -> str:
        card = self.places.get((host, address))
        if card is None:
            return "no resource provider"
        holders = sorted(card.provider.allocations)
        if holders:
            return f"held by {', '.join(holders)}"
        stock = card.provider.inventories.values()
        return "reserved" if all(each.reserved >= each.total for each in stock) else "free"
