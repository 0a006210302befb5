"""Reading the snapshot that capacity is decided on.

What is decided here: the order. Nova knows a server before the scheduler allocates anything for it
(nova/compute/api.py makes the instance first), so that Placement is read first, and a consumer that
Nova then does not know is either gone again or lost. Nova drops a server before its allocations
(nova/compute/manager.py, _complete_deletion), so that a suspect is looked at twice.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from gpufarm.capacity import numa, request
from gpufarm.capacity.aliases import known
from gpufarm.capacity.candidates import crowded
from gpufarm.capacity.cards import suspects
from gpufarm.capacity.cells import cells
from gpufarm.capacity.obstacles import rules
from gpufarm.capacity.quota import under_keystone
from gpufarm.capacity.rooms import Need, need, rooms, traits_of
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.cloud import catalog, compute, placement, placement_database, quota
from gpufarm.model.cloud import Limit, Provider
from gpufarm.model.host import HostFile

if TYPE_CHECKING:
    from openstack.connection import Connection

Told = Callable[[str], None]

# Between the two steps of a deletion lies one call of nova-compute to Placement.
SECOND_LOOK_SECONDS = 2.0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read beside the cards: hosts without any, another project's quota, traits.

    `scheduler` and `hardware` are what is known without asking the cloud. `placement_database` is
    the URL of Placement's, read instead of its API where hosts without cards are not asked for.
    """

    every_host: bool = False
    project: str | None = None
    traits: frozenset[str] = frozenset()
    scheduler: Scheduler = Scheduler()
    hardware: tuple[HostFile, ...] = ()
    placement_database: str | None = None


def read(
    connection: "Connection",
    step: Told = lambda _: None,
    question: Question | None = None,
) -> Snapshot:
    """One snapshot; `step` is told what is being read. Raises CloudError, DatabaseError.

    Without a `question` it is that of `capacity`: hosts with cards, the connection's project.
    """
    asked = question or Question()
    hosts = catalog.compute_hosts(connection) if asked.every_host else ()
    step("resource providers and allocations")
    if asked.placement_database and not asked.every_host:
        providers = placement_database.providers(asked.placement_database)
    else:
        names = [host.hypervisor_hostname for host in hosts]
        providers = placement.providers(connection, hosts=names)
    step("servers")
    servers = compute.server_ids(connection)
    step("hosts, flavors and aggregates")
    project = asked.project or connection.current_project_id
    flavors = catalog.flavors(connection)
    snapshot = Snapshot(
        providers=providers,
        hosts=hosts or catalog.compute_hosts(connection),
        flavors=flavors,
        aggregates=catalog.aggregates(connection),
        traits=placement.with_traits(connection, traits_of(flavors) | asked.traits),
        project=project,
        scheduler=asked.scheduler,
    )
    snapshot = msgspec.structs.replace(snapshot, limits=_limits(connection, snapshot))
    doubtful = sorted(suspects(snapshot, servers))
    if doubtful:
        step(f"{len(doubtful)} holders of cards that are not in Nova's list of servers")
        lost, gone = _settle(connection, doubtful)
        kept = tuple(without(found, gone) for found in providers)
        snapshot = msgspec.structs.replace(snapshot, providers=kept, lost=lost)
    if asked.hardware and any(numa.shape(flavor, {}) for flavor in flavors):
        step("NUMA topologies of servers")
        shares = compute.node_shares(connection)
        snapshot = msgspec.structs.replace(snapshot, cells=cells(snapshot, asked.hardware, shares))
    return snapshot


def _limits(connection: "Connection", snapshot: Snapshot) -> tuple[Limit, ...]:
    """The project's, from Keystone where the settings say that Nova goes by those."""
    if not snapshot.project:
        return ()
    unified = snapshot.scheduler.unified_limits
    if unified is None:
        return quota.limits(connection, snapshot.project)
    wishes = (need(flavor, known(snapshot)) for flavor in snapshot.flavors)
    names = {name for wanted in wishes if wanted for name in under_keystone(wanted)}
    barred = [name for name in names if unified.barred(name)]
    return quota.unified_limits(connection, snapshot.project, barred)


def with_candidates(
    connection: "Connection",
    snapshot: Snapshot,
    wishes: Iterable[Need | None],
    step: Told = lambda _: None,
) -> Snapshot:
    """`snapshot` with Placement's list for those of `wishes` whose list may lack hosts.

    One call for each of those, and none in most clouds. Raises CloudError.
    """
    found, by, lists = rooms(snapshot), rules(snapshot), {}
    for wanted in wishes:
        if wanted is not None and crowded(found, wanted, by):
            step(f"allocation candidates for {wanted.flavor}")
            asked = request.queries(snapshot, wanted)
            lists[wanted.flavor] = placement.candidates(connection, asked)
    return msgspec.structs.replace(snapshot, candidates=lists)


def _settle(connection: "Connection", doubtful: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Of `doubtful` those that nobody knows, and those that hold nothing any more."""
    unknown = frozenset(doubtful) - compute.migration_ids(connection)
    unknown -= compute.servers_among(connection, sorted(unknown))
    if not unknown:
        return frozenset(), frozenset()
    time.sleep(SECOND_LOOK_SECONDS)
    holding = {
        consumer
        for consumer, held in placement.held_by(connection, sorted(unknown)).items()
        if held
    }
    return unknown & holding, unknown - holding


def without(provider: Provider, gone: frozenset[str]) -> Provider:
    """`provider` as it is now that the consumers in `gone` hold nothing."""
    if not gone & provider.allocations.keys():
        return provider
    held = {
        consumer: amounts
        for consumer, amounts in provider.allocations.items()
        if consumer not in gone
    }
    return msgspec.structs.replace(
        provider,
        allocations=held,
        inventories={
            name: msgspec.structs.replace(
                inventory, used=sum(amounts.get(name, 0) for amounts in held.values())
            )
            for name, inventory in provider.inventories.items()
        },
    )
