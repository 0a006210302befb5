"""GpuPackingWeigher among Nova's weighers."""

import nova_objects as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.reading import Reading

K40C = {"card": "k40c", "vendor_id": "10de", "product_id": "1024", "vcpus": 4, "memory_mb": 8192}
FLAVORS = [
    {"name": "g1.gpu", "cards": {"k40c": 1}, "vcpus": 4, "memory_mb": 8192},
    {"name": "g1.two", "cards": {"k40c": 2}, "vcpus": 8, "memory_mb": 16384},
]
TWO_CELLS = made.cells(made.cell(0, cpus=range(12)), made.cell(1, cpus=range(12, 24)))


@pytest.fixture
def weigher(configure):
    def made_weigher(**given):
        configure(reserve=[K40C], gpu_flavors=FLAVORS, **given)
        from gpufarm_nova.weigher import GpuPackingWeigher

        return GpuPackingWeigher()

    return made_weigher


def order(weigher, hosts, request):
    """The names of the hosts, the best first, as Nova's own weighers and this one put them."""
    from nova.scheduler import weights
    from nova.scheduler.weights import cpu, ram

    handler = weights.HostWeightHandler()
    weighers = [cpu.CPUWeigher(), ram.RAMWeigher(), weigher]
    return [each.obj.host for each in handler.get_weighed_objects(weighers, hosts, request)]


def gpu_host(name, cards=0, **given):
    devices = [each for number in range(cards) for each in made.device("k40c", number, numa_node=0)]
    return made.host(devices, name=name, **given)


def test_an_ordinary_server_goes_where_no_room_for_gpu_servers_is_lost(weigher):
    hosts = [gpu_host("tight", 2, vcpus_used=16), gpu_host("roomy", 2), gpu_host("plain")]
    assert order(weigher(), hosts, made.request(8, 1024))[-1] == "tight"


def test_a_gpu_server_leaves_two_cards_together(weigher):
    hosts = [gpu_host("two", 2), gpu_host("one", 1, vcpus_used=16)]
    assert order(weigher(), hosts, made.request(4, 8192, made.alias("k40c"))) == ["one", "two"]


def test_gpu_servers_go_last_to_hosts_that_are_open(weigher):
    found = weigher()
    found.reader._reading = Reading(frozenset(), {}, Lesson((), open_hosts=frozenset({"one"})))
    found.reader._due = float("inf")
    hosts = [gpu_host("one", 1, vcpus_used=16), gpu_host("two", 2)]
    assert order(found, hosts, made.request(4, 8192, made.alias("k40c"))) == ["two", "one"]
    assert order(found, hosts, made.request(4, 8192)) == ["one", "two"]


def test_novas_weighers_decide_between_equals(weigher):
    hosts = [gpu_host("full", vcpus_used=12), gpu_host("empty")]
    found = weigher(packing_weight_multiplier=0.0)
    assert order(found, hosts, made.request(1, 1024)) == ["empty", "full"]


def test_an_aggregate_can_set_the_multiplier(weigher):
    from nova import objects

    host = gpu_host("node1")
    host.aggregates = [objects.Aggregate(metadata={"packing_weight_multiplier": "7"})]
    found = weigher()
    assert found.weight_multiplier(host) == 7
    assert found.weight_multiplier(gpu_host("node2")) == 10000


def test_a_server_that_is_bound_to_a_cell_is_weighed_on_that_cell(weigher):
    other = made.cells(made.cell(0, cpus=range(12), cpu_usage=2), made.cell(1, cpus=range(12, 24)))
    hosts = [gpu_host("loses", 3, numa=TWO_CELLS), gpu_host("none", 3, numa=other)]
    request = made.request(12, 1024, numa=made.bound((12, 1024)))
    found = weigher()
    hosts[0].numa_topology.cells[1].cpu_usage = 12  # only the cell with the cards is left
    assert order(found, hosts, request) == ["none", "loses"]


def test_cards_that_nobody_can_take_are_not_lost(weigher):
    found = weigher()
    found.reader._reading = Reading(frozenset({"closed_0000:00:00.0"}), {})
    hosts = [gpu_host("open", 1, vcpus_used=16), gpu_host("closed", 1, vcpus_used=16)]
    assert order(found, hosts, made.request(8, 1024)) == ["closed", "open"]


def test_it_goes_by_the_file_of_what_was_learned(weigher, tmp_path, monkeypatch):
    from gpufarm_nova import weigher as module
    from gpufarm_nova.reading import NOTHING

    made_of = []

    class Spy(module.Packing):
        def __init__(self, flavors, lesson=None):
            super().__init__(flavors, lesson)
            made_of.append(lesson)

    monkeypatch.setattr(module, "Packing", Spy)
    found = weigher()
    learned = Lesson((Request((("k40c", 1),), 4.0, 8192.0, 3),))
    for lesson in (None, learned, learned, None):
        found.reader._reading = NOTHING._replace(lesson=lesson)
        assert len(order(found, [gpu_host("a", 1), gpu_host("b", 2)], made.request())) == 2
    assert made_of == [None, learned, None]
    assert not found.faults.seen


def test_an_error_makes_all_hosts_weigh_the_same_and_is_logged_once(weigher, caplog):
    hosts = [gpu_host("a", 1), gpu_host("b", 1)]
    hosts[0].vcpus_total = None
    found = weigher()
    from nova.scheduler.weights import WeighedHost

    weighed = [WeighedHost(host, 0.0) for host in hosts]
    assert found.weigh_objects(weighed, made.request()) == [0.0, 0.0]
    assert found.weigh_objects(weighed, made.request()) == [0.0, 0.0]
    assert caplog.text.count("Traceback") == 1


@given(st.lists(st.floats(-100, 100, allow_nan=False), min_size=1))
def test_smaller_losses_weigh_more_and_equal_ones_the_same(losses):
    from gpufarm_nova.weigher import ranks

    found = ranks(losses)
    for loss, rank in zip(losses, found):
        for other, other_rank in zip(losses, found):
            if abs(loss - other) > 1e-8:
                assert (loss < other) == (rank > other_rank)
            elif loss == other:
                assert rank == other_rank
    assert max(found) == 0
    assert sorted(set(found)) == [-float(rank) for rank in reversed(range(len(set(found))))]
