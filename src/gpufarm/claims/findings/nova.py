"""What Nova says: settings, rows of its table pci_devices, and servers that were never built."""

from collections.abc import Iterator

from gpufarm.claims import codes
from gpufarm.claims.findings.finding import Finding, of_card
from gpufarm.claims.steps import DeleteServer, EndMigration, FailServer, Steps
from gpufarm.claims.view import TAKEN, Card, View
from gpufarm.model.claims import DeviceRow, ServerState


def of_settings(view: View, card: Card) -> Iterator[Finding]:
    """A card that somebody has, and that the settings of its host no longer offer.

    nova-compute reads [pci]device_spec at its start, and then keeps such a card as long as somebody
    has it (nova/compute/pci_placement_translator.py, process_dev).
    """
    offered = view.layers.offered.get(card.host)
    holders = view.holders(card)
    if offered is None or not holders or view.is_gone(card):
        return
    lacking = sorted(card.provider.inventories.keys() - offered)
    if lacking:
        names = ", ".join(holders)
        yield of_card(
            view,
            card,
            codes.NOT_OFFERED,
            holders[0],
            lying="nova",
            why=f"[pci]device_spec of {card.host} offers no {', '.join(lacking)} any more, and "
            f"nova-compute keeps the card for {names}",
            repair=f"offer the card again, or delete or migrate {names} and then restart "
            f"nova-compute on {card.host}, which forgets it",
            safe=False,
        )


def of_rows(view: View) -> Iterator[Finding]:
    for row in view.layers.nova.rows or ():
        if row.status in TAKEN and row.server and not view.recent(row.updated):
            yield from _row(view, row, row.server)


def _row(view: View, row: DeviceRow, server_id: str) -> Iterator[Finding]:
    host, address = view.place(row)
    server = view.servers.get(server_id)
    if server_id in view.layers.nova.deleted:
        return
    if server is not None:
        if view.busy(server) or view.moves(server_id) or view.never_built(server):
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
        safe=bool(over) and view.read_guests(host) and not view.runs(host, server_id),
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
        yield of_card(
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


def of_builds(view: View) -> Iterator[Finding]:
    for card in view.cards:
        rows = {row.server for row in view.rows(card.host, card.address) if row.status in TAKEN}
        for holder in sorted({*card.provider.allocations, *(each for each in rows if each)}):
            server = view.servers.get(holder)
            if server is not None and view.never_built(server):
                yield _build(view, card, server)


def _build(view: View, card: Card, server: ServerState) -> Finding:
    fail: Steps = (FailServer(server=server),) if server.status == "BUILD" else ()
    has_guest = view.has_guest(card.host, server.id)
    return of_card(
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
