"""Reading Nova: which consumers of allocations it knows."""

from typing import TYPE_CHECKING

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import get_each, pages

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
