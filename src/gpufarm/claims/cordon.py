"""Closing cards to new servers and opening them again.

What is decided here: the order of the steps. A cordon writes its record first and closes the card
then; opening goes the other way. Whatever is interrupted leaves a record, and the same command
again finishes it. Servers that hold the cards keep them; nothing is restarted.

Nova keeps `reserved` as it is set: nova/compute/pci_placement_translator.py, _get_inventories,
reports `total` and `max_unit` alone, and nova/compute/provider_tree.py, has_inventory_changed,
does not compare what is not reported. It sets `reserved` itself only for a one-time-use card that
is allocated.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpufarm.claims.cards import Card, Cordon, cards, encode
from gpufarm.cloud import catalog, cordons, placement
from gpufarm.model.cloud import hypervisor_of
from gpufarm.model.errors import CordonError, NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

Told = Callable[[str], None]


def read(connection: "Connection", host: str | None = None) -> tuple[Card, ...]:
    """The cards of the cloud or of one host, by host and address. Raises CloudError, NotInCloud."""
    hosts = catalog.compute_hosts(connection)
    root = None
    if host is not None:
        root = placement.root_of(connection, hypervisor_of(hosts, host))
    return cards(
        placement.providers(connection, root),
        hosts,
        cordons.records(connection),
        placement.one_time_use(connection),
    )


def chosen(connection: "Connection", host: str, address: str | None) -> tuple[Card, ...]:
    """The card at `address` of `host`, or all of them. Raises NotInCloud where there is none."""
    found = read(connection, host)
    if address is not None:
        found = tuple(card for card in found if card.address == address)
    if not found:
        where = f"{address} on {host}" if address else f"on {host}"
        raise NotInCloud("card", where, "`gpufarm card list` shows those there are")
    return found


def close(connection: "Connection", found: tuple[Card, ...], why: str, told: Told) -> None:
    """Cordon these cards; one that is cordoned keeps its record, and is closed where it is not.

    Raises CordonError, CloudError.
    """
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    by = cordons.user_name(connection)
    new = [
        (card, encode(Cordon(by=by, at=at, why=why, dirty=card.one_time_use and card.closed)))
        for card in found
        if card.cordon is None
    ]
    for card, record in new:
        cordons.put_record(connection, card.provider, record)
    for card in found:
        told(f"{card.host} {card.address}")
        placement.reserve(connection, card.uuid, closed=True)


def open_again(
    connection: "Connection", found: tuple[Card, ...], told: Told, *, cleaned: bool = False
) -> tuple[Card, ...]:
    """Take the cordon off these cards; returns those that stay closed, waiting to be cleaned.

    `cleaned` opens one-time-use cards too that nobody holds. Raises CordonError for a single card
    that is not cordoned, CloudError.
    """
    for card in found:
        if len(found) == 1 and card.cordon is None and not (cleaned and card.one_time_use):
            raise CordonError(_not_cordoned(card))
    waiting = []
    for card in found:
        if card.cordon is None and not (cleaned and card.one_time_use and card.closed):
            continue
        told(f"{card.host} {card.address}")
        if _stays_closed(card, cleaned=cleaned):
            waiting.append(card)
        else:
            placement.reserve(connection, card.uuid, closed=False)
        cordons.put_record(connection, card.provider, None)
    return tuple(waiting)


def _stays_closed(card: Card, *, cleaned: bool) -> bool:
    """Nova closed it: because somebody uses it, or did, and nobody has cleaned it since."""
    if not card.one_time_use:
        return False
    dirty = card.cordon is not None and card.cordon.dirty
    return card.used > 0 or (dirty and not cleaned)


def _not_cordoned(card: Card) -> str:
    where = f"{card.address} on {card.host} is not cordoned"
    match card.state:
        case "cleaning":
            return (
                f"{where}: it is a one-time-use card that waits to be cleaned; once it is, open it "
                "with --cleaned"
            )
        case "reserved":
            return (
                f"{where}: somebody reserved it in Placement and left no record; cordon it to take "
                "it over, then uncordon it"
            )
        case _:
            return f"{where}: nothing was changed"
