"""Reading the four layers, and looking twice.

What is decided here: the order, and what counts as seen. Placement is read first, then Nova, which
knows a server before anything is allocated to it. No call reads two layers at once, so that a
claim on the way from one to the next looks wrong for a moment: only what two readings find alike is
shown.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gpufarm.claims.findings import Finding, findings
from gpufarm.cloud import catalog, compute, nova_database, placement, placement_database
from gpufarm.model.claims import DeviceRow, Guest, HostCard, Layers, NovaLayer, ServerState
from gpufarm.model.cloud import Provider, hypervisor_of

if TYPE_CHECKING:
    from openstack.connection import Connection

Told = Callable[[str], None]

SECOND_LOOK_SECONDS = 2.0
"""Between the steps of a deletion lies one call of nova-compute to Placement."""


def _nothing() -> dict[str, tuple[Guest, ...]]:
    return {}


def _not_known(_host: str) -> frozenset[str] | None:
    return None


def _no_hosts() -> dict[str, dict[str, HostCard]]:
    return {}


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to read besides the APIs.

    `databases` are URLs of Nova's, `placement` of Placement's; None without any. `offered` says
    which resource classes of cards the settings of a nova-compute offer.
    """

    databases: tuple[str, ...] | None = None
    placement: str | None = None
    guests: Callable[[], dict[str, tuple[Guest, ...]]] = _nothing
    hosts: Callable[[], dict[str, dict[str, HostCard]]] = _no_hosts
    offered: Callable[[str], frozenset[str] | None] = _not_known


def check(
    connection: "Connection", sources: Sources, patience: float, told: Told = lambda _: None
) -> tuple[Finding, ...]:
    """What is found twice. Raises CloudError, DatabaseError."""
    first = findings(read(connection, sources, patience, told), patience)
    if not first:
        return ()
    told("a second look")
    time.sleep(SECOND_LOOK_SECONDS)
    again = findings(read(connection, sources, patience, told), patience)
    return tuple(found for found in again if found in first)


def look_again(connection: "Connection", sources: Sources, patience: float, found: Finding) -> bool:
    """Whether `found` still holds; only its host is read. Raises CloudError, DatabaseError."""
    layers = read(connection, sources, patience, only=(found.host,))
    return found in findings(layers, patience)


def read(
    connection: "Connection",
    sources: Sources,
    patience: float,
    told: Told = lambda _: None,
    only: tuple[str, ...] = (),
) -> Layers:
    """All layers, or what they say of the hosts in `only`. Raises CloudError, DatabaseError."""
    # Before anything is read: what changes meanwhile is as recent as what changed a moment ago.
    at = time.time()
    hosts = catalog.compute_hosts(connection)
    hypervisors = [hypervisor_of(hosts, host) for host in only]
    told("resource providers and allocations")
    if only:
        roots = [placement.root_of(connection, hypervisor) for hypervisor in hypervisors]
        providers = tuple(each for root in roots for each in placement.providers(connection, root))
    elif sources.placement is None:
        providers = placement.providers(connection)
    else:
        providers = placement_database.providers(sources.placement)
    told("Nova's database, guests and hosts")
    rows = None if sources.databases is None else nova_database.rows(sources.databases)
    if only and rows is not None:
        rows = tuple(row for row in rows if row.hypervisor in hypervisors)
    guests, functions = sources.guests(), sources.hosts()
    told("servers and migrations")
    seen = {host: found for host, found in guests.items() if not only or host in only}
    holders = _holders(providers, rows, seen)
    servers, deleted = _servers(connection, holders, at - patience, every=not only)
    moves = {migration.uuid: migration for migration in compute.migrations(connection)}
    missing = {move.server for move in moves.values()} - servers.keys()
    if missing:
        servers |= compute.states_of(connection, sorted(missing))
    return Layers(
        at=at,
        placement=providers,
        nova=NovaLayer(hosts=hosts, servers=servers, migrations=moves, deleted=deleted, rows=rows),
        guests=guests,
        hosts=functions,
        offered={
            host.name: classes
            for host in hosts
            if (classes := sources.offered(host.name)) is not None
        },
    )


def _holders(
    providers: tuple[Provider, ...],
    rows: tuple[DeviceRow, ...] | None,
    guests: dict[str, tuple[Guest, ...]],
) -> set[str]:
    """Whoever has a card by any layer."""
    return {
        *(consumer for each in providers for consumer in each.allocations),
        *(row.server for row in rows or () if row.server),
        *(guest.id for found in guests.values() for guest in found if guest.devices),
    }


def _servers(
    connection: "Connection", holders: set[str], since: float, *, every: bool
) -> tuple[dict[str, ServerState], frozenset[str]]:
    """Servers by id, and those of `holders` that were deleted after `since`.

    Lists leave soft-deleted servers out: a holder that is in none is asked for by itself.
    """
    found = {each.id: each for each in compute.server_states(connection)} if every else {}
    doubtful = sorted(holders - found.keys())
    if not doubtful:
        return found, frozenset()
    found |= compute.states_of(connection, doubtful)
    gone = frozenset(doubtful) - found.keys()
    return found, gone & compute.deleted_since(connection, since) if gone else frozenset()
