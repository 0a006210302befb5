"""Which host loses least by a server: the simple rule, from the flavors alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm_nova.packing import Flavor, Packing, taken
from gpufarm_nova.reserve import Amounts, Host

SMALL = Flavor("g1.small", (("k40c", 1),), 4, 8192)
LARGE = Flavor("g1.large", (("k40c", 2),), 8, 16384)
OTHER = Flavor("g2.l40s", (("l40s", 1),), 16, 65536)
PACKING = Packing([SMALL, LARGE, OTHER])

NO_CARDS = {}
ONE = {"k40c": 1}


def host(vcpus, memory_mb=98304, **free):
    return Host(Amounts(24, 98304), Amounts(vcpus, memory_mb), 4, free)


def loss(host, server, cards):
    return PACKING.loss(host, server, cards, PACKING.supply([host]))


def best(hosts, server, cards):
    return min(hosts, key=lambda host: loss(host, server, cards))


def test_an_ordinary_server_goes_where_no_card_is_free():
    full, open_ = host(24, k40c=0), host(8, k40c=2)
    assert best([open_, full], Amounts(4, 8192), NO_CARDS) == full


def test_an_ordinary_server_goes_where_vcpus_are_left_beside_the_cards():
    tight, roomy = host(8, k40c=2), host(20, k40c=2)
    assert best([tight, roomy], Amounts(4, 8192), NO_CARDS) == roomy


def test_a_small_gpu_server_leaves_a_pair_of_cards_together():
    pair, odd = host(24, k40c=2), host(24, k40c=1)
    assert best([pair, odd], Amounts(4, 8192), ONE) == odd


def test_among_equals_the_fullest_host_is_taken():
    empty, begun = host(24, k40c=0), host(12, k40c=0)
    assert best([empty, begun], Amounts(4, 8192), NO_CARDS) == begun


def test_models_of_cards_are_counted_apart():
    """A server beside the card that needs much costs its flavor, not that of the other card."""
    k40c, l40s = host(20, k40c=1), host(20, l40s=1)
    assert best([k40c, l40s], Amounts(8, 8192), NO_CARDS) == k40c
    both = host(24, k40c=1, l40s=1)
    assert loss(both, Amounts(8, 8192), ONE) == pytest.approx(1, abs=0.01)
    assert loss(both, Amounts(10, 8192), ONE) == pytest.approx(2, abs=0.01)


def test_it_says_what_is_lost():
    supply = PACKING.supply([])
    assert PACKING.why(host(8, k40c=2), Amounts(2, 4096), NO_CARDS, supply) == (
        "1 of 2 rooms for g1.small",
        "1 of 1 rooms for g1.large",
    )
    assert PACKING.why(host(8, k40c=0), Amounts(2, 4096), NO_CARDS, supply) == ()


@given(
    vcpus=st.floats(0, 24),
    memory_mb=st.floats(0, 98304),
    free=st.dictionaries(st.sampled_from(["k40c", "l40s"]), st.integers(0, 4)),
    servers=st.lists(
        st.tuples(st.floats(0, 8), st.floats(0, 32768), st.integers(0, 1)), max_size=4
    ),
)
def test_servers_one_after_another_lose_what_they_lose_together(vcpus, memory_mb, free, servers):
    """What is lost depends on what is left of a host, not on how it came to that."""
    asked, parts = host(vcpus, memory_mb, **free), 0.0
    now = asked
    for needed, memory, card in servers:
        server, cards = Amounts(needed, memory), {"k40c": card}
        assert loss(now, server, cards) >= -1e-9
        parts += round(loss(now, server, cards))
        now = taken(now, server, cards)
    together = Amounts(asked.left.vcpus - now.left.vcpus, asked.left.memory_mb - now.left.memory_mb)
    cards = {"k40c": sum(card for *_, card in servers)}
    assert parts == pytest.approx(round(loss(asked, together, cards)))
