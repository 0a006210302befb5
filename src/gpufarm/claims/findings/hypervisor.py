"""What the hypervisor says: guests with a card that Nova did not give them, and without one that it
did."""

from collections.abc import Iterator

from gpufarm.claims import codes
from gpufarm.claims.findings.finding import Finding, of_card
from gpufarm.claims.view import Card, View
from gpufarm.model.claims import Guest, ServerState


def of_guests(view: View, card: Card) -> Iterator[Finding]:
    """Guests that hold a card which Nova gave to somebody else or to nobody, and those that run
    without one which it gave to them."""
    found = view.guests(card.host, card.address)
    total = sum(stock.total for stock in card.provider.inventories.values())
    if len(found) > max(1, total):
        yield of_card(
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
        if not _known(view, card, guest) and not guest.runs:
            yield _off(view, card, guest)
        elif not _known(view, card, guest):
            yield of_card(
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
    for holder in sorted(card.provider.allocations):
        server = view.servers.get(holder)
        if server is not None and _lacks(view, card, server):
            yield _without(view, card, server)


def _lacks(view: View, card: Card, server: ServerState) -> bool:
    """Whether its guest runs there without the card, by Nova's table; where that was not read, what
    is to be said is said of the allocation."""
    if server.status != "ACTIVE" or server.host != card.host or view.is_gone(card):
        return False
    if view.busy(server) or view.moves(server.id) or not view.runs(card.host, server.id):
        return False
    place = (card.host, card.address, server.id)
    return view.held_by(*place) < view.rows_of(*place)


def _without(view: View, card: Card, server: ServerState) -> Finding:
    return of_card(
        view,
        card,
        codes.NOT_IN_GUEST,
        server.id,
        lying="nova",
        why=f"Nova has the card for server {server.name}, whose guest runs without it: nobody can "
        "have it",
        repair=f"`gpufarm server migrate {server.id}` gives the server what its flavor asks for; "
        f"`openstack server reboot --hard {server.id}` gives its guest this card too",
        safe=False,
    )


def _off(view: View, card: Card, guest: Guest) -> Finding:
    """What is left of a move that Nova did not end, or a guest of somebody else."""
    server = view.servers.get(guest.id)
    where = f"its server is on {server.host}: " if server else "if nobody misses it, "
    return of_card(
        view,
        card,
        codes.IN_USE_UNKNOWN,
        guest.id,
        lying="hypervisor",
        why=f"guest {guest.name}, which is off, is defined with it, and Nova did not give it to "
        "that guest: it would take the card if it were started",
        repair=f"{where}on {card.host} `virsh undefine {guest.id}`",
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
