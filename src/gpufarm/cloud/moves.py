"""Moving a server, confirming it, starting it, and what Nova says of why that failed."""

from typing import TYPE_CHECKING, Any

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get

if TYPE_CHECKING:
    from openstack.connection import Connection

MOVING = frozenset(("migrate", "live-migration", "confirmResize", "reboot", "evacuate"))

KEEPS_RUNNING = "2.94"
"""From 2.95 a server that was evacuated is off (api/openstack/compute/evacuate.py)."""


def migrate(connection: "Connection", server_id: str, host: str | None) -> None:
    """Move it cold, to `host` if that passes the scheduler. Raises CloudError."""
    _act(connection, server_id, "moving", {"migrate": {"host": host} if host else None})


def migrate_live(connection: "Connection", server_id: str, host: str | None) -> None:
    """Move it while it runs. Raises CloudError."""
    body = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
    _act(connection, server_id, "moving", body)


def evacuate(connection: "Connection", server_id: str, host: str | None) -> None:
    """Make it anew on another host, or on `host` if that passes the scheduler; its own has to be
    down by what Nova knows. Raises CloudError."""
    body = {"evacuate": {"host": host} if host else {}}
    _act(connection, server_id, "evacuating", body, microversion=KEEPS_RUNNING)


def confirm(connection: "Connection", server_id: str) -> None:
    _act(connection, server_id, "confirming the move of", {"confirmResize": None})


def reboot_hard(connection: "Connection", server_id: str) -> None:
    """Start it on the host that it is on, from any state. Raises CloudError."""
    _act(connection, server_id, "starting", {"reboot": {"type": "HARD"}})


def why(connection: "Connection", server_id: str) -> str:
    """What Nova says of the newest step of a move that failed; "" where none did."""
    path = f"/servers/{server_id}/os-instance-actions"
    with faults("reading what was done to a server"):
        actions = get(connection.compute, path)["instanceActions"]
        failed = [each for each in actions if each["action"] in MOVING and each["message"]]
        if not failed:
            return ""
        found = get(connection.compute, f"{path}/{failed[0]['request_id']}")["instanceAction"]
    said = [each["details"] for each in found["events"] if each.get("details")]
    return " ".join(str(said[0]).split()).rstrip(".") if said else str(failed[0]["message"])


def _act(
    connection: "Connection", server_id: str, doing: str, body: dict[str, Any], **more: Any
) -> None:
    path = f"/servers/{server_id}/action"
    call(connection.compute, f"{doing} server {server_id}", "POST", path, json=body, **more)
