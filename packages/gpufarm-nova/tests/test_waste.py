"""What of a host nobody will use, going by what is asked for."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.packing import Flavor, Packing
from gpufarm_nova.reserve import Amounts, Host
from gpufarm_nova.waste import SOFTNESS, Waste

TOTAL = Amounts(96, 393216)
GPU = Request((("gpu", 1),), 12, 49152, 90)
WHOLE = Request((("gpu", 8),), 88, 327680, 1)
LARGE = Request((), 32, 49152, 10)
SMALL = Request((), 12, 57344, 30)
LESSON = Lesson((GPU, WHOLE, LARGE, SMALL))
WASTE = Waste(LESSON)
PACKING = Packing([Flavor("g8", *WHOLE[:3])], LESSON)


def host(vcpus, free, memory_mb=393216):
    return Host(TOTAL, Amounts(vcpus, memory_mb), 8, {"gpu": free})


def wasted(*arguments, **named):
    return -WASTE.of(host(*arguments, **named))


@pytest.mark.parametrize(
    ("vcpus", "idle"), [(0, 0), (5, 5), (12, 0), (20, 8), (32, 0), (35, 3), (44, 0), (90, 2)]
)
def test_without_cards_the_best_set_of_ordinary_servers_is_taken(vcpus, idle):
    assert wasted(vcpus, 0) == pytest.approx(idle)


@settings(max_examples=50)
@given(vcpus=st.integers(0, 96), memory_parts=st.integers(0, 24))
def test_no_set_of_ordinary_servers_leaves_less(vcpus, memory_parts):
    memory_mb = memory_parts * 16384
    best = min(
        vcpus - large * 32 - small * 12
        for large, small in itertools.product(range(4), range(9))
        if large * 32 + small * 12 <= vcpus
        and large * 3 + round(small * 3.5, 1) <= memory_parts + small  # its memory in steps
    )
    assert wasted(vcpus, 0, memory_mb=memory_mb) >= best - 1e-6


def test_cards_without_their_cpu_waste_what_servers_have_with_one():
    assert wasted(0, 8) == pytest.approx(8 * 12, abs=SOFTNESS)
    assert wasted(12, 1) == pytest.approx(0, abs=SOFTNESS)
    assert wasted(11, 1) == pytest.approx(12 + 11, abs=2 * SOFTNESS)


def test_a_card_that_is_left_over_costs_no_more_than_its_fair_share():
    slim = Host(Amounts(32, 393216), Amounts(0, 0), 8, {"gpu": 8})
    assert -WASTE.of(slim) == pytest.approx(32, abs=SOFTNESS)


def test_an_ordinary_server_goes_where_it_leaves_no_sliver():
    sliver, whole = host(32, 0), host(44, 0)
    supply = PACKING.supply([sliver, whole])
    server = Amounts(12, 57344)
    assert PACKING.loss(whole, server, {}, supply) < PACKING.loss(sliver, server, {}, supply)
    assert PACKING.why(sliver, server, {}, supply) == (
        "8 more vCPU that no server in use here could take",
    )
    assert PACKING.why(whole, server, {}, supply) == ()


def test_whole_hosts_are_kept_where_few_are_left():
    begun, untouched = host(24, 2), host(96, 8)
    supply = PACKING.supply([begun, untouched])
    assert supply.scarce == (0,)
    server, cards = Amounts(12, 49152), {"gpu": 1}
    losses = [PACKING.loss(each, server, cards, supply) for each in (begun, untouched)]
    assert losses[0] + 70 < losses[1]
    assert "1 of the few rooms for g8" in PACKING.why(untouched, server, cards, supply)
    plenty = PACKING.supply([untouched] * 2000)
    assert plenty.scarce == ()


def test_it_says_how_many_vcpus_nobody_could_take():
    said = PACKING.why(host(12, 1), Amounts(2, 2048), {}, PACKING.supply([]))
    assert said == ("22 more vCPU that no server in use here could take",)
    said = PACKING.why(host(2, 0), Amounts(2, 2048), {}, PACKING.supply([]))
    assert said == ("2 less vCPU that no server in use here could take",)


def test_it_says_how_many_cards_stay_free_beside_a_server():
    taking = (Amounts(12, 49152), {"gpu": 1}, PACKING.supply([]))
    assert PACKING.why(host(96, 8), *taking)[-1] == "cards left free beside it: 7"
    assert not any("left free" in part for part in PACKING.why(host(12, 1), *taking))


def test_memory_counts_where_it_is_scarcer():
    """A host with vCPUs and no memory is worth nothing there."""
    lesson = LESSON._replace(scarcer="memory_mb")
    full = Host(TOTAL, Amounts(96, 0), 8, {"gpu": 0})
    assert -Waste(lesson).of(full) == 0
    assert -Waste(lesson).of(Host(TOTAL, Amounts(0, 65536), 8, {"gpu": 0})) > 10


def test_models_of_cards_have_kinds_of_their_own():
    other = Request((("l40s", 1),), 4, 16384, 50)
    both = Waste(Lesson((GPU, other, SMALL)))
    left = Amounts(4, 16384)
    assert -both.of(Host(TOTAL, left, 8, {"l40s": 1})) == pytest.approx(0, abs=1)
    assert -both.of(Host(TOTAL, left, 8, {"gpu": 1})) > 12
    assert -both.of(Host(TOTAL, left, 8, {"unknown": 1})) == pytest.approx(4)


def test_a_lesson_without_gpu_servers_leaves_the_simple_rule():
    plain = Packing([Flavor("g1", *GPU[:3])], Lesson((SMALL,)))
    supply = plain.supply([])
    assert plain.why(host(12, 1), Amounts(2, 2048), {}, supply) == ("1 of 1 rooms for g1",)
    with pytest.raises(ValueError, match="no server with cards"):
        Waste(Lesson((SMALL,)))


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(
        st.builds(
            Request,
            st.sampled_from([(), (("gpu", 1),), (("gpu", 4),), (("gpu", 1), ("l40s", 1))]),
            st.sampled_from([0, 0.1, 1, 3.5, 64]),
            st.sampled_from([0, 1024, 100_000]),
            st.integers(1, 99),
        ),
        min_size=1,
        max_size=6,
    ),
    vcpus=st.floats(0, 512),
    memory_mb=st.floats(0, 4e6),
    free=st.integers(0, 8),
    scarcer=st.sampled_from(["vcpus", "memory_mb"]),
)
def test_any_lesson_gives_a_number(kinds, vcpus, memory_mb, free, scarcer):
    packing = Packing([], Lesson(tuple(kinds), scarcer))
    asked = Host(Amounts(512, 4e6), Amounts(vcpus, memory_mb), 8, {"gpu": free})
    loss = packing.loss(asked, Amounts(1, 1024), {}, packing.supply([asked]))
    assert loss == loss  # noqa: PLR0124
    assert abs(loss) < 1e9
