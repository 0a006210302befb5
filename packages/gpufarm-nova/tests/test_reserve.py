"""What a host keeps for its free cards, and what an ordinary server may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm_nova import reserve
from gpufarm_nova.reserve import Amounts, GpuFlavor, Host, Shortfall

K40C = {"k40c": Amounts(2, 4096)}
WHOLE = Amounts(24, 98304)


def host(*, left, free=1, total=WHOLE, cards=1):
    return Host(total=total, left=left, cards=cards, free={"k40c": free})


def test_the_reserve_is_the_median_of_what_flavors_give_a_card():
    flavors = [GpuFlavor(4, 8192, 1), GpuFlavor(16, 65536, 2), GpuFlavor(96, 98304, 8)]
    assert reserve.of_flavors(flavors) == Amounts(8, 12288)


def test_no_flavor_asks_for_no_reserve():
    assert reserve.of_flavors([]) is None


def test_a_host_keeps_nothing_for_models_without_a_reserve():
    other = Host(WHOLE, WHOLE, 1, {"l40s": 1})
    assert reserve.kept(other, K40C) == Amounts(0, 0)


def test_the_reserve_of_all_cards_together_is_never_more_than_the_host():
    greedy = {"k40c": Amounts(100, 10)}
    found = reserve.kept(host(left=WHOLE, free=4, cards=4), greedy)
    assert found == Amounts(24, 40)


def test_a_smaller_share_keeps_less():
    greedy = {"k40c": Amounts(100, 1_000_000)}
    found = reserve.kept(host(left=WHOLE, free=4, cards=4), greedy, share=0.5)
    assert found == Amounts(12, 49152)


@pytest.mark.parametrize(
    ("server", "missing"),
    [
        (Amounts(2, 4096), None),
        (Amounts(3, 4096), Shortfall("vcpus", 3, 2)),
        (Amounts(2, 4097), Shortfall("memory_mb", 4097, 4096)),
        (Amounts(3, 9999), Shortfall("vcpus", 3, 2)),
        (Amounts(0, 0), None),
    ],
)
def test_what_an_ordinary_server_may_take(server, missing):
    asked = host(left=Amounts(4, 8192))
    assert reserve.shortfall(asked, server, reserve.kept(asked, K40C)) == missing


def test_a_host_that_is_over_its_reserve_has_nothing_left_for_ordinary_servers():
    asked = host(left=Amounts(1, 1024))
    keep = reserve.kept(asked, K40C)
    assert reserve.shortfall(asked, Amounts(1, 1), keep) == Shortfall("vcpus", 1, 0)


sizes = st.builds(Amounts, st.integers(0, 200), st.integers(0, 2**20))
models = st.sampled_from(["k40c", "l40s", "h100"])


@st.composite
def hosts(draw):
    free = draw(st.dictionaries(models, st.integers(0, 8), max_size=3))
    total = draw(sizes)
    left = Amounts(draw(st.integers(0, int(total.vcpus))), draw(st.integers(0, total.memory_mb)))
    return Host(total, left, sum(free.values()) + draw(st.integers(0, 8)), free)


@given(hosts(), sizes, st.dictionaries(models, sizes, max_size=3))
def test_a_server_passes_exactly_where_it_leaves_the_reserve(host, server, reserves):
    keep = reserve.kept(host, reserves)
    leaves = all(
        need == 0 or left - need >= kept
        for need, left, kept in zip(server, host.left, keep, strict=True)
    )
    assert (reserve.shortfall(host, server, keep) is None) == leaves


@given(hosts(), st.dictionaries(models, sizes, max_size=3), st.floats(0, 1))
def test_the_reserve_fits_into_the_host(host, reserves, share):
    keep = reserve.kept(host, reserves, share)
    for kept, total in zip(keep, host.total, strict=True):
        assert kept <= share * total + 1e-6 * (1 + total)
