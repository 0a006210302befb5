"""Starting a server that wants cards: asked first, followed, explained when it fails (SC-6)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpufarm.capacity import admission, facts
from gpufarm.capacity.aliases import asked
from gpufarm.cloud import catalog, servers
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.errors import CloudConflict, NotAdmitted, NotInCloud, ServerFailed
from gpufarm.model.server import Order, Server

if TYPE_CHECKING:
    from openstack.connection import Connection

Told = Callable[[str], None]


def boot(connection: "Connection", order: Order, told: Told, note: Told) -> Server:
    """The server, ACTIVE. `told` hears of each step, `note` of what the user should know.

    Raises NotAdmitted before Nova is asked, ServerFailed where Nova gave up, CloudError.
    """
    flavor = find_flavor(catalog.flavors(connection), order.flavor)
    if asked(flavor):
        told(f"checking that {order.name} can have its cards")
        snapshot = facts.read(connection)
        doubt = admission.unjudged(snapshot, flavor)
        if doubt:
            note(f"not checked beforehand: {doubt}")
        reason = admission.refusal(snapshot, flavor, order.zone)
        if reason:
            raise NotAdmitted(flavor.name, reason)
    told(f"asking for server {order.name}")
    server_id = servers.create(connection, order, flavor.id)
    return finish(connection, server_id, order, told)


def existing(connection: "Connection", order: Order, told: Told, note: Told) -> Server | None:
    """The project's server of that name, ACTIVE or stopped; None where there is none.

    Raises ServerFailed for one in ERROR, CloudConflict where several have the name.
    """
    found = servers.named(connection, order.name)
    if not found:
        return None
    if len(found) > 1:
        raise CloudConflict(f"{len(found)} servers are named {order.name}: use another name")
    server = found[0]
    if server.status == servers.IN_PROGRESS:
        return finish(connection, server.id, order, told)
    if server.status == servers.FAILED:
        raise _failed(connection, server, order)
    if server.flavor != order.flavor:
        note(f"server {order.name} exists, with flavor {server.flavor}")
    return server


def finish(connection: "Connection", server_id: str, order: Order, told: Told) -> Server:
    """The server once it is built; ServerFailed, with a reason, where it could not be."""
    server = servers.follow(connection, server_id, order.timeout, told)
    if server.status == servers.FAILED:
        raise _failed(connection, server, order)
    return server


def find_flavor(flavors: tuple[CloudFlavor, ...], name_or_id: str) -> CloudFlavor:
    """Raises NotInCloud, with the names that there are."""
    for flavor in flavors:
        if name_or_id in (flavor.id, flavor.name):
            return flavor
    names = ", ".join(sorted(flavor.name for flavor in flavors)) or "none"
    raise NotInCloud("flavor", name_or_id, f"there are: {names}")


def _failed(connection: "Connection", server: Server, order: Order) -> ServerFailed:
    """Nova's own text, and what stands in the way now: it often names no device and no reason."""
    snapshot = facts.read(connection)
    flavor = find_flavor(snapshot.flavors, server.flavor)
    reason = admission.refusal(snapshot, flavor, order.zone) or (
        "Placement and Nova show room for it: the logs of nova-scheduler and nova-compute say more"
    )
    said = server.fault.strip().rstrip(".") or "no reason given"
    return ServerFailed(
        server.name,
        f"Nova could not start it ({said}): {reason}. It is left in ERROR: "
        f"`openstack server delete {server.id}`",
    )
