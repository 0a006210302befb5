"""What Placement says: allocations of cards, and providers of hosts.

What is decided here: whose an allocation is, in this order: a server's, a migration's, nobody's;
and whether a layer below knows of it.
"""

from collections.abc import Iterator

from gpufarm.claims import codes
from gpufarm.claims.findings.finding import Finding, of_card
from gpufarm.claims.steps import (
    EndMigration,
    GiveBack,
    Release,
    RemoveProviders,
    SettleServer,
    Steps,
)
from gpufarm.claims.view import TAKEN, Card, LayerTexts, View
from gpufarm.model.claims import Migration, ServerState


def of_allocations(view: View, card: Card) -> Iterator[Finding]:
    for consumer, amounts in sorted(card.provider.allocations.items()):
        server, move = view.servers.get(consumer), view.migrations.get(consumer)
        if server is not None:
            if not view.never_built(server) and not view.busy(server) and not view.waits(server):
                yield from _of_server(view, card, server, sum(amounts.values()))
        elif move is not None:
            yield from _of_migration(view, card, move)
        elif consumer not in view.layers.nova.deleted:
            yield from _of_nobody(view, card, consumer)


def _of_server(view: View, card: Card, server: ServerState, amount: int) -> Iterator[Finding]:
    """A card of a server that sits still: does Nova's table, or else its guest, have it?"""
    host, address = card.host, card.address
    moves = [move for move in view.moves(server.id) if host in (move.source, move.target)]
    if view.held_by(host, address, server.id) >= amount or moves:
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
    yield of_card(
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
        yield of_card(
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
        # On the source libvirt keeps the guest's definition until Nova has confirmed.
        open_ = any(guest.runs for guest in view.guests(card.host, card.address))
        safe = view.read_guests(card.host) and not open_
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
    return of_card(
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
    if view.held_by(card.host, card.address, consumer):
        return  # what is to be said is said of the guest
    yield of_card(
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
    place = (card.host, card.address, server)
    return read and not view.held_by(*place) and not view.rows_of(*place)


def _release(card: Card, consumer: str, *, everything: bool) -> Release:
    held = {card.provider.uuid: dict(card.provider.allocations[consumer])}
    return Release(consumer=consumer, held=held, everything=everything)


def of_hosts(view: View) -> Iterator[Finding]:
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
