"""Cards in the pools that Nova makes of devices."""

import nova_objects as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm_nova import pools
from gpufarm_nova.options import Card
from gpufarm_nova.reserve import Amounts

MODELS = {made.K40C: "k40c", made.L40S: "l40s"}
CARDS = (
    Card("k40c", *made.K40C, Amounts(4, 8192), "CUSTOM_PCI_10DE_1024"),
    Card("l40s", *made.L40S, Amounts(16, 65536), "CUSTOM_L40S"),
)
KINDS = ("type-PCI", "type-PF", "type-VF")

machines = st.lists(
    st.tuples(
        st.sampled_from(sorted(made.IDS)),
        st.sampled_from(KINDS),
        st.integers(1, 4),
        st.sampled_from([None, 0, 1]),
    ),
    max_size=8,
)


def devices(machine):
    return [
        each
        for number, (model, kind, functions, numa_node) in enumerate(machine)
        for each in made.device(model, number, kind, numa_node, functions)
    ]


def known(found):
    return {model: number for model, number in found.items() if number}


@given(machines, st.booleans(), st.sets(st.integers(0, 7)))
def test_free_cards_are_the_devices_of_models_with_a_reserve_that_are_not_closed(
    machine, in_placement, closed
):
    host = made.host(devices(machine), in_placement=in_placement)
    names = {f"{made.NODE}_0000:{number:02X}:00.0" for number in closed}
    found = pools.free(host.pci_stats.pools, MODELS, made.NODE, names)
    expected = {}
    for number, (model, kind, functions, _) in enumerate(machine):
        if model != "nic" and number not in closed:
            expected[model] = expected.get(model, 0) + (functions if kind == "type-VF" else 1)
    assert known(found) == expected


@given(machines)
def test_closed_cards_are_offered_all_the_same(machine):
    found = pools.offered(made.host(devices(machine)).pci_stats.pools, MODELS)
    assert found == sum(each.vendor_id == "10de" for each in devices(machine))


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_that_a_server_took_is_not_free(kind):
    host = made.host([*made.device("k40c", 1, kind), *made.device("k40c", 2, kind)])
    before = pools.free(host.pci_stats.pools, MODELS, made.NODE, frozenset())
    ids = dict(zip(pools.IDS, made.K40C))
    host.consume_from_request(made.request(1, 1, made.alias("k40c", **ids, dev_type=kind)))
    assert before == {"k40c": 2}
    assert pools.free(host.pci_stats.pools, MODELS, made.NODE, frozenset()) == {"k40c": 1}


def test_an_alias_asks_for_cards_by_ids():
    requests = [made.alias("k40c", 2), made.alias("l40s"), made.alias("nic")]
    assert pools.asked(requests, CARDS) == {"k40c": 2, "l40s": 1}


@pytest.mark.parametrize("name", ["CUSTOM_L40S", "custom_l40s", "l40s"])
def test_an_alias_asks_for_cards_by_resource_class(name):
    assert pools.asked([made.alias("l40s", 3, resource_class=name)], CARDS) == {"l40s": 3}


def test_an_alias_of_another_class_asks_for_none():
    assert pools.asked([made.alias("l40s", resource_class="CUSTOM_QAT")], CARDS) == {}


def test_an_alias_without_ids_and_class_asks_for_none():
    assert pools.asked([made.alias("l40s", dev_type="type-PF")], CARDS) == {}


def test_a_neutron_port_asks_for_none():
    assert pools.asked([made.port("k40c"), made.port("nic")], CARDS) == {}
