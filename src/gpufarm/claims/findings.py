"""Claims that no longer match reality: a pure function of what the four layers say.

What is decided here: which code a claim gets, which layer is wrong, and the smallest repair. A
layer that was not read supports no finding; a server or migration that moved a moment ago is left
alone.
Order of the questions about one allocation: is its consumer a server, a migration, or nothing?
"""

from collections.abc import Iterator

import msgspec

from gpufarm.claims import codes
from gpufarm.claims.steps import (
    DeleteServer,
    EndMigration,
    FailServer,
    GiveBack,
    Release,
    RemoveProviders,
    SettleServer,
    Steps,
)
from gpufarm.claims.view import TAKEN, Card, LayerTexts, View
from gpufarm.model.claims import DeviceRow, Guest, Layer, Layers, Migration, ServerState


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`why` says why `lying` is wrong, `repair` what `steps` do or, without any, what to do.

    `safe`: nothing is lost by it, so that `claims repair` may do it.
    """

    code: str
    host: str
    address: str | None
    holder: str | None
    layers: LayerTexts
    lying: Layer
    why: str
    repair: str
    safe: bool
    steps: Steps = ()


def findings(layers: Layers, patience: float) -> tuple[Finding, ...]:
    """Everything that does not match, by host and address; `patience` in seconds."""
    view = View(layers, patience)
    found: list[Finding] = []
    for card in view.cards:
        found += _allocations(view, card)
        found += _guests(view, card)
        found += _hardware(view, card)
    found += _rows(view)
    found += _builds(view)
    found += _hosts(view)
    return tuple(
        sorted(
            found, key=lambda each: (each.host, each.address or "", each.code, each.holder or "")
        )
    )


# Placement's allocations


def _allocations(view: View, card: Card) -> Iterator[Finding]:
    for consumer, amounts in sorted(card.provider.allocations.items()):
        server, move = view.servers.get(consumer), view.migrations.get(consumer)
        if server is not None:
            if not _never_built(view, server) and not view.busy(server) and not view.waits(server):
                yield from _of_server(view, card, server, sum(amounts.values()))
        elif move is not None:
            yield from _of_migration(view, card, move)
        elif consumer not in view.layers.nova.deleted:
            yield from _of_nobody(view, card, consumer)


def _of_server(view: View, card: Card, server: ServerState, amount: int) -> Iterator[Finding]:
    """A card of a server that sits still: does Nova's table, or else its guest, have it?"""
    host, address = card.host, card.address
    in_guest = sum(guest.id == server.id for guest in view.guests(host, address))
    moves = [move for move in view.moves(server.id) if host in (move.source, move.target)]
    if in_guest >= amount or moves:
        return
    own = view.rows_of(host, address, server.id)
    if view.has_rows:
        lacking = amount > own
    else:
        lacking = view.read_guests(host) and (
            server.host != host or view.has_guest(host, server.id)
        )
    if not lacking:
        return
    rows = view.rows(host, address)
    others = sorted(
        {row.server for row in rows if row.server and row.status in TAKEN} - {server.id}
    )
    if len(rows) > 1:
        others = []  # VFs of one PF: each has its own
    code = codes.CLAIMED_TWICE if others else codes.ALLOCATION_LEFT_BEHIND
    given = f"; Nova has given the card to {others[0]}" if others else ""
    evidence = "Nova's table" if view.has_rows else "the hypervisor"
    yield _finding(
        view,
        card,
        code,
        server.id,
        lying="placement",
        why=f"{evidence} does not have this card for server {server.name}, which sits still on "
        f"{server.host}{given}",
        repair=f"lower the server's allocation of this card's VFs in Placement to {own}"
        if own
        else "take this card out of the server's allocation in Placement",
        safe=view.has_rows and not own,
        steps=() if own else (_release(card, server.id, everything=False),),
    )


def _of_migration(view: View, card: Card, move: Migration) -> Iterator[Finding]:
    server = view.servers.get(move.server)
    if view.recent(move.updated) or move.server in view.layers.nova.deleted:
        return
    if server is None:
        yield _finding(
            view,
            card,
            codes.CONSUMER_UNKNOWN,
            move.uuid,
            lying="placement",
            why=f"it is held for migration {move.id}, whose server {move.server} is gone",
            repair="remove the migration's allocation from Placement",
            safe=_unused(view, card, move.server),
            steps=(_release(card, move.uuid, everything=True),),
        )
    elif not (_waits(view, server, move) or view.hidden(server) or view.recent(server.updated)):
        yield _stuck(view, card, move, server)


def _waits(view: View, server: ServerState, move: Migration) -> bool:
    """For its user; once confirmed, VERIFY_RESIZE ends only when the source has cleaned up."""
    return view.waits(server) and move.status != "confirming"


def _stuck(view: View, card: Card, move: Migration, server: ServerState) -> Finding:
    settle: Steps = (SettleServer(server=server),) if server.task or view.waits(server) else ()
    if server.host == move.target:
        safe = view.read_guests(card.host) and not view.guests(card.host, card.address)
        repair = (
            "set the server's state to active, end the migration in Nova's database, remove its "
            f"allocation; then `openstack server reboot --hard {server.id}` starts it on "
            f"{server.host}"
        )
        steps = (
            *settle,
            EndMigration(migration=move),
            _release(card, move.uuid, everything=True),
        )
    else:
        target = move.target or ""
        safe = view.read_guests(target) and not view.has_guest(target, server.id)
        repair = (
            "set the server's state to active, give it back the allocation that the migration "
            f"holds, end the migration in Nova's database: the server is still on {server.host}, "
            f"where `openstack server reboot --hard {server.id}` starts it if it is off"
        )
        held = {card.provider.uuid: dict(card.provider.allocations[move.uuid])}
        back = GiveBack(migration=move.uuid, server=server.id, held=held)
        # The allocation first: without a migration under way it would be of nobody.
        steps = (*settle, back, EndMigration(migration=move))
    return _finding(
        view,
        card,
        codes.MIGRATION_STUCK,
        move.uuid,
        lying="nova",
        why=f"migration {move.id} of server {server.name} from {move.source} to {move.target} has "
        f"been {move.status} without a sign of life, and holds the cards of both sides",
        repair=repair,
        # In the middle of a revert the guest's disk may be on either side, or on none.
        safe=safe and move.status != "reverting",
        steps=steps,
    )


def _of_nobody(view: View, card: Card, consumer: str) -> Iterator[Finding]:
    if any(guest.id == consumer for guest in view.guests(card.host, card.address)):
        return  # what is to be said is said of the guest
    yield _finding(
        view,
        card,
        codes.CONSUMER_UNKNOWN,
        consumer,
        lying="placement",
        why="Nova knows neither a server nor a migration under way with that id",
        repair="remove the consumer's allocation from Placement",
        safe=_unused(view, card, consumer),
        steps=(_release(card, consumer, everything=True),),
    )


def _unused(view: View, card: Card, server: str) -> bool:
    """Whether a layer below Placement was read, and none has the card for the server."""
    read = view.has_rows or view.read_guests(card.host)
    in_guest = any(guest.id == server for guest in view.guests(card.host, card.address))
    return read and not in_guest and not view.rows_of(card.host, card.address, server)


def _release(card: Card, consumer: str, *, everything: bool) -> Release:
    held = {card.provider.uuid: dict(card.provider.allocations[consumer])}
    return Release(consumer=consumer, held=held, everything=everything)


# Guests


def _guests(view: View, card: Card) -> Iterator[Finding]:
    """Guests that hold a card which Nova gave to somebody else, or to nobody."""
    found = view.guests(card.host, card.address)
    total = sum(stock.total for stock in card.provider.inventories.values())
    if len(found) > max(1, total):
        yield _finding(
            view,
            card,
            codes.CLAIMED_TWICE,
            None,
            lying="hypervisor",
            why=f"guests {', '.join(guest.name for guest in found)} hold it at once",
            repair="look at the guests: only one can have been started with it",
            safe=False,
        )
    for guest in found:
        if not _known(view, card, guest):
            yield _finding(
                view,
                card,
                codes.IN_USE_UNKNOWN,
                guest.id,
                lying="nova" if guest.id in view.servers else "hypervisor",
                why=f"guest {guest.name} holds it, and Nova did not give it to that guest: a "
                "server that gets this card fails to start (`PCI device ... is in use by driver "
                "QEMU`)",
                repair=f"cordon the card; on {card.host} `virsh dumpxml {guest.id}` shows the "
                "guest: end it if nobody misses it (nova-compute ends those of deleted servers, "
                "every running_deleted_instance_poll_interval)",
                safe=False,
            )


def _known(view: View, card: Card, guest: Guest) -> bool:
    """Whether Nova knows, or may be about to change, that the guest has the card."""
    server = view.servers.get(guest.id)
    if guest.id in view.layers.nova.deleted:
        return True
    if server is None:
        # One that outlived its server: what is to be said is said of the row, while there is one.
        return view.rows_of(card.host, card.address, guest.id) > 0
    if view.busy(server) or view.moves(guest.id):
        return True
    if view.has_rows:
        return view.rows_of(card.host, card.address, guest.id) > 0
    return guest.id in card.provider.allocations


# The host's hardware


def _hardware(view: View, card: Card) -> Iterator[Finding]:
    if card.host not in view.layers.hosts:
        return
    function = view.function(card.host, card.address)
    taken = [row for row in view.rows(card.host, card.address) if row.status in TAKEN]
    holders = sorted({*card.provider.allocations, *(row.server or "?" for row in taken)})
    if function is None:
        yield _gone(view, card, holders)
        return
    free = not holders and not view.guests(card.host, card.address)
    if free and "vfio" not in (function.driver or ""):
        yield _finding(
            view,
            card,
            codes.NOT_BOUND_TO_VFIO,
            None,
            lying="host",
            why=f"nobody has it, and its driver is {function.driver or 'none'}",
            repair="`gpufarm host check` on the host says why, `gpufarm host apply` binds it",
            safe=False,
        )


def _gone(view: View, card: Card, holders: list[str]) -> Finding:
    restart = f"restart nova-compute on {card.host}, which then forgets the card"
    names = ", ".join(holders)
    return _finding(
        view,
        card,
        codes.CARD_GONE,
        holders[0] if holders else None,
        lying="nova",
        why="the host has no such function; nova-compute looks for cards at its start only"
        + (f", and keeps this one for {names}" if holders else ""),
        repair=f"put the card back, or delete or migrate {names}, and {restart}"
        if holders
        else restart,
        safe=False,
    )


# Nova's rows


def _rows(view: View) -> Iterator[Finding]:
    for row in view.layers.nova.rows or ():
        if row.status in TAKEN and row.server and not view.recent(row.updated):
            yield from _row(view, row, row.server)


def _row(view: View, row: DeviceRow, server_id: str) -> Iterator[Finding]:
    host, address = view.place(row)
    server = view.servers.get(server_id)
    if server_id in view.layers.nova.deleted:
        return
    if server is not None:
        if view.busy(server) or view.moves(server_id) or _never_built(view, server):
            return
        if server.host == host:
            yield from _missing(view, row, server)
            return
    where = f"is {server.status} on {server.host}" if server else "does not exist any more"
    over = tuple(move for move in view.moves_over(server_id) if host in (move.source, move.target))
    frees = f"nova-compute on {host}: at its start it frees what no server of the host has"
    repair = (
        f"start {frees}"
        if view.down(host)
        else f"wait for its next report (update_resources_interval), or restart {frees}"
    )
    if over:
        repair = (
            f"end migration {', '.join(str(move.id) for move in over)} in Nova's database, which "
            f"is {over[0].status} and keeps the row; then {repair}"
        )
    yield Finding(
        code=codes.ROW_LEFT_BEHIND,
        host=host,
        address=address,
        holder=server_id,
        layers=view.texts(host, address, server_id),
        lying="nova",
        why=f"its table pci_devices has the card as {row.status} to server {server_id}, which "
        f"{where}",
        repair=f"{repair}; guests of servers go on",
        safe=bool(over) and view.read_guests(host) and not view.has_guest(host, server_id),
        steps=tuple(EndMigration(migration=move) for move in over),
    )


def _missing(view: View, row: DeviceRow, server: ServerState) -> Iterator[Finding]:
    """The server has it by Nova's table; Placement may not know."""
    host, address = view.place(row)
    card = view.places.get((host, address))
    if card is None:
        return
    held = sum(card.provider.allocations.get(server.id, {}).values())
    if held < view.rows_of(host, address, server.id):
        yield _finding(
            view,
            card,
            codes.ALLOCATION_MISSING,
            server.id,
            lying="placement",
            why=f"server {server.name} has the card, and Placement would give it to the next one",
            repair=f"wait for the next report of nova-compute on {host}, which writes it; where it "
            "does not, restart it",
            safe=False,
        )


# Servers that were never built


def _never_built(view: View, server: ServerState) -> bool:
    """A server in BUILD whose nova-compute is gone, or in ERROR without ever having run."""
    if server.launched or view.recent(server.updated):
        return False
    return server.status == "ERROR" or (server.status == "BUILD" and view.down(server.host))


def _builds(view: View) -> Iterator[Finding]:
    for card in view.cards:
        rows = {row.server for row in view.rows(card.host, card.address) if row.status in TAKEN}
        for holder in sorted({*card.provider.allocations, *(each for each in rows if each)}):
            server = view.servers.get(holder)
            if server is not None and _never_built(view, server):
                yield _build(view, card, server)


def _build(view: View, card: Card, server: ServerState) -> Finding:
    fail: Steps = (FailServer(server=server),) if server.status == "BUILD" else ()
    has_guest = view.has_guest(card.host, server.id)
    return _finding(
        view,
        card,
        codes.BUILD_STUCK,
        server.id,
        lying="nova",
        why=f"server {server.name} is {server.status} and never ran: its nova-compute ended while "
        "it built it, and nobody goes on with it",
        repair=f"delete server {server.id}"
        + ("" if not has_guest else f", after a look at its guest on {card.host}"),
        safe=view.read_guests(card.host) and not has_guest,
        steps=(*fail, DeleteServer(server=server)),
    )


# Hosts


def _hosts(view: View) -> Iterator[Finding]:
    for root in view.roots.values():
        if root.name in view.services:
            continue
        below = [each for each in view.layers.placement if each.root_uuid == root.uuid]
        held = sorted({consumer for each in below for consumer in each.allocations})
        children = [each.uuid for each in below if each.uuid != root.uuid]
        yield Finding(
            code=codes.HOST_GONE,
            host=root.name,
            address=None,
            holder=held[0] if held else None,
            layers=LayerTexts(
                None,
                None,
                "no nova-compute has this hypervisor",
                f"{len(children)} cards, held by {', '.join(held) or 'nobody'}",
            ),
            lying="placement",
            why="its nova-compute was removed and its resource providers stayed",
            repair="remove its resource providers"
            if not held
            else f"first repair or delete what holds its cards: {', '.join(held)}",
            safe=not held,
            steps=() if held else (RemoveProviders(uuids=(*children, root.uuid)),),
        )


def _finding(
    view: View,
    card: Card,
    code: str,
    holder: str | None,
    *,
    lying: Layer,
    why: str,
    repair: str,
    safe: bool,
    steps: Steps = (),
) -> Finding:
    return Finding(
        code=code,
        host=card.host,
        address=card.address,
        holder=holder,
        layers=view.texts(card.host, card.address, holder),
        lying=lying,
        why=why,
        repair=repair,
        safe=safe,
        steps=steps,
    )
