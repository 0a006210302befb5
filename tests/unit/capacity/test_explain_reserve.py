"""What is kept for free cards, in capacity and explain: by the scheduler or by Placement."""

import json
from typing import Any

import msgspec
from capacity_snapshots import snapshot
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.capacity import explain, report
from gpufarm.capacity.aliases import known
from gpufarm.capacity.explain import Explanation
from gpufarm.capacity.obstacles import every, how_many, obstacles, rules
from gpufarm.capacity.rooms import need, rooms, taken
from gpufarm.capacity.scheduler import Packing, Scheduler, from_settings
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudAggregate
from gpufarm.model.settings import Settings
from gpufarm_nova.lesson import Lesson
from gpufarm_nova.reserve import Amounts

FREE: dict[str, Any] = {"CUSTOM_K": {}}
HELD = {"CUSTOM_K": {"held": {"gpu-server": 1}}}
ORDINARY = {"m": {"vcpus": 4, "memory_mb": 1024, "disk_gb": 1}}
KEEPS = Scheduler(
    filters=("ComputeFilter", "GpuReserveFilter"), reserves={"CUSTOM_K": Amounts(2, 4096)}
)


def facts(*devices: dict[str, Any], used: int = 0, **stock: dict[str, Any]) -> dict[str, Any]:
    amounts = {
        "VCPU": {"total": 24, "used": used},
        "MEMORY_MB": {"total": 65536},
        "DISK_GB": {"total": 400},
    }
    cards = {f"0000:0{number}:00.0": device for number, device in enumerate(devices)}
    return {"hosts": {"a": {"stock": amounts | stock, "devices": cards}}, "flavors": ORDINARY}


def reading(found: dict[str, Any], **more: Any) -> Snapshot:
    return msgspec.structs.replace(snapshot(found), **{"scheduler": KEEPS, **more})


def explained(snapshot: Snapshot) -> Explanation:
    wanted = need(snapshot.flavors[0], known(snapshot))
    assert wanted is not None
    return explain.explain(snapshot, wanted, None)


def can_start(found: dict[str, Any], **more: Any) -> int | None:
    return explained(reading(found, **more)).can_start


def test_an_ordinary_server_leaves_what_free_cards_need() -> None:
    found = explained(reading(facts(FREE, FREE, used=17)))
    assert not found.admitted
    (reason,) = found.reasons
    assert (reason.code, reason.source) == ("RESERVED_FOR_GPU", "GpuReserveFilter")
    assert (reason.needed, reason.available) == (4, 3)
    assert "3 VCPU left beside the 4 that are kept for its free cards" in reason.message


def test_the_end_of_ordinary_servers_would_do() -> None:
    found = facts(FREE, HELD, used=20)
    asked = reading(found)
    (root, *devices) = asked.providers
    held = {"gpu-server": {"VCPU": 12}, "small": {"VCPU": 2}, "large": {"VCPU": 6}}
    root = msgspec.structs.replace(root, allocations=held)
    (cure,) = explained(msgspec.structs.replace(asked, providers=(root, *devices))).frees_when
    assert (cure.what, cure.number, cure.of) == ("VCPU", 1, ("large",))


def test_a_card_that_nobody_can_take_keeps_nothing() -> None:
    assert can_start(facts(FREE, FREE)) == 5
    assert can_start(facts(FREE, HELD)) == 5
    assert can_start(facts(HELD, HELD)) == 6
    cordons = CloudAggregate(
        id=1,
        name="gpufarm-cordons",
        zone=None,
        hosts=frozenset(),
        properties={"a.example_0000:00:00.0": "{}", "a.example_0000:01:00.0": "{}"},
    )
    closed = {"CUSTOM_K": {"reserved": 1}}
    assert can_start(facts(closed, closed), aggregates=(cordons,)) == 6
    # Somebody else's: the filter does not know of it.
    assert can_start(facts(closed, closed)) == 5
    once = {"HW_PCI_ONE_TIME_USE": frozenset({"uuid-of-a.example_0000:00:00.0"})}
    assert can_start(facts(closed), traits=once) == 6
    assert can_start(facts(closed)) == 5


def test_a_card_of_a_leaked_allocation_is_free_for_the_filter() -> None:
    assert can_start(facts(HELD), lost=frozenset({"gpu-server"})) == 5


def test_nothing_is_kept_without_the_filter_or_for_other_cards() -> None:
    assert can_start(facts(FREE), scheduler=Scheduler(reserves=KEEPS.reserves)) == 6
    assert can_start(facts({"CUSTOM_OTHER": {}})) == 6


def test_nothing_is_kept_on_a_host_that_is_open() -> None:
    def by(*opened: str) -> Scheduler:
        lesson = Lesson((), open_hosts=frozenset(opened))
        return msgspec.structs.replace(
            KEEPS, packing=Packing(cards={"CUSTOM_K": "k"}, flavors=(), lesson=lesson)
        )

    assert can_start(facts(FREE, FREE), scheduler=by("b")) == 5
    assert can_start(facts(FREE, FREE), scheduler=by("b", "a.example")) == 6


def test_a_server_with_the_card_draws_on_the_reserve() -> None:
    gpu = {
        "g": {
            "vcpus": 4,
            "memory_mb": 1024,
            "disk_gb": 1,
            "properties": {"pci_passthrough:alias": "k:1", "gpufarm:cards": "k=CUSTOM_K"},
        }
    }
    found = facts(FREE, used=20) | {"flavors": gpu}
    assert report.parts(reading(found))[1][0].can_start == 1


def test_of_numa_nodes_only_the_scheduler_can_say() -> None:
    pinned = {"m": ORDINARY["m"] | {"properties": {"hw:numa_nodes": "1"}}}
    found = explained(reading(facts(FREE) | {"flavors": pinned}))
    assert ("RESERVED_FOR_GPU", False) in [(each.code, each.blocks) for each in found.reasons]


def test_the_settings_of_the_scheduler() -> None:
    kept = {"card": "k", "vendor_id": "10de", "product_id": "1024", "vcpus": 2, "memory_mb": 9}
    own = kept | {"resource_class": "CUSTOM_K"}
    found = from_settings(
        Settings(
            {
                "gpufarm": {
                    "reserve": (json.dumps(kept), json.dumps(own), "{", "[]", "{}"),
                    "reserve_share": ("0.5",),
                }
            }
        ),
        "a file",
    )
    assert found.reserve_share == 0.5
    assert found.reserves == {"CUSTOM_PCI_10DE_1024": Amounts(2, 9), "CUSTOM_K": Amounts(2, 9)}
    assert from_settings(Settings({"gpufarm": {"reserve_share": ("x",)}}), "").reserve_share == 1


def hard(used: int, drawn: int, *devices: dict[str, Any]) -> dict[str, Any]:
    return facts(
        *devices,
        VCPU={"total": 24, "reserved": 4, "used": used},
        CUSTOM_GPU_VCPU={"total": 4, "used": drawn},
        CUSTOM_GPU_MEMORY_MB={"total": 8192, "used": 4096 * drawn // 2},
    )


GPU = {
    "g": {
        "vcpus": 3,
        "memory_mb": 4096,
        "disk_gb": 1,
        "properties": {
            "pci_passthrough:alias": "k:1",
            "gpufarm:cards": "k=CUSTOM_K",
            "resources:CUSTOM_GPU_VCPU": "2",
            "resources:CUSTOM_GPU_MEMORY_MB": "4096",
            "resources:VCPU": "1",
            "resources:MEMORY_MB": "0",
        },
    }
}


def test_what_placement_keeps_is_named() -> None:
    plain = {"scheduler": Scheduler()}
    found = explained(reading(hard(18, 0, FREE, FREE), **plain))
    (reason,) = found.reasons
    assert (reason.code, reason.source) == ("RESERVED_FOR_GPU", "placement")
    assert "2 VCPU left beside the 4 that are kept" in reason.message
    found = explained(reading(hard(18, 4, HELD, HELD), **plain))
    assert [reason.code for reason in found.reasons] == ["NOT_ENOUGH_VCPU"]


def test_a_server_with_cards_draws_on_what_placement_keeps() -> None:
    plain = {"scheduler": Scheduler()}
    for used, drawn, number, limit in ((18, 0, 2, "gpu"), (19, 0, 1, "vcpu"), (0, 4, 0, "reserve")):
        found = hard(used, drawn, FREE, FREE) | {"flavors": GPU}
        (row,) = report.parts(reading(found, **plain))[1]
        assert (row.can_start, row.limited_by) == (number, limit)
    bare = facts(FREE) | {"flavors": GPU}
    (first, _) = explained(reading(bare, **plain)).reasons
    assert "reports no CUSTOM_GPU" in first.message


@given(
    st.integers(0, 30),
    st.integers(0, 3),
    st.integers(0, 3),
    st.floats(0, 12),
    st.floats(0.1, 1),
)
def test_how_many_start_is_how_many_start_one_after_another(
    used: int, free: int, held: int, vcpus: float, share: float
) -> None:
    keeps = msgspec.structs.replace(
        KEEPS, reserves={"CUSTOM_K": Amounts(vcpus, 100)}, reserve_share=share
    )
    asked = reading(facts(*[FREE] * free, *[HELD] * held, used=min(used, 24)), scheduler=keeps)
    wanted = need(asked.flavors[0], known(asked))
    assert wanted is not None
    (room,), by = rooms(asked), rules(asked)
    number = 0
    while not obstacles(room, wanted, by):
        assert how_many(room, wanted, by) > 0
        room = taken(room, wanted, 1)
        number += 1
    assert how_many(rooms(asked)[0], wanted, by) == number
    assert every(room, wanted, by)
