"""Starting a server that wants cards: asked first, followed, explained when it fails (SC-6)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpufarm.capacity import admission, facts
from gpufarm.capacity.aliases import asked
from gpufarm.capacity.facts import Question
from gpufarm.cloud import catalog, servers
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.errors import (
    CloudConflict,
    CloudRefused,
    NotAdmitted,
    NotInCloud,
    ServerFailed,
)
from gpufarm.model.server import Order, Server

if TYPE_CHECKING:
    from openstack.connection import Connection

Told = Callable[[str], None]


def boot(
    connection: "Connection",
    order: Order,
    told: Told,
    note: Told,
    known: Question | None = None,
) -> Server:
    """The server, ACTIVE. `told` hears of each step, `note` of what the user should know; `known`
    is what is known without asking the cloud.

    Raises NotAdmitted before Nova is asked, ServerFailed where Nova gave up, CloudError.
    """
    flavor = find_flavor(catalog.flavors(connection), order.flavor)
    if asked(flavor):
        told(f"checking that {order.name} can have its cards")
        _admit(connection, flavor, order, note, known)
    told(f"asking for server {order.name}")
    server_id = servers.create(connection, order, flavor.id)
    return finish(connection, server_id, order, told)


def _admit(
    connection: "Connection", flavor: CloudFlavor, order: Order, note: Told, known: Question | None
) -> None:
    """Raise NotAdmitted, or say why it cannot be known: Nova decides then."""
    try:
        image = servers.image_properties(connection, order.image)
        snapshot = facts.read(connection, question=known)
        wanted = admission.need_of(snapshot, flavor, order.zone, image)
        snapshot = facts.with_candidates(connection, snapshot, [wanted])
    except CloudRefused as error:
        note(f"not checked beforehand: {error}")
        return
    doubt = admission.unjudged(snapshot, flavor)
    if doubt:
        note(f"not checked beforehand: {doubt}")
    reason = admission.refusal(snapshot, flavor, order.zone, image)
    if reason:
        raise NotAdmitted(flavor.name, reason)
    for doubt in admission.doubts(snapshot, flavor, order.zone, image):
        note(f"not checked beforehand: {doubt}")


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
    flavor = find_flavor(catalog.flavors(connection), order.flavor)
    if server.flavor != flavor.name:
        note(f"server {order.name} exists, with flavor {server.flavor} and not {flavor.name}")
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
    said = server.fault.strip().rstrip(".") or "no reason given"
    return ServerFailed(
        server.name,
        f"Nova could not start it ({said}): {_reason(connection, server, order)}. It is left in "
        f"ERROR: `openstack server delete {server.id}`",
    )


def _reason(connection: "Connection", server: Server, order: Order) -> str:
    try:
        snapshot = facts.read(connection)
        flavor = find_flavor(snapshot.flavors, server.flavor)
    except CloudRefused:
        return "an administrator can see why with `gpufarm capacity`"
    except NotInCloud:  # the flavor is gone meanwhile
        return "its flavor is gone"
    return admission.refusal(snapshot, flavor, order.zone) or (
        "Placement and Nova show room for it: the logs of nova-scheduler and nova-compute say more"
    )
