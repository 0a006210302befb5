"""What a farm keeps for its free cards: of each card, of a host, of a server."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.model import consistency, reserve
from gpufarm.model.farm import Farm, flavor_properties
from gpufarm.model.reserve import MEMORY_CLASS, VCPU_CLASS, Machine
from gpufarm_nova.reserve import Amounts

K40C = {"vendor_id": "10de", "product_id": "1024"}
H100 = {"vendor_id": "10de", "product_id": "2330"}


def a_farm(mode: Any = "hard", **parts: Any) -> Farm:
    document = {
        "version": 1,
        "name": "ours",
        "release": 34,
        "reserve": mode,
        "cards": {"k40c": K40C},
        "flavors": {
            "g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 1}},
            "g2": {"vcpus": 12, "memory_mb": 8192, "disk_gb": 0, "cards": {"k40c": 2}},
            "c1": {"vcpus": 4, "memory_mb": 1024, "disk_gb": 0},
        },
    }
    farm = msgspec.convert(document | parts, Farm)
    consistency.check(farm)
    return farm


def test_a_card_keeps_the_median_of_what_its_flavors_give_it() -> None:
    assert reserve.of_cards(a_farm("dynamic")) == {"k40c": Amounts(4, 4096)}


def test_a_reserve_of_its_own_comes_before_its_flavors() -> None:
    own = {"k40c": K40C | {"reserve": {"vcpus": 1.5, "memory_mb": 100}}}
    assert reserve.of_cards(a_farm("dynamic", cards=own)) == {"k40c": Amounts(1.5, 100)}


def test_a_farm_that_keeps_nothing_has_no_reserve() -> None:
    own = {"k40c": K40C | {"reserve": {"vcpus": 1, "memory_mb": 100}}}
    assert reserve.of_cards(a_farm("none", cards=own)) == {}


def test_a_server_draws_what_is_kept_for_its_cards_and_the_rest_as_everybody() -> None:
    farm = a_farm()
    small, large, ordinary = (
        flavor_properties(farm, farm.flavors[name]) for name in ("g1", "g2", "c1")
    )
    assert small[f"resources:{VCPU_CLASS}"] == "2"
    assert small["resources:VCPU"] == "0"
    assert large[f"resources:{VCPU_CLASS}"] == "8"
    assert large["resources:VCPU"] == "4"
    assert large[f"resources:{MEMORY_CLASS}"] == "8192"
    assert large["resources:MEMORY_MB"] == "0"
    assert not any(key.startswith("resources:") for key in ordinary)


def test_nobody_draws_where_the_reserve_is_not_hard() -> None:
    farm = a_farm("dynamic")
    assert not any("resources:" in key for key in flavor_properties(farm, farm.flavors["g1"]))


def test_what_a_host_keeps() -> None:
    kept = reserve.on(a_farm(), Machine(24, 98304, {"k40c": 2}))
    assert kept == reserve.Kept({VCPU_CLASS: 8, MEMORY_CLASS: 8192}, 8, 512 + 8192)
    ratio = {"mode": "hard", "cpu_ratio": 4, "host_cpus": 2, "host_memory_mb": 4096}
    kept = reserve.on(a_farm(ratio), Machine(24, 98304, {"k40c": 2}))
    assert kept == reserve.Kept({VCPU_CLASS: 8, MEMORY_CLASS: 8192}, 2 + 2, 4096 + 8192)


def test_a_host_keeps_no_more_than_the_share() -> None:
    half = a_farm({"mode": "hard", "share": 0.5})
    kept = reserve.on(half, Machine(8, 512 + 4096, {"k40c": 2}))
    assert kept == reserve.Kept({VCPU_CLASS: 4, MEMORY_CLASS: 2048}, 4, 512 + 2048)


@pytest.mark.parametrize("cards", [{}, {"k40c": 0}])
def test_a_host_without_cards_keeps_nothing(cards: dict[str, int]) -> None:
    assert reserve.on(a_farm(), Machine(24, 98304, cards)) is None


amounts = st.integers(1, 64)
flavors = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.fixed_dictionaries(
        {
            "vcpus": amounts,
            "memory_mb": amounts,
            "disk_gb": st.just(0),
            "cards": st.dictionaries(
                st.sampled_from(["k40c", "h100"]), st.integers(1, 4), min_size=1
            ),
        }
    ),
    min_size=1,
)


@given(
    flavors=flavors,
    cards=st.fixed_dictionaries({"k40c": st.integers(0, 8), "h100": st.integers(0, 8)}),
    cpus=st.integers(1, 64),
    mode=st.fixed_dictionaries(
        {
            "mode": st.just("hard"),
            "share": st.floats(0.1, 1),
            "cpu_ratio": st.sampled_from([1, 1.5, 4, 16]),
        }
    ),
    started=st.lists(st.integers(0, 3)),
)
def test_free_cards_leave_their_reserve_whatever_servers_with_cards_started(
    flavors: dict[str, Any],
    cards: dict[str, int],
    cpus: int,
    mode: dict[str, Any],
    started: list[int],
) -> None:
    """As Placement admits: a class of a host never gives out more than its inventory."""
    farm = a_farm(mode, cards={"k40c": K40C, "h100": H100}, flavors=flavors)
    kept = reserve.on(farm, Machine(cpus, 10_000, cards))
    if kept is None:
        return
    assert kept.host_cpus <= cpus
    assert kept.inventory.get(VCPU_CLASS, 0) <= kept.host_cpus * mode["cpu_ratio"]
    left = dict(kept.inventory)
    free = dict(cards)
    names = sorted(flavors)
    for number in started:
        flavor = farm.flavors[names[number % len(names)]]
        specs = flavor_properties(farm, flavor)
        need = {name: int(specs.get(f"resources:{name}", 0)) for name in reserve.CLASSES}
        fits = all(left.get(name, 0) >= amount for name, amount in need.items())
        if fits and all(free[card] >= count for card, count in flavor.cards.items()):
            left = {name: amount - need.get(name, 0) for name, amount in left.items()}
            free = {card: count - flavor.cards.get(card, 0) for card, count in free.items()}
    if kept.inventory.get(VCPU_CLASS) == _asked(farm, cards):  # nothing was capped
        assert left.get(VCPU_CLASS, 0) >= _asked(farm, free)


def _asked(farm: Farm, cards: dict[str, int]) -> int:
    reserves = reserve.of_cards(farm)
    return sum(
        count * math.ceil(reserves[card].vcpus) for card, count in cards.items() if card in reserves
    )
