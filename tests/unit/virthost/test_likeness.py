"""The virtual host most like another: whatever a host has, what comes of it can be started."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.lab.virthost import cards, likeness, machine
from gpufarm.lab.virthost.likeness import Original
from gpufarm.model.facts import Bar, HostFacts, Iommu, Link, PciFunction

GTX = PciFunction(
    address="0000:42:00.0",
    vendor_id="10de",
    product_id="1b80",
    class_id="030000",
    subsystem_vendor_id="10de",
    subsystem_id="119e",
    bars=(
        Bar(index=0, kind="memory", size=16 << 20, start=None),
        Bar(index=1, kind="memory", size=256 << 20, start=None, prefetchable=True),
        Bar(index=3, kind="memory", size=32 << 20, start=None, prefetchable=True),
        Bar(index=5, kind="io", size=128, start=None),
    ),
    link=Link(width=8, max_width=16),
    reset_methods=("bus",),
)
AUDIO = PciFunction(
    address="0000:42:00.1",
    vendor_id="10de",
    product_id="10f0",
    class_id="040300",
    bars=(Bar(index=0, kind="memory", size=16 << 10, start=None),),
)
INTEL = HostFacts(origin="x", iommu=Iommu(active=True, firmware_tables=("DMAR",)))


@pytest.mark.parametrize(
    ("link", "width"),
    [
        (None, 16),
        (Link(width=8, max_width=8), 16),
        (Link(width=4, max_width=16), 4),
        (Link(width=3, max_width=16), 16),
        (Link(width=4), 16),
    ],
)
def test_only_a_link_that_is_narrower_than_it_could_be_is_so_there(
    link: Link | None, width: int
) -> None:
    original = Original((msgspec.structs.replace(GTX, link=link),))
    (card,) = likeness.of("h", INTEL, [original]).machine.cards
    assert card.functions[0].link_width == width


def at(address: str, **more: Any) -> Original:
    function = PciFunction(address=address, vendor_id="10de", product_id="2330", class_id="030200")
    return Original((function,), **more)


def test_a_card_is_made_as_it_is() -> None:
    found = likeness.of("h", INTEL, [Original((GTX, AUDIO))])
    (card,) = found.machine.cards
    assert cards.spell(card) == (
        "10de:1b80/030000/10de:119e/16M:256Mp:32Mp+10de:10f0/040300/10de:0000/16K"
        ",noflr,rev=a1,link=8,address=0000:42:00"
    )
    assert found.places == {each.address: each.address for each in (GTX, AUDIO)}


def test_where_the_board_has_no_such_address_it_gets_another() -> None:
    wanted = ("0000:3b:00.0", "0000:3c:00.0", "0000:01:00.0", "0000:41:04.2", "10000:e2:00.0")
    found = likeness.of("h", INTEL, [at(address) for address in wanted])
    assert found.places == dict(
        zip(
            wanted,
            ("0000:3b:00.0", "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"),
            strict=True,
        )
    )


def test_who_shares_a_group_shares_the_one_that_is_shared() -> None:
    found = likeness.of("h", INTEL, [at("0000:42:00.0"), at("0000:43:00.0", crowded=True)])
    assert [each.shared for each in found.machine.cards] == [False, True]


def test_where_there_are_too_many_the_first_ones_count() -> None:
    originals = [at(f"0000:{bus:02x}:00.0") for bus in range(0x10, 0x60, 2)]
    found = likeness.of("h", INTEL, originals)
    most = machine.OWN_PORTS + machine.MOST_ADDRESSED
    assert list(found.places) == [each.functions[0].address for each in originals[:most]]


@pytest.mark.parametrize(
    ("iommu", "expected"),
    [
        (Iommu(firmware_tables=("DMAR",)), "intel"),
        (Iommu(firmware_tables=("IVRS",), active=True), "amd"),
        (Iommu(active=True, units=("smmu3.0x09050000",)), "intel"),
        (Iommu(active=False, firmware_tables=()), "none"),
        (Iommu(), "none"),
    ],
)
def test_iommu(iommu: Iommu, expected: str) -> None:
    assert likeness.of("h", HostFacts(origin="x", iommu=iommu), []).machine.iommu == expected


def test_what_is_no_name_of_a_host_is_refused() -> None:
    with pytest.raises(ValueError, match="no name"):
        likeness.of("../h", INTEL, [])


ids = st.from_regex(r"[0-9a-f]{4}", fullmatch=True)
bars = st.builds(
    Bar,
    index=st.integers(0, 5),
    kind=st.sampled_from(["memory", "io"]),
    size=st.one_of(st.none(), st.integers(1, 1 << 64)),
    start=st.none(),
    prefetchable=st.booleans(),
)


@st.composite
def originals(draw: st.DrawFn) -> Original:
    domain = draw(st.sampled_from(["0000", "0001", "10000"]))
    place = f"{domain}:{draw(st.integers(0, 255)):02x}:{draw(st.integers(0, 31)):02x}"
    numbers = draw(st.sets(st.integers(0, 7), min_size=1))
    functions = [
        PciFunction(
            address=f"{place}.{number}",
            vendor_id=draw(ids),
            product_id=draw(ids),
            class_id=draw(st.sampled_from(["030000", "030200", "040300", "0c0330"])),
            subsystem_id=draw(st.one_of(st.none(), ids)),
            bars=tuple(draw(st.lists(bars, max_size=6))),
            link=draw(st.one_of(st.none(), st.builds(Link, width=st.integers(0, 32)))),
            reset_methods=draw(st.sampled_from([None, (), ("flr", "bus"), ("bus",)])),
        )
        for number in sorted(numbers)
    ]
    return Original(tuple(functions), draw(st.booleans()))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(originals(), max_size=24, unique_by=lambda each: each.functions[0].address[:-2]),
)
def test_whatever_a_host_has_the_other_one_can_be_started(found: list[Original]) -> None:
    like = likeness.of("h", INTEL, found)
    machine.check(like.machine)
    for card in like.machine.cards:
        assert cards.parse(cards.spell(card)).functions[0].bars == card.functions[0].bars
        for wide, window in ((True, likeness.WINDOW), (False, likeness.WINDOW_32)):
            sizes = [bar.size for f in card.functions for bar in f.bars if bar.wide is wide]
            assert sum(sizes) <= window
    plugged = {each.address: each.function for each in machine.plugged(like.machine)}
    by_address = {f.address: f for original in found for f in original.functions}
    assert set(like.places.values()) == plugged.keys()
    for real, there in like.places.items():
        assert plugged[there].product_id == by_address[real].product_id


@settings(max_examples=30, deadline=None)
@given(originals())
def test_one_card_always_has_a_place(found: Original) -> None:
    like = likeness.of("h", INTEL, [found])
    assert like.places.keys() == {each.address for each in found.functions}
