"""Whether a server that exists finds room on another host.

What is decided here: what it asks for, which is its flavor as it was made (Nova keeps it with the
server, and moves it by that), its image's demands and its zone; and that the host it leaves does
not count. Its project's quota does not either: a move changes nothing of it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gpufarm.capacity import admission, facts
from gpufarm.capacity.aliases import asked
from gpufarm.capacity.facts import Question
from gpufarm.capacity.rooms import Need, traits_of
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.cloud import servers
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.server import Server

if TYPE_CHECKING:
    from openstack.connection import Connection


class Traveller(msgspec.Struct, frozen=True):
    """`image` are the image's properties."""

    server: Server
    flavor: CloudFlavor
    image: Mapping[str, str] = {}


def traveller(connection: "Connection", server: Server) -> Traveller:
    """Raises CloudError. An image that is gone demands nothing any more."""
    image = server.image_id and servers.properties_of(connection, server.image_id)
    return Traveller(server, servers.flavor_of(connection, server.id), image or {})


def read(connection: "Connection", found: list[Traveller], known_before: Question) -> Snapshot:
    """What it takes to judge all of `found`. Raises CloudError."""
    question = msgspec.structs.replace(
        known_before,
        every_host=any(not asked(each.flavor) for each in found),
        traits=traits_of([each.flavor for each in found], [each.image for each in found]),
    )
    return facts.read(connection, question=question)


def wanted(snapshot: Snapshot, found: Traveller) -> Need | None:
    """None where nobody can tell which cards its aliases ask for."""
    if admission.unjudged(snapshot, found.flavor):
        return None
    server = found.server
    return admission.need_of(snapshot, found.flavor, server.zone, found.image, server.project)


def refusal(
    snapshot: Snapshot, found: Traveller, leaving: str, to: str | None = None
) -> str | None:
    """Why no host but `leaving`, or not `to`, takes it; None where one does or nobody can tell."""
    asked_for = wanted(snapshot, found)
    if asked_for is None:
        return None
    reason = admission.of_hosts(without(snapshot, leaving, to), asked_for)
    return reason and f"{f'host {to}' if to else f'hosts other than {leaving}'}: {reason}"


def without(snapshot: Snapshot, leaving: str, to: str | None = None) -> Snapshot:
    """The snapshot without that host, or with the one that it goes to alone."""
    names = snapshot.host_names()
    roots = {uuid for uuid, host in names.items() if host != leaving and to in (None, host)}
    return msgspec.structs.replace(
        snapshot,
        providers=tuple(each for each in snapshot.providers if each.root_uuid in roots),
        limits=(),
    )
