"""Reading Nova: servers and migrations, and which consumers of allocations it knows."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, get_each, pages
from gpufarm.model.claims import Migration, ServerState
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


DOWN_CELL = "UNKNOWN"


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
    return frozenset(migration.uuid for migration in migrations(connection))


def migrations(connection: "Connection") -> tuple[Migration, ...]:
    """Those that are under way or wait to be confirmed. Raises CloudError."""
    with faults("reading migrations"):
        return tuple(
            _migration(found)
            for status in UNDER_WAY
            for found in pages(
                connection.compute, "/os-migrations", "migrations", [("status", status)], "uuid"
            )
        )


def newest_migration(connection: "Connection", server_id: str) -> Migration | None:
    """Of the server, whatever became of it. Raises CloudError."""
    with faults("reading migrations"):
        # Nova lists the newest first (api/openstack/compute/migrations.py).
        query = f"/os-migrations?instance_uuid={server_id}&limit=1"
        found = get(connection.compute, query)["migrations"]
    return _migration(found[0]) if found else None


def down(connection: "Connection") -> frozenset[str]:
    """The nova-computes that do not report. Raises CloudError."""
    with faults("reading compute services"):
        found = get(connection.compute, "/os-services?binary=nova-compute")["services"]
    return frozenset(each["host"] for each in found if each["state"] != "up")


def server_states(connection: "Connection") -> tuple[ServerState, ...]:
    """Servers of all projects as an administrator sees them. Raises CloudError."""
    with faults("reading servers"):
        query = [("all_tenants", "1")]
        found = pages(connection.compute, "/servers/detail", "servers", query)
        return tuple(_state(each) for each in found)


def states_of(connection: "Connection", ids: list[str]) -> dict[str, ServerState]:
    """{id: server} of those of `ids` that are there, soft-deleted ones too. Raises CloudError."""
    with faults("reading servers"):
        found = get_each(connection.compute, [f"/servers/{id_}" for id_ in ids])
    return {
        id_: _state(document["server"])
        for id_, document in zip(ids, found, strict=True)
        if document
    }


def deleted_since(connection: "Connection", when: float) -> frozenset[str]:
    """Servers that were deleted after that time (seconds since 1970). Raises CloudError."""
    since = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = [("all_tenants", "1"), ("changes-since", since)]
    with faults("reading deleted servers"):
        found = pages(connection.compute, "/servers/detail", "servers", query)
        return frozenset(each["id"] for each in found if each["status"] == "DELETED")


def set_state(connection: "Connection", server_id: str, state: str) -> None:
    """Set `active` or `error`, which ends any task too. Raises CloudError."""
    body = {"os-resetState": {"state": state}}
    path = f"/servers/{server_id}/action"
    call(connection.compute, f"setting server {server_id} to {state}", "POST", path, json=body)


def delete_server(connection: "Connection", server_id: str) -> None:
    """Ask for it; it goes on without us. Raises CloudError."""
    call(connection.compute, f"deleting server {server_id}", "DELETE", f"/servers/{server_id}")


def _state(found: Any) -> ServerState:
    """Of a server in a cell that does not answer Nova shows little but its id, and this status
    (api-guide, Handling Down Cells): nobody can say that it sits still."""
    if found["status"] == DOWN_CELL:
        return ServerState(
            id=found["id"],
            name="",
            status=DOWN_CELL,
            task=DOWN_CELL,
            host=None,
            updated=_seconds(found["created"]),
            launched=True,
        )
    return ServerState(
        id=found["id"],
        name=found["name"],
        status=found["status"],
        task=found["OS-EXT-STS:task_state"],
        host=found["OS-EXT-SRV-ATTR:host"],
        updated=_seconds(found["updated"]),
        launched=found["OS-SRV-USG:launched_at"] is not None,
    )


def _migration(found: Any) -> Migration:
    return Migration(
        id=found["id"],
        uuid=found["uuid"],
        server=found["instance_uuid"],
        status=found["status"],
        kind=found["migration_type"] or "",
        source=found["source_compute"],
        target=found["dest_compute"],
        updated=_seconds(found["updated_at"] or found["created_at"]),
    )


def _seconds(text: str) -> float:
    """Since 1970; Nova's times are UTC, some of them without saying so."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
