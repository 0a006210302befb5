"""What the host says: whether it has the card at all, and which driver has it."""

from collections.abc import Iterator

from gpufarm.claims import codes
from gpufarm.claims.findings.finding import Finding, of_card
from gpufarm.claims.view import Card, View


def of_hardware(view: View, card: Card) -> Iterator[Finding]:
    if card.host not in view.layers.hosts:
        return
    function = view.function(card.host, card.address)
    holders = view.holders(card)
    if function is None:
        yield _gone(view, card, holders)
        return
    free = not holders and not view.guests(card.host, card.address)
    if free and "vfio" not in (function.driver or ""):
        yield of_card(
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
    return of_card(
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
