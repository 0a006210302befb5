"""What holds for every cloud: counted by hand, one server after another."""

from typing import Any

import msgspec
from capacity_snapshots import flavor, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.capacity.aliases import classes
from gpufarm.capacity.flavors import flavors
from gpufarm.capacity.obstacle import LIMITS
from gpufarm.capacity.obstacles import how_many, obstacles, rules
from gpufarm.capacity.rooms import left, need, rooms, taken
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import Inventory

# Other work on the machine is no failure of these.
unhurried = settings(deadline=None)

CLASSES = ("CUSTOM_A", "CUSTOM_B")
MARK = "a=CUSTOM_A,b=CUSTOM_B"

amount = st.integers(0, 6)
stock = st.fixed_dictionaries(
    {"total": st.integers(0, 24), "reserved": amount, "used": amount},
    optional={"ratio": st.sampled_from([0.5, 1.0, 1.5, 4.0])},
)
device = st.dictionaries(
    st.sampled_from(CLASSES),
    st.fixed_dictionaries(
        {"total": st.integers(1, 3), "reserved": st.integers(0, 1)},
        optional={
            "held": st.dictionaries(st.sampled_from(["s1", "s2", "lost"]), st.integers(1, 2))
        },
    ),
    max_size=1,
)
host = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["up", "up", "up", "down", "disabled", "gone"]),
        "stock": st.fixed_dictionaries(dict.fromkeys(("VCPU", "MEMORY_MB", "DISK_GB"), stock)),
        "devices": st.dictionaries(
            st.sampled_from(["0000:04:00.0", "0000:05:00.0", "0000:06:00.0"]), device
        ),
    }
)
hosts = st.dictionaries(st.sampled_from(["h1", "h2", "h3"]), host)
wanted = st.fixed_dictionaries(
    {
        "vcpus": st.integers(0, 5),
        "memory_mb": st.integers(0, 5),
        "disk_gb": st.integers(0, 5),
        "properties": st.fixed_dictionaries(
            {
                "pci_passthrough:alias": st.sampled_from(["a:1", "a:2", "b:1,a:1", "a:1,a:2"]),
                "gpufarm:cards": st.just(MARK),
            },
            optional={"aggregate_instance_extra_specs:gpu": st.just("true")},
        ),
    }
)
clouds = st.fixed_dictionaries(
    {
        "hosts": hosts,
        "flavors": st.fixed_dictionaries({"f": wanted}),
        "lost": st.just(["lost"]),
        "aggregates": st.fixed_dictionaries(
            {
                "gpu": st.fixed_dictionaries(
                    {
                        "hosts": st.lists(st.sampled_from(["h1", "h2"])),
                        "properties": st.just({"gpu": "true"}),
                    }
                )
            }
        ),
    }
)


def started_by_hand(reading: Snapshot) -> int:
    """Start servers one after another, each on the first host where nothing is in its way."""
    asked = need(reading.flavors[0], classes(reading.flavors))
    assert asked is not None
    now, started = list(rooms(reading)), 0
    while True:
        place = next(
            (at for at, room in enumerate(now) if not obstacles(room, asked, rules(reading))), None
        )
        if place is None:
            return started
        now[place] = taken(now[place], asked, 1)
        started += 1


@unhurried
@given(clouds)
def test_can_start_is_what_starts_one_by_one(facts: dict[str, Any]) -> None:
    reading = snapshot(facts)
    assert flavors(reading)[0].can_start == started_by_hand(reading)


@unhurried
@given(clouds)
def test_limit_is_named(facts: dict[str, Any]) -> None:
    assert flavors(snapshot(facts))[0].limited_by in LIMITS.values()


@unhurried
@given(clouds)
def test_cards_are_the_limit_once_none_is_left(facts: dict[str, Any]) -> None:
    """Where no host has the cards of one more server, whatever its state, it is the cards."""
    reading = snapshot(facts)
    asked = need(reading.flavors[0], classes(reading.flavors))
    assert asked is not None
    full = [taken(room, asked, how_many(room, asked, rules(reading))) for room in rooms(reading)]
    enough = any(
        all(room.cards.get(name, 0) >= number for name, number in asked.cards.items())
        for room in full
    )
    assert (flavors(reading)[0].limited_by == "gpu") == (not enough)


@unhurried
@given(clouds, st.sampled_from(["h1", "h2", "h3"]))
def test_a_card_more_starts_no_server_less(facts: dict[str, Any], name: str) -> None:
    before = flavors(snapshot(facts))[0].can_start
    if name in facts["hosts"]:
        grown = {**facts["hosts"][name]}
        grown["devices"] = {**grown["devices"], "0000:0f:00.0": {"CUSTOM_A": {}}}
        facts = {**facts, "hosts": {**facts["hosts"], name: grown}}
    after = flavors(snapshot(facts))[0].can_start
    assert before is not None
    assert after is not None
    assert after >= before


@unhurried
@given(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 900), st.floats(0.1, 16))
def test_what_is_left_is_what_placement_admits(
    total: int, reserved: int, used: int, ratio: float
) -> None:
    """used + amount <= (total - reserved) * ratio, which is what Placement's queries say."""
    inventory = Inventory(total=total, reserved=reserved, used=used, allocation_ratio=ratio)
    most = left(inventory)
    capacity = (total - reserved) * ratio
    assert most == 0 or used + most <= capacity
    assert used + most + 1 > capacity


def test_a_flavor_that_takes_cards_only() -> None:
    facts = {"hosts": {"h1": {"stock": {}, "devices": {"0000:04:00.0": {"CUSTOM_A": {}}}}}}
    only_cards = flavor("f", 0, 0, 0, {"pci_passthrough:alias": "a:1", "gpufarm:cards": MARK})
    reading = msgspec.structs.replace(snapshot(facts), flavors=(only_cards,))
    assert flavors(reading)[0].can_start == 1
