"""Making one server and following it; which cards it got."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gpufarm.cloud import placement
from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, pages, raise_for
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.errors import CloudConflict, CloudRefused, NotInCloud, ServerFailed
from gpufarm.model.server import Order, Server

if TYPE_CHECKING:
    from openstack.connection import Connection

CONSOLE_LINES = 20_000

FIRST_WAIT = 0.3
LONGEST_WAIT = 3.0

IN_PROGRESS = "BUILD"
FAILED = "ERROR"


def named(connection: "Connection", name: str) -> tuple[Server, ...]:
    """Servers of the project that have exactly this name."""
    with faults("reading servers"):
        # Nova matches a part of the name, or a regular expression, depending on its database.
        found = pages(connection.compute, "/servers/detail", "servers")
        return tuple(value(entry) for entry in found if entry["name"] == name)


def show(connection: "Connection", server_id: str) -> Server:
    with faults("reading a server"):
        return value(get(connection.compute, f"/servers/{server_id}")["server"])


def image_id(connection: "Connection", name_or_id: str) -> str:
    """Raises NotInCloud, and CloudError where several images have the name."""
    with faults("reading images"):
        found = connection.image.find_image(name_or_id)
    if found is None:
        raise NotInCloud("image", name_or_id, "`openstack image list` shows those there are")
    return str(found.id)


def image_properties(connection: "Connection", name_or_id: str) -> dict[str, str]:
    """By Nova's names (`hw_numa_nodes`, `trait:NAME`). Raises as image_id does."""
    with faults("reading images"):
        found = get(connection.image, f"/images/{image_id(connection, name_or_id)}")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def properties_of(connection: "Connection", image: str) -> dict[str, str]:
    """Of the image of that id, as `image_properties`; nothing where it is gone."""
    try:
        return image_properties(connection, image)
    except NotInCloud:
        return {}


def find(connection: "Connection", name_or_id: str) -> Server | None:
    """The server of that id, or the one of that name in any project; None where there is none.

    Raises CloudConflict where several have the name.
    """
    with faults("reading servers"):
        answer = connection.compute.get(f"/servers/{quote(name_or_id, safe='')}")
        if answer.status_code != HTTPStatus.NOT_FOUND:
            raise_for(answer)
            return value(answer.json()["server"])
        query = [("all_tenants", "1")]
        found = [
            entry
            for entry in pages(connection.compute, "/servers/detail", "servers", query)
            if entry["name"] == name_or_id
        ]
    if len(found) > 1:
        raise CloudConflict(f"{len(found)} servers are named {name_or_id}: use the id")
    return show(connection, found[0]["id"]) if found else None


def console(connection: "Connection", server_id: str) -> str:
    """The end of what it printed on its console; "" where its hypervisor keeps none.

    Raises CloudError.
    """
    path = f"/servers/{server_id}/action"
    body = {"os-getConsoleOutput": {"length": CONSOLE_LINES}}
    answer = call(connection.compute, "reading a console", "POST", path, json=body)
    return str(answer.get("output") or "")


def flavor_of(connection: "Connection", server_id: str) -> CloudFlavor:
    """The flavor as the server was made of it, which Nova keeps with it. Raises CloudError."""
    with faults("reading a server"):
        found = get(connection.compute, f"/servers/{server_id}")["server"]["flavor"]
    return CloudFlavor(
        id="",
        name=found["original_name"],
        vcpus=found["vcpus"],
        memory_mb=found["ram"],
        disk_gb=found["disk"],
        public=False,
        properties=found["extra_specs"],
        ephemeral_gb=found["ephemeral"],
        swap_mb=found["swap"],
    )


def image_name(connection: "Connection", server: Server) -> str | None:
    """Its name, or its id where it is gone; None for a server that boots from a volume."""
    if server.image_id is None:
        return None
    with faults("reading images"):
        found = connection.image.find_image(server.image_id)
    return str(found.name) if found else server.image_id


def create(connection: "Connection", order: Order, flavor_id: str) -> str:
    """Ask Nova for the server; returns its id. Raises CloudError, NotInCloud."""
    asked: dict[str, Any] = {
        "name": order.name,
        "flavor_id": flavor_id,
        "image_id": image_id(connection, order.image),
        "networks": _networks(connection, order.network),
    }
    if order.zone:
        asked["availability_zone"] = order.zone
    with faults(f"creating server {order.name}"):
        return str(connection.compute.create_server(**asked).id)


def follow(
    connection: "Connection", server_id: str, timeout: float, told: Callable[[str], None]
) -> Server:
    """The server once it is no longer being built; ServerFailed where that takes too long.

    `told` hears of each new step. One that ended in ERROR is returned like any other.
    """
    deadline = time.monotonic() + timeout
    wait, last = FIRST_WAIT, ""
    while True:
        server = show(connection, server_id)
        if server.status != IN_PROGRESS:
            return server
        step = f"{server.name}: {server.task or 'building'}"
        if step != last:
            told(step)
            last = step
        if time.monotonic() >= deadline:
            raise ServerFailed(
                server.name,
                f"still {server.status} ({server.task or 'no task'}) after {timeout:g} seconds: it "
                f"goes on; look with `openstack server show {server_id}`",
            )
        time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
        wait = min(wait * 1.3, LONGEST_WAIT)


def held(connection: "Connection", server: Server) -> dict[str, dict[str, int]]:
    """{provider uuid: {resource class: amount}} of its host alone; all for who may not see that.

    Raises NotInCloud, CloudError.
    """
    if server.hypervisor is None:
        return placement.held_by(connection, [server.id]).get(server.id, {})
    return placement.held_on(connection, server.id, server.hypervisor)


def cards(connection: "Connection", server: Server) -> list[str]:
    """PCI addresses of the cards that Placement has allocated to the server on its host, in order.

    Nova names a device's provider <hypervisor_hostname>_<address>
    (nova/compute/pci_placement_translator.py). Empty for who may not read Placement.
    """
    try:
        names = placement.provider_names(connection, list(held(connection, server)))
    except CloudRefused:
        return []
    addresses = [name.rpartition("_")[2].lower() for name in names]
    return sorted(address for address in addresses if ":" in address)


def _networks(connection: "Connection", network: str) -> Any:
    if network in ("auto", "none"):
        return network
    with faults("reading networks"):
        found = connection.network.find_network(network)
    if found is None:
        raise NotInCloud("network", network, "`openstack network list` shows those there are")
    return [{"uuid": found.id}]


def value(entry: dict[str, Any]) -> Server:
    """Of a server as Nova shows it in detail."""
    return Server(
        id=entry["id"],
        name=entry["name"],
        status=entry["status"],
        task=entry.get("OS-EXT-STS:task_state"),
        host=entry.get("OS-EXT-SRV-ATTR:host"),
        hypervisor=entry.get("OS-EXT-SRV-ATTR:hypervisor_hostname"),
        flavor=entry["flavor"]["original_name"],
        # Nova gives an empty string for a server that boots from a volume.
        image_id=(entry.get("image") or {}).get("id"),
        addresses={
            network: tuple(port["addr"] for port in ports)
            for network, ports in entry.get("addresses", {}).items()
        },
        fault=entry.get("fault", {}).get("message", ""),
        project=entry.get("tenant_id"),
        zone=entry.get("pinned_availability_zone"),
        groups=tuple(entry.get("server_groups", ())),
    )
