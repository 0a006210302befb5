"""The cards of a host that is being emptied.

What is decided here: how a cordon of a drain is told from others, by the words that its reason
begins with; an undrain opens those alone. A card that somebody has is closed once it is free: that
a claim on a closed card can change hands is known of Placement 16 alone.
"""

from typing import TYPE_CHECKING

from gpufarm.claims import cordon
from gpufarm.claims.cards import Card
from gpufarm.model.errors import NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

MARK = "drained: "


def close_free(connection: "Connection", host: str, why: str, told: cordon.Told) -> None:
    """Raises CordonError, CloudError."""
    cordon.close(connection, tuple(_free(connection, host)), f"{MARK}{why}", told)


def open_ours(connection: "Connection", host: str, told: cordon.Told) -> tuple[Card, ...]:
    """Those that are opened or, of one-time-use cards, stay closed. Raises CloudError."""
    ours = tuple(
        card
        for card in _cards(connection, host)
        if card.cordon is not None and card.cordon.why.startswith(MARK)
    )
    cordon.open_again(connection, ours, told)
    return ours


def _free(connection: "Connection", host: str) -> list[Card]:
    return [card for card in _cards(connection, host) if not card.used and card.cordon is None]


def _cards(connection: "Connection", host: str) -> tuple[Card, ...]:
    """None of a host that Placement does not know."""
    try:
        return cordon.read(connection, host)
    except NotInCloud:
        return ()
