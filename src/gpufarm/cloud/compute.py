"""Reading Nova: which consumers of allocations it knows."""

from typing import TYPE_CHECKING

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import get_each, pages
from gpufarm.model.cloud import NodeShare

if TYPE_CHECKING:
    from openstack.connection import Connection

UNDER_WAY = (
    "accepted",
    "confirming",
    "error",
    "finished",
    "migrating",
    "post-migrating",
    "pre-migrating",
    "preparing",
    "queued",
    "reverting",
    "running",
)
"""States of a migration that may hold what the server had on its source.

Nova has no list of them; these are what nova/compute and nova/conductor assign before the end.
`error` is among them: the source of a move that failed may still be what an operator goes back to.
"""


def server_ids(connection: "Connection") -> frozenset[str]:
    """Servers of all projects, those being built among them."""
    with faults("reading servers"):
        found = pages(connection.compute, "/servers", "servers", [("all_tenants", "1")])
        return frozenset(server["id"] for server in found)


def servers_among(connection: "Connection", ids: list[str]) -> frozenset[str]:
    """Those of `ids` that are servers, soft-deleted ones too, which lists leave out."""
    with faults("reading servers"):
        found = get_each(connection.compute, [f"/servers/{id_}" for id_ in ids])
    return frozenset(id_ for id_, document in zip(ids, found, strict=True) if document)


def node_shares(connection: "Connection") -> dict[str, tuple[NodeShare, ...]]:
    """{host: what servers have of its NUMA nodes}, of servers with a NUMA topology of their own.

    One call for each server. Raises CloudError.
    """
    with faults("reading the NUMA topologies of servers"):
        query = [("all_tenants", "1")]
        found = list(pages(connection.compute, "/servers/detail", "servers", query))
        placed = [(each["id"], each.get("OS-EXT-SRV-ATTR:host")) for each in found]
        placed = [(id_, host) for id_, host in placed if host]
        paths = [f"/servers/{id_}/topology" for id_, _ in placed]
        documents = get_each(connection.compute, paths)
    shares: dict[str, tuple[NodeShare, ...]] = {}
    for (_, host), document in zip(placed, documents, strict=True):
        nodes = document["nodes"] if document else ()
        shares[host] = shares.get(host, ()) + tuple(
            NodeShare(
                node=node["host_node"], cpus=len(node["vcpu_set"]), memory_mb=node["memory_mb"]
            )
            for node in nodes
            if node.get("host_node") is not None
        )
    return shares


def migration_ids(connection: "Connection") -> frozenset[str]:
    """Migrations that are under way or wait to be confirmed."""
    with faults("reading migrations"):
        return frozenset(
            migration["uuid"]
            for status in UNDER_WAY
            for migration in pages(
                connection.compute, "/os-migrations", "migrations", [("status", status)], "uuid"
            )
        )
