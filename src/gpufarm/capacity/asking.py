"""Explaining a flavor or a server of a cloud: what is read for it, and in which order."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gpufarm.capacity import admission, explain, facts, faults, preferred, request
from gpufarm.capacity.aliases import asked
from gpufarm.capacity.explain import Explanation, Reason
from gpufarm.capacity.facts import Question
from gpufarm.capacity.obstacle import NOVA
from gpufarm.capacity.rooms import traits_of
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.cloud import catalog, placement, quota, servers
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.errors import NotInCloud
from gpufarm.model.server import Server

if TYPE_CHECKING:
    from openstack.connection import Connection

RUNNING = ("ACTIVE", "PAUSED")

Told = Callable[[str], None]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks about: `subject` is a flavor, or a server to take the rest from.

    `known` is what is known without asking the cloud, `logs` what the logs of nova-computes say of
    a server by its id: {host: lines}.
    """

    subject: str
    image: str | None = None
    zone: str | None = None
    project: str | None = None
    count: int = 1
    known: Question = Question()
    logs: Callable[[str], dict[str, str]] = lambda _: {}


def answer(
    connection: "Connection", wish: Wish, step: Told = lambda _: None
) -> tuple[Explanation, tuple[str, ...]]:
    """The explanation, and what is to be said beside it. Raises CloudError, NotInCloud."""
    step("flavors")
    flavor, server = _subject(connection, wish.subject)
    image = wish.image or (server.image_id if server else None)
    properties = servers.image_properties(connection, image) if image else {}
    project = quota.project_id(connection, wish.project) if wish.project else None
    project = project or (server.project if server else None)
    snapshot = facts.read(
        connection,
        step,
        msgspec.structs.replace(
            wish.known,
            every_host=True,
            project=project,
            traits=traits_of([flavor], [properties]),
        ),
    )
    zone = wish.zone or (server.zone if server else None)
    wanted = admission.need_of(snapshot, flavor, zone, properties)
    if wanted is None:
        return explain.cannot_tell(snapshot, flavor), ()
    step("allocation candidates")
    candidates = placement.candidates(connection, request.queries(snapshot, wanted))
    found = explain.explain(snapshot, wanted, candidates, wish.count)
    if server is not None:
        beside = (*_of_server(server, wish), *_of_moves(server, flavor, snapshot))
        found = msgspec.structs.replace(found, reasons=(*beside, *found.reasons))
    order = preferred.notes(wanted, snapshot.scheduler) if found.admitted else ()
    return found, (*_notes(snapshot, flavor), *explain.notes(snapshot), *order)


def _subject(connection: "Connection", name: str) -> tuple[CloudFlavor, Server | None]:
    """A flavor's name goes before a server's."""
    flavors = catalog.flavors(connection)
    for flavor in flavors:
        if name in (flavor.id, flavor.name):
            return flavor, None
    server = servers.find(connection, name)
    if server is None:
        names = ", ".join(sorted(flavor.name for flavor in flavors)) or "none"
        raise NotInCloud("flavor or server", name, f"there are the flavors {names}")
    for flavor in flavors:
        if flavor.name == server.flavor:
            return flavor, server
    raise NotInCloud("flavor", server.flavor, f"server {server.name} was made of it")


def _of_server(server: Server, wish: Wish) -> list[Reason]:
    found = []
    said = faults.read(server.fault) if server.status == servers.FAILED else None
    if said is not None:
        found.append(said)
    if server.status == servers.FAILED:
        for host, lines in sorted(wish.logs(server.id).items()):
            found += faults.in_log(host, lines)
    if server.groups:
        text = f"it is in server group {', '.join(server.groups)}, whose rule is not looked at"
        found.append(Reason(host=None, code="HINTS", message=text, source=NOVA, blocks=False))
    return found


def _of_moves(server: Server, flavor: CloudFlavor, snapshot: Snapshot) -> list[Reason]:
    """Why a running server with cards cannot be live-migrated (nova/conductor/tasks/
    live_migrate.py, _check_can_migrate_pci): every alias has to be live_migratable."""
    aliases = snapshot.scheduler.aliases
    stuck = [
        name
        for name in sorted(asked(flavor))
        if name not in aliases or not aliases[name].live_migratable
    ]
    if not stuck or server.status not in RUNNING:
        return []
    text = (
        f"it cannot be live-migrated: its cards {', '.join(stuck)} are passed through, and their "
        "alias is not live_migratable, which Nova requires; `openstack server migrate` moves it "
        "while it is off, to a host with free cards"
    )
    return [Reason(host=None, code="LIVE_MIGRATION", message=text, source=NOVA, blocks=False)]


def _notes(snapshot: Snapshot, flavor: CloudFlavor) -> tuple[str, ...]:
    if asked(flavor) and not snapshot.devices():
        return ("Placement knows no card: set [pci]report_in_placement on the hosts with cards",)
    return ()
