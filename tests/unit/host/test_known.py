"""The catalogue of models: every figure has a source, every id is one."""

import re

import pytest

from gpufarm.host import known
from gpufarm.host.cards import cards
from gpufarm.host.known import Figure, KnownCard, Truth
from gpufarm.model.facts import HostFacts, PciFunction

FIGURES = ("memory_gb", "nvenc_sessions", "hide_kvm", "flr", "resets_badly", "sriov", "mig")


def figures(card: KnownCard) -> dict[str, Figure | Truth]:
    return {name: found for name in FIGURES if (found := getattr(card, name)) is not None}


@pytest.mark.parametrize("ids", known.cards())
def test_a_model(ids: str) -> None:
    card = known.cards()[ids]
    assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", ids)
    assert card.memory_gb is not None
    assert 1 <= card.memory_gb.value <= 512
    for name, figure in figures(card).items():
        assert len(known.source(figure)) > 10, name
        assert "://" not in known.source(figure)


def test_every_source_is_used() -> None:
    used = {figure.source for card in known.cards().values() for figure in figures(card).values()}
    assert set(known.sources()) <= used


def test_no_id_is_both_a_card_and_none() -> None:
    assert not known.cards().keys() & known.displays().keys()


@pytest.mark.parametrize("ids", known.displays())
def test_a_display_that_is_no_card(ids: str) -> None:
    vendor, _, product = ids.partition(":")
    assert re.fullmatch(r"[0-9a-f]{4}", vendor)
    function = PciFunction(
        address="0000:0a:00.0",
        vendor_id=vendor,
        product_id=product or "0001",
        class_id="030000",
    )
    (card,) = cards(HostFacts(origin="x", functions=(function,)))
    assert card.kind == known.displays()[ids].kind


def test_the_cards_of_the_sources_are_known() -> None:
    """Row SV-5: limits are visible."""
    gtx = known.card("10de", "1b80")
    assert gtx is not None
    assert gtx.nvenc_sessions is not None
    assert gtx.nvenc_sessions.value == 2
    for product in ("11b4", "1024", "0ff2", "11bf", "13f2"):
        assert known.card("10de", product)
    assert known.card("10de", "ffff") is None
