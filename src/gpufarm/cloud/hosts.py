"""A compute host by itself: its nova-compute, and the servers on it."""

from typing import TYPE_CHECKING, Any

import msgspec

from gpufarm.cloud.compute import migrations
from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, pages
from gpufarm.cloud.servers import show
from gpufarm.cloud.servers import value as server_value
from gpufarm.model.errors import NotInCloud
from gpufarm.model.server import Server

if TYPE_CHECKING:
    from openstack.connection import Connection


class Service(msgspec.Struct, frozen=True):
    """A nova-compute. `reason` is why it is disabled, "" where nobody said. One that is forced
    down counts as down whatever it reports."""

    id: str
    host: str
    up: bool
    enabled: bool
    reason: str
    forced_down: bool


def service(connection: "Connection", host: str) -> Service:
    """Raises NotInCloud, with the names that there are, CloudError."""
    with faults("reading compute services"):
        found = get(connection.compute, "/os-services?binary=nova-compute")["services"]
    for each in found:
        if each["host"] == host:
            return Service(
                id=each["id"],
                host=host,
                up=each["state"] == "up",
                enabled=each["status"] == "enabled",
                reason=each.get("disabled_reason") or "",
                forced_down=each["forced_down"],
            )
    names = ", ".join(sorted(each["host"] for each in found)) or "none"
    raise NotInCloud("compute host", host, f"there are: {names}")


def enable(connection: "Connection", found: Service) -> None:
    _put(connection, found, {"status": "enabled"})


def disable(connection: "Connection", found: Service, reason: str) -> None:
    """No server starts on it any more; those that run go on."""
    _put(connection, found, {"status": "disabled", "disabled_reason": reason})


def force_down(connection: "Connection", found: Service, *, down: bool) -> None:
    """State that the host is dead, or take that back. Raises CloudError."""
    _put(connection, found, {"forced_down": down})


def evacuated(connection: "Connection", host: str) -> tuple[str, ...]:
    """Ids of servers that were evacuated from it, and that its nova-compute has not cleaned up
    after yet: it does so when it starts. Raises CloudError."""
    with faults("reading migrations"):
        query = [("source_compute", host), ("migration_type", "evacuation"), ("status", "done")]
        found = pages(connection.compute, "/os-migrations", "migrations", query, "uuid")
        return tuple(sorted({each["instance_uuid"] for each in found}))


def forget(connection: "Connection", found: Service) -> None:
    """Its service, its compute node and its host mapping go from Nova. CloudConflict while it has
    servers; raises CloudError."""
    doing = f"removing nova-compute on {found.host}"
    call(connection.compute, doing, "DELETE", f"/os-services/{found.id}")


def _put(connection: "Connection", found: Service, body: dict[str, Any]) -> None:
    said = ", ".join(f"{name} {value}" for name, value in body.items())
    doing = f"setting nova-compute on {found.host} to {said}"
    call(connection.compute, doing, "PUT", f"/os-services/{found.id}", json=body)


def servers_on(connection: "Connection", host: str) -> tuple[Server, ...]:
    """Servers of all projects that are on the host. Raises CloudError."""
    with faults("reading servers"):
        query = [("all_tenants", "1"), ("host", host)]
        found = pages(connection.compute, "/servers/detail", "servers", query)
        return tuple(server_value(each) for each in found)


def leaving(connection: "Connection", host: str) -> tuple[Server, ...]:
    """Servers that are on another host by now, and whose move from this one is not over."""
    with_moves = {
        each.server
        for each in migrations(connection)
        if each.source == host and each.kind in {"migration", "resize"} and each.status != "error"
    }
    gone_from_here = []
    for server_id in sorted(with_moves):
        try:
            found = show(connection, server_id)
        except NotInCloud:
            continue
        if found.host != host:
            gone_from_here.append(found)
    return tuple(gone_from_here)
