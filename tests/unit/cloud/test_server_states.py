"""Servers and migrations as Nova shows them to an administrator."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

from test_rest import Response

from gpufarm.cloud import compute

SHOWN = {
    "id": "s",
    "name": "one",
    "status": "ACTIVE",
    "created": "2026-11-21T03:00:00Z",
    "updated": "2026-11-21T03:00:00Z",
    "OS-EXT-STS:task_state": None,
    "OS-EXT-SRV-ATTR:host": "h",
    "OS-SRV-USG:launched_at": "2026-11-21T03:00:00.000000",
}
DOWN = {"id": "t", "status": "UNKNOWN", "created": "2026-11-21T03:00:00Z"}


def connection(body: Any) -> Any:
    return mock.Mock(compute=SimpleNamespace(get=lambda _: Response(200, body)))


def test_servers_and_those_of_a_cell_that_does_not_answer() -> None:
    one, other = compute.server_states(connection({"servers": [SHOWN, DOWN]}))
    assert (one.status, one.task, one.host, one.launched) == ("ACTIVE", None, "h", True)
    assert one.updated == other.updated == 1795230000.0
    assert (other.status, other.task) == (compute.DOWN_CELL, compute.DOWN_CELL)


def test_only_deleted_ones_were_deleted() -> None:
    body = {"servers": [SHOWN, {**SHOWN, "id": "u", "status": "DELETED"}]}
    assert compute.deleted_since(connection(body), 0.0) == {"u"}


def test_a_migration_that_was_never_updated() -> None:
    found = {
        "id": 7,
        "uuid": "m",
        "instance_uuid": "s",
        "status": "queued",
        "migration_type": "migration",
        "source_compute": "h",
        "dest_compute": None,
        "created_at": "2026-11-21T03:00:00.000000",
        "updated_at": None,
    }
    move = compute.migrations(connection({"migrations": [found]}))[0]
    assert (move.uuid, move.target, move.updated) == ("m", None, 1795230000.0)
