"""What is found: one claim that no longer matches, in the words of `claims check`."""

import msgspec

from gpufarm.claims.steps import Steps
from gpufarm.claims.view import Card, LayerTexts, View
from gpufarm.model.claims import Layer


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


def of_card(
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
    """With what each layer says of the card."""
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
