"""Reading the snapshot that capacity is decided on.

What is decided here: the order. Nova knows a server before the scheduler allocates anything for it
(nova/compute/api.py makes the instance first), so that Placement is read first, and a consumer that
Nova then does not know is either gone again or lost. Nova drops a server before its allocations
(nova/compute/manager.py, _complete_deletion), so that a suspect is looked at twice.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gpufarm.capacity.cards import suspects
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.cloud import catalog, compute, placement
from gpufarm.model.cloud import Provider

if TYPE_CHECKING:
    from openstack.connection import Connection

# Between the two steps of a deletion lies one call of nova-compute to Placement.
SECOND_LOOK_SECONDS = 2.0


def read(connection: "Connection", step: Callable[[str], None] = lambda _: None) -> Snapshot:
    """One snapshot; `step` is told what is being read. Raises CloudError."""
    step("resource providers and allocations")
    providers = placement.providers(connection)
    step("servers")
    servers = compute.server_ids(connection)
    step("hosts, flavors and aggregates")
    snapshot = Snapshot(
        providers=providers,
        hosts=catalog.compute_hosts(connection),
        flavors=catalog.flavors(connection),
        aggregates=catalog.aggregates(connection),
    )
    doubtful = sorted(suspects(snapshot, servers))
    if not doubtful:
        return snapshot
    step(f"{len(doubtful)} holders of cards that are not in Nova's list of servers")
    lost, gone = _settle(connection, doubtful)
    return msgspec.structs.replace(
        snapshot, providers=tuple(without(found, gone) for found in providers), lost=lost
    )


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
