"""A cloud's own hosts and servers as a trace."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.model.cloud import Inventory, Provider
from gpufarm.model.errors import SimulationImpossible
from gpufarm.model.server import Asked
from gpufarm.simulate import history, learning, trace
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts, Host

CLASSES = {"CUSTOM_K40C": "k40c", "CUSTOM_L40S": "l40s"}


def provider(name, root, **inventories):
    stock = {key: Inventory(total=total, reserved=0, used=0) for key, total in inventories.items()}
    return Provider(
        uuid=name, name=name, root_uuid=root, generation=1, inventories=stock, allocations={}
    )


def asked(name, minute, ended=None, failed=False, vcpus=2):
    return Asked(
        id=name,
        flavor="g1",
        vcpus=vcpus,
        memory_mb=4096,
        properties={},
        created=f"2026-11-21T07:{minute:02}:00Z",
        ended="" if ended is None else f"2026-11-21T07:{ended:02}:00.000000",
        failed=failed,
    )


def came(*servers):
    return history.came(servers, lambda _: {"k40c": 1})


def test_what_is_written_is_read_as_a_trace(tmp_path):
    hosts = history.nodes(
        [
            provider("a", "a", VCPU=24, MEMORY_MB=98304),
            provider("a_1", "a", CUSTOM_K40C=1),
            provider("a_2", "a", CUSTOM_K40C=1),
            provider("b", "b", VCPU=8, MEMORY_MB=1024),
            provider("nfs", "nfs", DISK_GB=8),
        ],
        CLASSES,
    )
    found = came(asked("one", 0), asked("two", 1, ended=3), asked("three", 2, failed=True))
    (tmp_path / "nodes.csv").write_text(history.nodes_csv(hosts))
    (tmp_path / "requests.csv").write_text(history.requests_csv(found))
    read = trace.read(tmp_path / "nodes.csv", tmp_path / "requests.csv")
    assert read.nodes == hosts
    assert [node.cards for node in hosts] == [2, 0]
    assert read.requests == (Request((("k40c", 1),), 2, 4096),) * 3


def test_allocation_ratios_and_reserved_amounts_count():
    stock = Inventory(total=24, reserved=4, used=0, allocation_ratio=2.0)
    root = provider("a", "a", MEMORY_MB=1024)
    root.inventories["VCPU"] = stock
    (host,) = history.nodes([root], CLASSES)
    assert host.vcpus == 40


def test_a_host_with_two_models_is_told(tmp_path):
    found = [
        provider("a", "a", VCPU=24, MEMORY_MB=98304),
        provider("a_1", "a", CUSTOM_K40C=1),
        provider("a_2", "a", CUSTOM_L40S=1),
    ]
    with pytest.raises(SimulationImpossible, match=r"a has cards of several models \(k40c, l40s\)"):
        history.nodes(found, CLASSES)


def test_peaks_count_servers_at_once_and_those_that_found_no_place():
    found = came(
        asked("one", 0, ended=2), asked("two", 1), asked("three", 3), asked("four", 3, failed=True)
    )
    assert history.peaks(found) == {"k40c": 3}
    assert found[0].created == datetime(2026, 11, 21, 7, tzinfo=UTC).timestamp()


def hosts(number, cards):
    return {
        f"host{place:03}": Host(Amounts(9, 9), Amounts(9, 9), cards, {"gpu": 0})
        for place in range(number)
    }


@given(peak=st.integers(0, 300), more=st.integers(0, 50))
def test_hosts_are_open_only_beyond_the_peak_and_its_margin(peak, more):
    cloud = {**hosts(50, 2), "large": Host(Amounts(9, 9), Amounts(9, 9), 8, {"gpu": 8})}
    opened = learning.open_hosts(cloud, {"gpu": peak})
    given_up = sum(cloud[name].cards for name in opened)
    assert given_up == 0 or 108 - given_up >= peak + 0.06 * 108
    assert learning.open_hosts(cloud, {"gpu": peak + more}) <= opened


def test_a_model_that_nobody_asked_for_is_kept():
    assert learning.open_hosts(hosts(3, 2), {}) == frozenset()
