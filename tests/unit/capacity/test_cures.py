"""What explain says would have to end is enough: done to the cloud, the host takes the server."""

from typing import Any

import msgspec
from capacity_snapshots import snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from test_capacity_properties import clouds

from gpufarm.capacity import explain
from gpufarm.capacity.aliases import known
from gpufarm.capacity.cells import cells
from gpufarm.capacity.cures import ENABLE, END, REPAIR, START, UNCORDON, Cure
from gpufarm.capacity.facts import without
from gpufarm.capacity.obstacles import obstacles, rules
from gpufarm.capacity.rooms import need, rooms
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import NodeShare, Provider
from gpufarm.model.host import HostFile, HostFunction


def applied(reading: Snapshot, cure: Cure) -> Snapshot:
    """The cloud once `cure.number` of those in `cure.of` have ended."""
    chosen = frozenset(cure.of[: cure.number])
    match cure.action:
        case action if action in (END, REPAIR):
            providers = tuple(_ended(each, cure, chosen) for each in reading.providers)
            return msgspec.structs.replace(reading, providers=providers)
        case action if action == UNCORDON:
            providers = tuple(_opened(each, cure, chosen) for each in reading.providers)
            return msgspec.structs.replace(reading, providers=providers)
        case action if action in (START, ENABLE):
            hosts = tuple(
                msgspec.structs.replace(each, up=True, enabled=True)
                if each.name in chosen
                else each
                for each in reading.hosts
            )
            return msgspec.structs.replace(reading, hosts=hosts)
    raise AssertionError(cure)


def _ended(each: Provider, cure: Cure, chosen: frozenset[str]) -> Provider:
    return without(each, chosen) if each.name.startswith(f"{cure.host}.") else each


def _opened(each: Provider, cure: Cure, chosen: frozenset[str]) -> Provider:
    host, _, address = each.name.rpartition("_")
    if not host.startswith(f"{cure.host}.") or address not in chosen:
        return each
    stock = {
        name: msgspec.structs.replace(inventory, reserved=0)
        for name, inventory in each.inventories.items()
    }
    return msgspec.structs.replace(each, inventories=stock)


@settings(deadline=None, max_examples=300)
@given(clouds)
def test_what_would_have_to_end_is_enough(facts: dict[str, Any]) -> None:
    reading = snapshot(facts)
    wanted = need(reading.flavors[0], known(reading))
    assert wanted is not None
    found = explain.explain(reading, wanted, None)
    for host in {each.host for each in found.frees_when}:
        after = reading
        for cure in found.frees_when:
            if cure.host == host:
                after = applied(after, cure)
        (room,) = (each for each in rooms(after) if each.host == host)
        assert not obstacles(room, wanted, rules(after))


STOCK = {"VCPU": {"total": 8, "ratio": 4.0}, "MEMORY_MB": {"total": 9}, "DISK_GB": {"total": 400}}
FLAVOR = {
    "vcpus": 1,
    "memory_mb": 4,
    "disk_gb": 1,
    "properties": {"pci_passthrough:alias": "h:1", "gpufarm:cards": "h=CUSTOM_H"},
}


def test_the_fewest_servers_free_the_memory() -> None:
    facts = {
        "hosts": {"a": {"stock": STOCK, "devices": {"0000:04:00.0": {"CUSTOM_H": {}}}}},
        "flavors": {"f": FLAVOR},
    }
    reading = snapshot(facts)
    sizes = {"small": {"MEMORY_MB": 2}, "large": {"MEMORY_MB": 5}, "tiny": {"MEMORY_MB": 1}}
    root = next(each for each in reading.providers if each.uuid == each.root_uuid)
    used = msgspec.structs.replace(root.inventories["MEMORY_MB"], used=8)
    root = msgspec.structs.replace(
        root, allocations=sizes, inventories={**root.inventories, "MEMORY_MB": used}
    )
    others = [each for each in reading.providers if each.uuid != root.uuid]
    reading = msgspec.structs.replace(reading, providers=(root, *others))
    wanted = need(reading.flavors[0], known(reading))
    assert wanted is not None
    (cure,) = explain.explain(reading, wanted, None).frees_when
    assert (cure.action, cure.what, cure.number, cure.of) == (END, "MEMORY_MB", 1, ("large",))


@settings(deadline=None)
@given(st.integers(0, 3), st.integers(0, 3))
def test_what_is_left_of_nodes(on_first: int, on_second: int) -> None:
    """CPUs times the ratio, less what servers have; cards by the host file's node."""
    devices = {
        "0000:04:00.0": {"CUSTOM_H": {}},
        "0000:05:00.0": {"CUSTOM_H": {"held": {"s": 1}}},
        "0000:06:00.0": {"CUSTOM_H": {}},
    }
    facts = {"hosts": {"a": {"stock": STOCK, "devices": devices}}, "flavors": {}}
    host = HostFile(
        version=1,
        name="a",
        vcpus=7,
        memory_mb=9,
        disk_gb=1,
        numa_nodes=2,
        pci_functions=tuple(
            HostFunction(
                address=address,
                vendor_id="10de",
                product_id="1b80",
                class_id="030000",
                numa_node=node,
            )
            for address, node in zip(devices, (0, 0, 1), strict=True)
        ),
    )
    shares = (
        NodeShare(node=0, cpus=on_first, memory_mb=on_first),
        NodeShare(node=1, cpus=on_second, memory_mb=1),
    )
    first, second = cells(snapshot(facts), [host], {"a": shares})["a"]
    assert (first.cpus, first.memory_mb, first.cards) == (
        16 - on_first,
        5 - on_first,
        {"CUSTOM_H": 1},
    )
    assert (second.cpus, second.largest_cpus, second.memory_mb) == (12 - on_second, 3, 3)
    assert second.cards == {"CUSTOM_H": 1}
    unplaced = msgspec.structs.replace(
        host, pci_functions=(msgspec.structs.replace(host.pci_functions[0], numa_node=None),)
    )
    assert cells(snapshot(facts), [unplaced], {}) == {}
