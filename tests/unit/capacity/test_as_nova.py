"""Our reading of requests and NUMA nodes against Nova's own code, where Nova is installed."""

import re
import uuid
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.capacity import numa, request
from gpufarm.capacity.numa import Cell
from gpufarm.capacity.rooms import need
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudFlavor

pytest.importorskip("nova")

from nova import conf, objects
from nova.pci import stats
from nova.scheduler import utils
from nova.virt import hardware

objects.register_all()
unhurried = settings(deadline=None)

CLASSES = {"a": "CUSTOM_A", "b": "CUSTOM_B"}
IDS = {alias: str(uuid.uuid5(uuid.NAMESPACE_DNS, alias)) for alias in CLASSES}

properties = st.fixed_dictionaries(
    {},
    optional={
        "pci_passthrough:alias": st.sampled_from(["a:1", "a:2", "a:2,b:1"]),
        "trait:CUSTOM_FAST": st.sampled_from(["required", "forbidden"]),
        "trait_1:CUSTOM_NEAR": st.just("required"),
        "resources_1:CUSTOM_LICENCE": st.just("2"),
        "resources:CUSTOM_TOKEN": st.just("1"),
        "resources:VCPU": st.sampled_from(["0", "3"]),
        "resources:DISK_GB": st.just("0"),
        "hw:cpu_policy": st.sampled_from(["dedicated", "shared"]),
        "hw:emulator_threads_policy": st.just("isolate"),
        "hw:pci_numa_affinity_policy": st.sampled_from(["socket", "required", "preferred"]),
        "group_policy": st.sampled_from(["none", "isolate"]),
    },
).filter(
    lambda given: (
        ("resources_1:CUSTOM_LICENCE" in given or "trait_1:CUSTOM_NEAR" not in given)
        # Nova's API refuses both, and the policy of threads without pinned CPUs.
        and not ("hw:cpu_policy" in given and "resources:VCPU" in given)
        and ("hw:emulator_threads_policy" not in given or given.get("hw:cpu_policy") == "dedicated")
    )
)


def flavor(given: dict[str, str], **sizes: int) -> CloudFlavor:
    amounts = {"vcpus": 2, "memory_mb": 512, "disk_gb": 10, **sizes}
    return CloudFlavor(id="1", name="f", public=True, properties=given, **amounts)


def theirs(wanted: CloudFlavor, *, pinned: bool) -> list[tuple[str, str]]:
    """Nova's query, its groups of cards named as ours."""
    conf.CONF.set_override("pci_in_placement", True, "filter_scheduler")
    spec = objects.RequestSpec(
        flavor=objects.Flavor(
            name="f",
            vcpus=wanted.vcpus,
            memory_mb=wanted.memory_mb,
            root_gb=wanted.disk_gb,
            ephemeral_gb=wanted.ephemeral_gb,
            swap=wanted.swap_mb,
            extra_specs=wanted.properties,
        ),
        is_bfv=False,
        image=objects.ImageMeta(properties=objects.ImageMetaProps()),
        requested_resources=[],
        pci_requests=objects.InstancePCIRequests(
            requests=[
                objects.InstancePCIRequest(
                    request_id=IDS[alias],
                    alias_name=alias,
                    count=int(count),
                    spec=[{"resource_class": CLASSES[alias]}],
                )
                for alias, _, count in (
                    part.partition(":")
                    for part in wanted.properties.get("pci_passthrough:alias", "").split(",")
                    if part
                )
            ]
        ),
    )
    spec.root_forbidden.add("COMPUTE_STATUS_DISABLED")
    spec.generate_request_groups_from_pci_requests()
    asked = utils.ResourceRequest.from_request_spec(spec, enable_pinning_translate=pinned)
    conf.CONF.clear_override("pci_in_placement", "filter_scheduler")
    return parse_qsl(asked.to_querystring())


CARD = re.compile(r"^(resources|required)(_CARD\d+|[0-9a-f-]{36}-\d+)$")


def plain(query: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Without the names of the groups of cards, which are free, and in order."""
    return sorted(
        (CARD.sub(r"\1 of a card", name), tuple(sorted(value.split(","))))
        for name, value in query
        # Nova leaves the policy to whoever makes the flavor, and its client adds `none`.
        if name != "group_policy"
    )


@unhurried
@given(properties, st.integers(0, 2), st.sampled_from([0, 1, 1024, 1500]))
def test_the_request_is_nova_s(given: dict[str, str], ephemeral: int, swap: int) -> None:
    wanted = flavor(given, ephemeral_gb=ephemeral, swap_mb=swap)
    asked = need(wanted, CLASSES)
    assert asked is not None
    ours = request.queries(Snapshot(), asked)
    pinned = given.get("hw:cpu_policy") == "dedicated"
    assert len(ours) == 1 + pinned
    for query, translated in zip(ours, (True, False), strict=False):
        assert plain(query) == plain(theirs(wanted, pinned=translated))


amount = st.integers(0, 8)
cell = st.fixed_dictionaries({"cpus": amount, "memory": amount, "cards": st.integers(0, 3)})
POLICIES = ("legacy", "required", "preferred")


@unhurried
@given(
    st.lists(cell, min_size=1, max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 3),
    st.sampled_from(POLICIES),
)
def test_a_server_fits_where_nova_fits_it(
    given: list[dict[str, int]], size: tuple[int, int, int], cards: int, policy: str
) -> None:
    """One more server, of `size` nodes, CPUs and memory of each, on nodes that others use too."""
    nodes, cpus, memory = size
    extra = {"hw:numa_nodes": str(nodes), "hw:pci_numa_affinity_policy": policy}
    shape = numa.shape(flavor(extra, vcpus=cpus * nodes, memory_mb=memory * nodes), {})
    assert shape is not None
    assert shape.known
    ours = tuple(
        Cell(
            id=number,
            cpus=2 * 4 - each["cpus"],
            memory_mb=6 - each["memory"],
            largest_cpus=4,
            largest_memory_mb=6,
            cards={"CUSTOM_A": each["cards"]},
        )
        for number, each in enumerate(given)
    )
    wanted = {"CUSTOM_A": cards} if cards else {}
    topology = objects.NUMATopology(
        cells=[
            objects.NUMACell(
                id=number,
                cpuset=set(range(4 * number, 4 * number + 4)),
                pcpuset=set(),
                memory=6,
                cpu_usage=each["cpus"],
                memory_usage=each["memory"],
                pinned_cpus=set(),
                siblings=[],
                mempages=[],
                socket=number,
            )
            for number, each in enumerate(given)
        ]
    )
    pools = stats.PciDeviceStats(topology)
    pools.pools = [
        {"vendor_id": "10de", "product_id": "1b80", "numa_node": number, "count": each["cards"]}
        | {"dev_type": "type-PCI", "devices": []}
        for number, each in enumerate(given)
        if each["cards"]
    ]
    asked = objects.InstancePCIRequest(
        count=cards,
        spec=[{"vendor_id": "10de", "product_id": "1b80"}],
        request_id=IDS["a"],
        numa_policy=policy,
    )
    fits = hardware.numa_fit_instance_to_host(
        topology,
        objects.InstanceNUMATopology(
            cells=[
                objects.InstanceNUMACell(
                    id=number, cpuset=set(range(cpus)), pcpuset=set(), memory=memory
                )
                for number in range(nodes)
            ]
        ),
        provider_mapping={},
        limits=objects.NUMATopologyLimits(cpu_allocation_ratio=2.0, ram_allocation_ratio=1.0),
        pci_requests=[asked] if cards else [],
        pci_stats=pools,
    )
    enough = sum(each["cards"] for each in given) >= cards
    assert (numa.starts(ours, shape, wanted, 1) == 1 and enough) == (fits is not None)


def test_more_cells_start_no_server_less() -> None:
    cells = (Cell(id=0, cpus=4, memory_mb=4, largest_cpus=4, largest_memory_mb=4),)
    shape = numa.shape(flavor({"hw:numa_nodes": "1"}, vcpus=1, memory_mb=1), {})
    assert shape is not None
    assert numa.starts(cells, shape, {}, 9) == 4
    more = (*cells, msgspec.structs.replace(cells[0], id=1))
    assert numa.starts(more, shape, {}, 9) == 8
