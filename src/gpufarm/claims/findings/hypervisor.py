"""What the hypervisor says: guests with a card that Nova gave to somebody else, or to nobody."""

from collections.abc import Iterator

from gpufarm.claims import codes
from gpufarm.claims.findings.finding import Finding, of_card
from gpufarm.claims.view import Card, View
from gpufarm.model.claims import Guest


def of_guests(view: View, card: Card) -> Iterator[Finding]:
    """Guests that hold a card which Nova gave to somebody else, or to nobody."""
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
