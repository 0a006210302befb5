"""A list of candidates that Placement has cut: when it is asked for, and what follows from it."""

from unittest import mock

import msgspec
import pytest
from capacity_snapshots import snapshot

from gpufarm.capacity import facts, report
from gpufarm.capacity.admission import refusal
from gpufarm.capacity.flavors import needs
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import Candidates

CONNECTION = mock.Mock()
STOCK = {"VCPU": {"total": 16}, "MEMORY_MB": {"total": 65536}, "DISK_GB": {"total": 400}}
FOUR = {f"0000:0{number}:00.0": {"CUSTOM_H": {}} for number in range(1, 5)}
MARKS = {"pci_passthrough:alias": "h:2", "gpufarm:cards": "h=CUSTOM_H"}
WAYS = 12
"""To choose two of four cards, in their order."""


def cloud(limit: int, **states: str) -> Snapshot:
    """Hosts of four free cards each, of which a server takes two."""
    reading = snapshot(
        {
            "hosts": {
                name: {"stock": STOCK, "devices": FOUR, "state": state}
                for name, state in states.items()
            },
            "flavors": {"f": {"vcpus": 1, "memory_mb": 1024, "disk_gb": 10, "properties": MARKS}},
        }
    )
    return msgspec.structs.replace(reading, scheduler=Scheduler(max_candidates=limit))


def listing(reading: Snapshot, *hosts: str) -> Snapshot:
    """Placement's list is full, and has these hosts."""
    roots = frozenset(f"uuid-of-{name}" for name in hosts)
    answer = Candidates(roots=roots, ways=reading.scheduler.max_candidates)
    return msgspec.structs.replace(reading, candidates={"f": answer})


@pytest.mark.parametrize(
    ("reading", "asked"),
    [
        (cloud(WAYS, a="up", b="down"), True),
        (cloud(WAYS + 1, a="up", b="down"), False),
        (cloud(2 * WAYS, a="up", b="down", c="gone"), True),
        (cloud(1, a="up", b="up"), False),
        (cloud(1, a="down", b="down"), False),
        # Placement leaves a disabled one out by itself.
        (cloud(1, a="up"), False),
    ],
)
def test_placement_is_asked_where_its_list_may_lack_hosts(
    reading: Snapshot, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = mock.Mock()
    placement.candidates.return_value = Candidates(roots=frozenset(), ways=0)
    monkeypatch.setattr(facts, "placement", placement)
    found = facts.with_candidates(CONNECTION, reading, needs(reading).values())
    assert placement.candidates.call_count == asked
    assert set(found.candidates) == ({"f"} if asked else set())


def test_no_host_that_would_do_is_listed() -> None:
    reading = listing(cloud(WAYS, a="up", b="down"), "b")
    (row,) = report.parts(reading)[1]
    assert (row.can_start, row.limited_by) == (0, "candidate limit")
    said = refusal(reading, reading.flavors[0])
    assert said
    assert said.startswith(f"Placement lists {WAYS} candidates, and a, which would do, is not")


def test_some_that_would_do_are_listed() -> None:
    reading = listing(cloud(WAYS, a="up", b="down", c="up"), "b", "c")
    (row,) = report.parts(reading)[1]
    assert (row.can_start, row.limited_by) == (4, "host state")
    (note,) = report.notes(reading)
    assert "can_start is at most that" in note
    assert refusal(reading, reading.flavors[0]) is None


def test_all_that_would_do_are_listed() -> None:
    reading = listing(cloud(WAYS, a="up", b="down"), "a", "b")
    assert report.parts(reading)[1][0].can_start == 2
    assert report.notes(reading) == ()


def test_a_list_that_is_not_full_lacks_nobody() -> None:
    reading = cloud(WAYS, a="up", b="down")
    answer = Candidates(roots=frozenset(), ways=WAYS - 1)
    reading = msgspec.structs.replace(reading, candidates={"f": answer})
    assert report.parts(reading)[1][0].can_start == 2
