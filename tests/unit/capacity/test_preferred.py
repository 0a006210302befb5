"""The order in which gpufarm's weigher prefers hosts, as explain says it."""

import json
from typing import Any

import msgspec
import pytest
from capacity_snapshots import snapshot
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.capacity import explain, preferred
from gpufarm.capacity.aliases import known
from gpufarm.capacity.rooms import need
from gpufarm.capacity.scheduler import Packing, Scheduler, from_settings
from gpufarm.cli import scheduler_source
from gpufarm.model.settings import Settings
from gpufarm_nova import lesson as lessons
from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts

G1 = Flavor("g1", (("k", 1),), 4, 4096)
CARDS = {"CUSTOM_K": "k"}
WEIGHS = Scheduler(
    filters=("ComputeFilter",),
    reserves={"CUSTOM_K": Amounts(4, 4096)},
    packing=Packing(cards=CARDS, flavors=(G1,)),
)
LEARNED = Lesson((Request((("k", 1),), 4, 4096, 9), Request((), 8, 8192, 9)), made="today")
GPU = {"pci_passthrough:alias": "k:1", "gpufarm:cards": "k=CUSTOM_K"}


def facts(**left: tuple[int, int]) -> dict[str, Any]:
    """Hosts of 24 vCPUs by how many are left, and how many cards are free."""
    return {
        "hosts": {
            name: {
                "stock": {
                    "VCPU": {"total": 24, "used": 24 - vcpus},
                    "MEMORY_MB": {"total": 65536},
                    "DISK_GB": {"total": 400},
                },
                "devices": {f"0000:0{number}:00.0": {"CUSTOM_K": {}} for number in range(cards)},
            }
            for name, (vcpus, cards) in left.items()
        }
    }


def explained(
    hosts: dict[str, Any], scheduler: Scheduler = WEIGHS, vcpus: int = 4, **properties: str
) -> explain.Explanation:
    flavor = {"vcpus": vcpus, "memory_mb": 1024, "disk_gb": 1, "properties": properties}
    read = snapshot(hosts | {"flavors": {"m": flavor}})
    read = msgspec.structs.replace(read, scheduler=scheduler)
    wanted = need(read.flavors[0], known(read))
    assert wanted is not None
    return explain.explain(read, wanted, None)


def order(*given: Any, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.host, each.why) for each in explained(*given, **more).preferred]


def taught(lesson: Lesson) -> Scheduler:
    assert WEIGHS.packing is not None
    packing = msgspec.structs.replace(WEIGHS.packing, file="learned.json", lesson=lesson)
    return msgspec.structs.replace(WEIGHS, packing=packing)


def test_the_host_that_loses_least_is_the_first() -> None:
    hosts = facts(wide=(24, 2), tight=(9, 2), full=(3, 0), plain=(24, 0))
    assert order(hosts) == [
        ("plain", ()),
        ("wide", ()),
        ("tight", ("1 of 2 rooms for g1",)),
    ]


def test_a_server_with_cards_goes_where_cards_are_in_use() -> None:
    hosts = facts(one=(24, 1), two=(24, 2))
    assert [host for host, _ in order(hosts, **GPU)] == ["one", "two"]
    learned = order(hosts, taught(LEARNED), **GPU)
    assert learned == [("one", ()), ("two", ("cards left free beside it: 1",))]


def test_what_was_learned_decides() -> None:
    """Of 12 vCPU 8 stay of use, of 9 none: an ordinary server takes 8."""
    hosts = facts(twelve=(12, 0), nine=(9, 0))
    assert [host for host, _ in order(hosts, vcpus=1)] == ["nine", "twelve"]
    learned = explained(hosts, taught(LEARNED), vcpus=4).preferred
    assert [each.host for each in learned] == ["twelve", "nine"]
    assert learned[1].why == ("4 more vCPU that no server in use here could take",)


def test_nothing_is_said_where_the_weigher_does_not_decide() -> None:
    hosts = facts(a=(24, 1))
    assert explained(hosts, Scheduler(reserves=WEIGHS.reserves)).preferred == ()
    assert explained(hosts, **{"hw:numa_nodes": "1"}).preferred == ()
    refused = explained(hosts, vcpus=25)
    assert (refused.admitted, refused.preferred) == (False, ())


def test_what_the_order_goes_by() -> None:
    found = snapshot(facts() | {"flavors": {"m": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0}}})
    wanted = need(found.flavors[0], {})
    assert wanted is not None
    assert preferred.notes(wanted, Scheduler()) == ()
    (alone,) = preferred.notes(wanted, WEIGHS)
    assert "by the GPU flavors alone; a loss is in cards" in alone
    (learned,) = preferred.notes(wanted, taught(LEARNED))
    assert "learned (learned.json, made today); a loss is in vCPU" in learned
    (ordinary,) = preferred.notes(wanted, taught(Lesson(LEARNED.requests[1:])))
    assert "learned.json knows of no server with cards; a loss is in cards" in ordinary


WEIGHTS = {"filter_scheduler": {"weight_classes": ("all, gpufarm_nova.weigher.GpuPackingWeigher",)}}


def settings(**options: str | tuple[str, ...]) -> Settings:
    given = {key: value if isinstance(value, tuple) else (value,) for key, value in options.items()}
    return Settings(WEIGHTS | {"gpufarm": given})


def test_the_settings_of_the_weigher() -> None:
    card = {"card": "k", "vendor_id": "10de", "product_id": "1024", "vcpus": 2, "memory_mb": 9}
    flavor = {"name": "g1", "cards": {"k": 1}, "vcpus": 4, "memory_mb": 4096}
    wrong = ("{", "[]", "{}", json.dumps(flavor | {"cards": {"k": 0}}))
    found = from_settings(
        settings(
            reserve=json.dumps(card),
            gpu_flavors=(json.dumps(flavor), *wrong),
            packing_file="/etc/nova/packing.json",
        ),
        "a file",
    )
    assert found.packing == Packing(
        cards={"CUSTOM_PCI_10DE_1024": "k"}, flavors=(G1,), file="/etc/nova/packing.json"
    )
    assert from_settings(settings(packing_weight_multiplier="0"), "").packing is None
    assert from_settings(Settings({"gpufarm": {}}), "").packing is None


def test_the_file_of_what_was_learned(tmp_path_factory: pytest.TempPathFactory) -> None:
    there, copied = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("copied")
    conf = [copied / "nova.conf"]
    named = from_settings(settings(packing_file=f"{there}/l.json"), "")

    def read() -> Packing:
        found = scheduler_source.with_lesson(named, conf).packing
        assert found is not None
        return found

    assert (read().lesson, read().problem) == (None, "No such file or directory")
    (copied / "l.json").write_text(lessons.dumps(LEARNED))
    assert (read().lesson, read().problem, read().file) == (LEARNED, "", f"{copied}/l.json")
    for broken in (b"{", b"\xff", b"{}"):
        (there / "l.json").write_bytes(broken)
        assert read().lesson is None
        assert read().problem
    unnamed = from_settings(settings(), "")
    assert scheduler_source.with_lesson(unnamed, conf) == unnamed


@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 3)), max_size=6),
    st.integers(1, 8),
    st.booleans(),
)
def test_every_host_that_takes_the_server_is_there_once(
    left: list[tuple[int, int]], vcpus: int, learned: bool
) -> None:
    hosts = facts(**{f"h{number}": each for number, each in enumerate(left)})
    found = explained(hosts, taught(LEARNED) if learned else WEIGHS, vcpus).preferred
    fitting = {f"h{number}" for number, (free, _) in enumerate(left) if free >= vcpus}
    assert {each.host for each in found} == fitting
    assert len(found) == len(fitting)
    losses = [each.loss for each in found]
    assert losses == sorted(losses)
