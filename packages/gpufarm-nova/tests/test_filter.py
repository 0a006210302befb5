"""GpuReserveFilter on hosts and requests of Nova: it says what the rule says."""

import logging

import nova_objects as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oslo_utils.fixture import uuidsentinel

from gpufarm_nova import reserve
from gpufarm_nova.lesson import Lesson
from gpufarm_nova.reading import NOTHING, Reading
from gpufarm_nova.reserve import Amounts, Host

K40C = {"card": "k40c", "vendor_id": "10de", "product_id": "1024", "vcpus": 4, "memory_mb": 8192}
L40S = {"card": "l40s", "vendor_id": "10de", "product_id": "26b9", "vcpus": 8, "memory_mb": 32768}
TWO_CELLS = made.cells(made.cell(0, cpus=range(12)), made.cell(1, cpus=range(12, 24)))


@pytest.fixture
def keeper(configure):
    """Makes the filter; `closed` and `cards` are what was read of the cloud."""

    def made_filter(*, closed=frozenset(), cards=None, **given):
        configure(reserve=[K40C, L40S], **given)
        from gpufarm_nova.filter import GpuReserveFilter

        found = GpuReserveFilter()
        found.reader._reading = Reading(closed, cards or {})
        return found

    return made_filter


def passes(keeper, host, request):
    """As Nova asks a filter."""
    return list(keeper.filter_all([host], request)) == [host]


def k40cs(number, **given):
    return [each for card in range(number) for each in made.device("k40c", card, **given)]


def test_an_ordinary_server_leaves_the_reserve_of_each_free_card(keeper):
    host = made.host(k40cs(4), vcpus_used=4)
    assert passes(keeper(), host, made.request(4))
    assert not passes(keeper(), host, made.request(5))


def test_it_leaves_memory_too(keeper):
    host = made.host(k40cs(4), free_ram_mb=40960)
    assert passes(keeper(), host, made.request(1, 8192))
    assert not passes(keeper(), host, made.request(1, 8193))


def test_the_hosts_allocation_ratios_count(keeper):
    host = made.host(k40cs(4), cpu_allocation_ratio=2.0, ram_allocation_ratio=1.5)
    assert passes(keeper(), host, made.request(32, 114688))
    assert not passes(keeper(), host, made.request(33, 1))
    assert not passes(keeper(), host, made.request(1, 114689))


def test_without_free_cards_nothing_is_kept(keeper):
    assert passes(keeper(), made.host(), made.request(24, 98304))
    assert passes(keeper(), made.host(made.device("nic", 1)), made.request(24, 98304))


def test_a_server_that_takes_a_card_passes(keeper):
    host = made.host(k40cs(4), vcpus_used=20)
    assert passes(keeper(), host, made.request(4, 8192, made.alias("k40c")))


@pytest.mark.parametrize("asked", [made.port("nic"), made.alias("nic")])
def test_a_server_that_takes_another_device_is_an_ordinary_one(keeper, asked):
    host = made.host(k40cs(4), vcpus_used=8)
    assert not passes(keeper(), host, made.request(4, 8192, asked))


def test_a_rebuild_passes(keeper):
    host = made.host(k40cs(4), vcpus_used=24)
    assert passes(keeper(), host, made.request(hints={"_nova_check_type": ["rebuild"]}))


def test_each_model_has_its_own_reserve(keeper):
    host = made.host([*k40cs(1), *made.device("l40s", 9)])
    assert passes(keeper(), host, made.request(12))
    assert not passes(keeper(), host, made.request(13))


def test_closed_cards_hold_no_reserve(keeper):
    host = made.host(k40cs(4))
    closed = frozenset({"node1_0000:00:00.0", "node1_0000:03:00.0"})
    assert passes(keeper(closed=closed), host, made.request(16))
    assert not passes(keeper(closed=closed), host, made.request(17))


def test_hosts_that_the_cloud_can_do_without_keep_nothing(keeper):
    found, host = keeper(), made.host(k40cs(4))
    found.reader._reading = NOTHING._replace(lesson=Lesson((), open_hosts=frozenset({"node1"})))
    assert passes(found, host, made.request(24))
    assert not passes(found, made.host(k40cs(4), name="node2"), made.request(24))


def test_the_reserve_is_capped_by_the_fair_share_of_all_cards_of_the_host(keeper):
    host = made.host(k40cs(1), vcpus=8)
    assert not passes(keeper(), host, made.request(6))
    cards = {host.uuid: {None: 4}}  # three of them are with servers
    assert passes(keeper(cards=cards), host, made.request(6))
    assert not passes(keeper(cards=cards), host, made.request(7))


def test_the_share_can_be_set(keeper):
    host = made.host(k40cs(4), vcpus=16)
    assert not passes(keeper(), host, made.request(1))
    assert passes(keeper(reserve_share=0.5), host, made.request(8))
    assert not passes(keeper(reserve_share=0.5), host, made.request(9))


def test_servers_of_one_request_draw_on_it_one_after_another(keeper):
    found, host, request = keeper(), made.host(k40cs(4)), made.request(4, 1)
    assert passes(found, host, request)
    host.consume_from_request(request)
    assert passes(found, host, request)
    host.consume_from_request(request)
    assert not passes(found, host, request)


def test_a_host_without_pci_statistics_passes(keeper):
    host = made.host()
    host.pci_stats = None
    assert passes(keeper(), host, made.request(24))


def test_a_refusal_is_logged_with_its_numbers(keeper, caplog):
    caplog.set_level(logging.DEBUG, "gpufarm_nova.filter")
    passes(keeper(), made.host(k40cs(4), vcpus_used=6), made.request(4))
    assert (
        "node1 keeps 16 vCPU and 32768 MiB for free cards (4 k40c); the server needs 4 vcpus, and "
        "2 are left beside that" in caplog.text
    )


def test_an_error_lets_the_host_pass_and_is_logged_once_with_its_traceback(keeper, caplog):
    found, host = keeper(), made.host(k40cs(4))
    host.pci_stats.pools[0]["count"] = "four"
    assert passes(found, host, made.request(24))
    assert passes(found, host, made.request(24))
    assert caplog.text.count("Traceback") == 1
    assert "GpuReserveFilter lets node1 pass" in caplog.text


class TestNumaCells:
    """A server that is bound to cells leaves the reserve of the cards of these cells."""

    def host(self, *nodes, numa=TWO_CELLS, **given):
        devices = [
            each
            for number, node in enumerate(nodes)
            for each in made.device("k40c", number, numa_node=node)
        ]
        return made.host(devices, numa=numa, **given)

    def test_the_cell_that_nova_takes_is_the_one_without_cards(self, keeper):
        host = self.host(0, 0)
        assert passes(keeper(), host, made.request(12, 1024, numa=made.bound((12, 1024))))

    def test_a_cell_keeps_for_its_own_cards(self, keeper):
        host = self.host(0, 0, 1, 1)
        assert passes(keeper(), host, made.request(4, 1024, numa=made.bound((4, 1024))))
        assert not passes(keeper(), host, made.request(5, 1024, numa=made.bound((5, 1024))))
        assert passes(keeper(), host, made.request(5, 1024))

    def test_a_server_of_two_cells_leaves_both(self, keeper):
        host = self.host(0, 0)
        small, large = made.bound((4, 1024), (4, 1024)), made.bound((6, 1024), (6, 1024))
        assert passes(keeper(), host, made.request(8, 2048, numa=small))
        assert not passes(keeper(), host, made.request(12, 2048, numa=large))

    def test_the_whole_host_keeps_too(self, keeper):
        host = self.host(0, 0, vcpus_used=12)
        assert not passes(keeper(), host, made.request(8, 1024, numa=made.bound((8, 1024))))

    def test_pinned_servers_leave_cpus_for_pinned_ones(self, keeper):
        numa = made.cells(
            made.cell(0, pcpus=range(12), siblings=[{cpu} for cpu in range(12)]),
        )
        host = self.host(0, 0, numa=numa, vcpus=0)
        for vcpus, passed in ((4, True), (5, False)):
            request = made.request(vcpus, 1024, numa=made.bound((vcpus, 1024), pinned=True))
            assert passes(keeper(), host, request) == passed

    def test_pinned_servers_take_nothing_of_floating_ones(self, keeper):
        numa = made.cells(
            made.cell(0, cpus=range(8), pcpus=range(8, 12), pinned_cpus={8, 9, 10, 11})
        )
        host = self.host(0, numa=numa, vcpus=8, vcpus_used=4)
        assert passes(keeper(), host, made.request(4))
        assert not passes(keeper(), host, made.request(5))

    def test_a_server_that_fits_on_no_cell_is_left_to_novas_filter(self, keeper):
        host = self.host(0)
        assert passes(keeper(), host, made.request(20, 1024, numa=made.bound((20, 1024))))

    def test_the_request_is_as_it_was(self, keeper):
        request = made.request(4, 1024, numa=made.bound((4, 1024)))
        before = request.obj_to_primitive()
        passes(keeper(), self.host(0, 0, 1, 1), request)
        assert request.obj_to_primitive() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(0, 64), st.integers(0, 262144)),
    used=st.tuples(st.integers(0, 64), st.integers(-1024, 262144)),
    ratios=st.tuples(st.sampled_from([1.0, 1.5, 16.0]), st.sampled_from([1.0, 1.5])),
    cards=st.tuples(*[st.integers(0, 4)] * 3),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    server=st.tuples(st.integers(0, 32), st.integers(0, 65536)),
)
def test_the_filter_says_what_the_rule_says(keeper, *, size, used, ratios, cards, share, server):
    vcpus, memory_mb = size
    k40c, l40s, _ = cards
    devices = k40cs(k40c) + [
        each for number in range(l40s) for each in made.device("l40s", 16 + number)
    ]
    cpu_ratio, ram_ratio = ratios
    vcpus_used, memory_used = used
    state = made.host(
        devices,
        vcpus=vcpus,
        memory_mb=memory_mb,
        vcpus_used=vcpus_used,
        free_ram_mb=memory_mb - memory_used,
        cpu_allocation_ratio=cpu_ratio,
        ram_allocation_ratio=ram_ratio,
    )
    total = Amounts(vcpus * cpu_ratio, memory_mb * ram_ratio)
    host = Host(
        total,
        Amounts(total.vcpus - vcpus_used, total.memory_mb - memory_used),
        sum(cards),
        {"k40c": k40c, "l40s": l40s},
    )
    reserves = {"k40c": Amounts(4, 8192), "l40s": Amounts(8, 32768)}
    keep = reserve.kept(host, reserves, share)
    free = k40c + l40s > 0
    expected = not free or reserve.shortfall(host, Amounts(*server), keep) is None
    found = keeper(cards={uuidsentinel.node1: {None: sum(cards)}}, reserve_share=share)
    assert passes(found, state, made.request(*server)) == expected
