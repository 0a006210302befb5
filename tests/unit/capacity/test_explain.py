"""What `explain` makes of snapshots and of Placement's answer."""

from typing import Any

import msgspec
from capacity_snapshots import snapshot

from gpufarm.capacity import explain
from gpufarm.capacity.aliases import known
from gpufarm.capacity.explain import Explanation
from gpufarm.capacity.rooms import need
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.model.cloud import Candidates, Limit

STOCK = {"VCPU": {"total": 16}, "MEMORY_MB": {"total": 65536}, "DISK_GB": {"total": 400}}
MARKS = {"pci_passthrough:alias": "h:1", "gpufarm:cards": "h=CUSTOM_H"}
HELD = {"CUSTOM_H": {"held": {"server-a": 1}}}
FREE: dict[str, Any] = {"CUSTOM_H": {}}
FACTS = {
    "hosts": {
        "a": {"stock": STOCK, "devices": {"0000:04:00.0": HELD}},
        "b": {"stock": STOCK, "devices": {"0000:04:00.0": FREE}},
    },
    "flavors": {"f": {"vcpus": 1, "memory_mb": 1024, "disk_gb": 10, "properties": MARKS}},
}


def of(
    facts: dict[str, Any],
    offered: str | None = None,
    count: int = 1,
    ways: int = 1,
    **more: Any,
) -> Explanation:
    """`offered` are the hosts that Placement has candidates on; None is what we would count."""
    reading = msgspec.structs.replace(snapshot(facts), **more)
    wanted = need(
        reading.flavors[0], known(reading), project=reading.project, zone=facts.get("zone")
    )
    assert wanted is not None
    answer = None
    if offered is not None:
        roots = frozenset(f"uuid-of-{name}" for name in offered.split())
        answer = Candidates(roots=roots, ways=ways)
    return explain.explain(reading, wanted, answer, count)


def codes(found: Explanation) -> list[tuple[str | None, str, str, bool]]:
    return [(each.host, each.code, each.source, each.blocks) for each in found.reasons]


def test_one_host_has_a_card() -> None:
    found = of(FACTS, "b")
    assert (found.admitted, found.can_start, found.frees_when) == (True, 1, ())
    assert codes(found) == [("a", "NO_FREE_CARD", "placement", True)]


def test_more_than_can_start() -> None:
    found = of(FACTS, "b", count=2)
    assert (found.admitted, found.can_start) == (False, 1)
    assert [host for host, *_ in codes(found)] == ["a", "b"]
    (cure,) = found.frees_when
    assert (cure.host, cure.number, cure.of) == ("a", 1, ("server-a",))


def test_placement_offers_less_than_we_count() -> None:
    found = of(FACTS, "", ways=0)
    assert (found.admitted, found.can_start) == (False, 0)
    assert codes(found)[1] == ("b", "PLACEMENT", "placement", True)


def test_placement_offers_more_than_we_count() -> None:
    found = of(FACTS, "a b")
    assert found.admitted
    assert codes(found) == [("a", "NO_FREE_CARD", "placement", False)]
    assert "Placement offers the host all the same" in found.reasons[0].message


def test_the_list_of_candidates_is_full() -> None:
    found = of(FACTS, "", ways=1000)
    assert codes(found)[1] == ("b", "CANDIDATE_LIMIT", "placement", True)


def test_a_filter_that_nobody_knows() -> None:
    scheduler = Scheduler(source="nova.conf", filters=("ComputeFilter", "RackFilter"))
    found = of(FACTS, "b", scheduler=scheduler)
    assert found.admitted
    assert codes(found)[0] == (None, "FILTER_UNKNOWN", "RackFilter", False)


def test_a_quota() -> None:
    limits = (Limit(name="instances", limit=3, used=3), Limit(name="ram", limit=-1, used=9))
    found = of(FACTS, "b", limits=limits)
    assert (found.admitted, found.can_start) == (False, 0)
    assert codes(found)[0] == (None, "QUOTA", "quota", True)
    assert found.frees_when[0].number == 1


def test_a_quota_that_lets_fewer() -> None:
    limits = (Limit(name="instances", limit=3, used=2),)
    facts = {**FACTS, "hosts": {"b": {"stock": STOCK, "devices": {"x": FREE, "y": FREE}}}}
    found = of(facts, "b", count=2, limits=limits)
    assert (found.admitted, found.can_start) == (False, 1)
    assert codes(found)[0] == (None, "QUOTA", "quota", False)


def test_reasons_come_in_the_scheduler_s_order() -> None:
    """Placement before the filters, those as they are configured."""
    facts = {
        **FACTS,
        "hosts": {"a": {"stock": STOCK, "devices": {"x": HELD}, "state": "down"}},
        "flavors": {
            "f": {
                **FACTS["flavors"]["f"],
                "properties": {**MARKS, "aggregate_instance_extra_specs:gpu": "true"},
            }
        },
    }
    order = ("AggregateInstanceExtraSpecsFilter", "ComputeFilter")
    for filters in (order, order[::-1]):
        found = of(facts, "", scheduler=Scheduler(filters=filters))
        assert [each.source for each in found.reasons] == ["placement", *filters]
        assert found.frees_when == ()


def test_a_zone_that_is_not_there() -> None:
    found = of({**FACTS, "zone": "az9"}, "")
    assert not found.admitted
    assert found.reasons[0].message == "there is no availability zone az9; there are: nova"


def test_everything_that_would_have_to_end() -> None:
    """A cordon and a leak go first, then a server, and the host has to be up."""
    devices = {
        "0000:04:00.0": HELD,
        "0000:05:00.0": {"CUSTOM_H": {"reserved": 1}},
        "0000:06:00.0": {"CUSTOM_H": {"held": {"nobody": 1}}},
    }
    facts = {
        **FACTS,
        "hosts": {"a": {"stock": STOCK, "devices": devices, "state": "down"}},
        "lost": ["nobody"],
        "flavors": {
            "f": {
                **FACTS["flavors"]["f"],
                "properties": {**MARKS, "pci_passthrough:alias": "h:3"},
            }
        },
    }
    found = of(facts, "")
    assert [(each.action, each.number, each.of) for each in found.frees_when] == [
        ("uncordon cards", 1, ("0000:05:00.0",)),
        ("remove leaked allocations", 1, ("nobody",)),
        ("delete or move servers", 1, ("server-a",)),
        ("start nova-compute", 1, ("a",)),
    ]
