"""How cards are spelled: every card can be, and what is no card says why."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.lab.virthost import models
from gpufarm.lab.virthost.cards import Card, parse, spell
from gpufarm.lab.virthost.pci import Bar, Function

IDS = st.text("0123456789abcdef", min_size=4, max_size=4)
SIZES = st.integers(7, 24).map(lambda bits: 1 << bits)


@st.composite
def bars(draw: st.DrawFn) -> tuple[Bar, ...]:
    wide = draw(st.lists(st.integers(10, 34), max_size=2))
    narrow = draw(st.lists(st.integers(10, 24), max_size=6 - 2 * len(wide)))
    return (*(Bar(1 << n, wide=True) for n in wide), *(Bar(1 << n) for n in narrow))


@st.composite
def cards(draw: st.DrawFn) -> Card:
    """Any card whose functions share what the options say of all of them."""
    same = {
        "flr": draw(st.booleans()),
        "revision": draw(st.text("0123456789abcdef", min_size=2, max_size=2)),
        "link_width": draw(st.sampled_from([1, 2, 4, 8, 16])),
    }
    functions = st.builds(
        lambda vendor, product, class_id, subsystem, bars: Function(
            vendor_id=vendor,
            product_id=product,
            class_id=class_id,
            subsystem=subsystem,
            bars=bars,
            **same,
        ),
        IDS,
        IDS,
        st.text("0123456789abcdef", min_size=6, max_size=6),
        st.tuples(IDS, IDS),
        bars(),
    )
    return Card(
        name="any",
        functions=tuple(draw(st.lists(functions, min_size=1, max_size=8))),
        shared=draw(st.booleans()),
        address=draw(st.none() | st.from_regex(r"0000:[0-9a-f]{2}:[01][0-9a-f]", fullmatch=True)),
    )


@given(cards())
def test_every_card_can_be_spelled(card: Card) -> None:
    assert msgspec.structs.replace(parse(spell(card)), name="any") == card


def problem(text: str) -> str | None:
    """Why that is no card; None where it is one."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None


@given(st.text())
def test_any_text_is_a_card_or_says_what_is_wrong(text: str) -> None:
    said = problem(text)
    assert said is None or said.isprintable()


@given(cards(), st.data())
def test_a_damaged_spelling_is_a_card_or_says_why_not(card: Card, data: st.DataObject) -> None:
    text = spell(card)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.text(max_size=3)) + text[at + 1 :]
    assert problem(broken) != ""


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_model_is_a_card(name: str) -> None:
    card = parse(name)
    assert card.name == name
    assert card.functions == models.MODELS[name]
    assert all(function.class_id[:2] in {"03", "04", "0c"} for function in card.functions)
    again = parse(spell(card))
    if len({function.flr for function in card.functions}) == 1:
        assert [f.product_id for f in again.functions] == [f.product_id for f in card.functions]
        assert [f.bars for f in again.functions] == [f.bars for f in card.functions]


def test_ids_alone_are_a_graphics_card_with_audio() -> None:
    first, second = parse("10de:1b80+10DE:10f0").functions
    assert (first.class_id, second.class_id) == ("030000", "040300")
    assert second.vendor_id == "10de"
    assert not first.flr
    assert [bar.size for bar in first.bars] == [16 << 20, 256 << 20, 32 << 20]
    assert [bar.wide for bar in first.bars] == [False, True, True]


def test_options() -> None:
    card = parse("gtx1080,flr,group=shared,link=8,rev=ff")
    assert card.shared
    assert {(f.flr, f.link_width, f.revision) for f in card.functions} == {(True, 8, "ff")}
    assert not any(function.flr for function in parse("h100,noflr").functions)
    assert parse("h100,group=own,address=42:00").address == "0000:42:00"
    assert parse("h100,address=0000:42:00.0").address == "0000:42:00"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither a known card"),
        ("voodoo", "gtx1080"),
        ("10de", "neither"),
        ("10de:1b8", "two times four hex digits"),
        ("10de:1b80/0300", "six hex digits"),
        ("10de:1b80/030000/10de", "subsystem ids"),
        ("10de:1b80/030000/10de:119e/17M", "power of two"),
        ("10de:1b80/030000/10de:119e/32G", "BAR '32g'"),
        ("10de:1b80/030000/10de:119e/32Gp", "16G is the most"),
        ("10de:1b80/030000/10de:119e/32M", "16M without"),
        ("10de:1b80/030000/10de:119e/1Mp:1Mp:1Mp:1M", "a function has 6"),
        ("10de:1b80/030000/10de:119e/0M", "a size such as"),
        ("10de:1b80/030000/10de:119e/1M/x", "BAR '1m/x'"),
        ("+".join(["10de:1b80"] * 9), "8 at most"),
        ("10de:1b80+", "ids ''"),
        ("h100,", "option ''"),
        ("h100,flr=1", "option 'flr=1'"),
        ("h100,group", "option 'group'"),
        ("h100,group=mine", "own or shared"),
        ("h100,address=42", "a slot such as 42:00"),
        ("h100,address=0001:42:00", "a slot such as"),
        ("h100,link=3", "1, 2, 4, 8 or 16"),
        ("h100,rev=1", "two hex digits"),
        ("h100;reboot", "neither"),
        ("h100,address=42:00\n", "a slot such as"),
    ],
)
def test_what_is_no_card_says_why(text: str, words: str) -> None:
    assert words in (problem(text) or "")
