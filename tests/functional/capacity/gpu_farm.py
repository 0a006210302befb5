"""What the tests of capacity share: making servers, reading the tables."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from running_lab import RunningLab

from gpufarm.cloud import servers
from gpufarm.model.server import Order, Server

Create = Callable[..., dict[str, Any]]


def create_words(name: str, flavor: str) -> list[str]:
    words = ["server", "create", name, "--flavor", flavor, "--image", "t.image"]
    return [*words, "--network", "none"]


def start(lab: RunningLab, flavor: str, zone: str | None = None) -> Server:
    """A server past gpufarm's own check, once it is built or refused by the scheduler.

    Raises CloudRefused where Nova's API refuses it.
    """
    order = Order(
        name=f"t-{uuid.uuid4()}", flavor=flavor, image="t.image", network="none", zone=zone
    )
    flavor_id = lab.connection.compute.find_flavor(flavor).id
    made = servers.create(lab.connection, order, flavor_id)
    return servers.follow(lab.connection, made, 60, lambda _: None)


def delete_servers(lab: RunningLab, *names: str) -> None:
    """Those of these names, or all; returns when they are gone."""
    compute = lab.connection.compute
    found = [server for server in compute.servers() if not names or server.name in names]
    for server in found:
        compute.delete_server(server)
    for server in found:
        compute.wait_for_delete(server, interval=0.3, wait=60)


def capacity(lab: RunningLab) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(lab.run("capacity", "-f", "json").stdout)
    return shown


def row(shown: dict[str, Any], host: str) -> dict[str, Any]:
    """The one row of cards of `host`."""
    (found,) = [row for row in shown["cards"] if row["host"] == host]
    return dict(found)


def can_start(shown: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {row["flavor"]: (row["can_start"], row["limited_by"]) for row in shown["flavors"]}
