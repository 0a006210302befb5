"""The rules of the scheduler's filters against Nova's own filters, where Nova is installed."""

from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpufarm.capacity import reserve
from gpufarm.capacity.filters import RULES, of_filters, unknown
from gpufarm.capacity.rooms import Room, need, rooms
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudAggregate, CloudFlavor, ComputeHost, Provider

pytest.importorskip("nova")

from nova import objects
from nova.scheduler import filters

objects.register_all()
THEIRS = {each.__name__: each for each in filters.all_filters()}
COMPARED = (
    "AggregateImagePropertiesIsolation",
    "AggregateInstanceExtraSpecsFilter",
    "AggregateMultiTenancyIsolation",
    "AggregateNumInstancesFilter",
    "AggregateTypeAffinityFilter",
    "NumInstancesFilter",
)

word = st.sampled_from(
    ["true", "false", "gpu.1", "plain", "tenant-a", "tenant-b", "q35,pc", "2", " 1", "-1"]
)
metadata = st.dictionaries(
    st.sampled_from(
        [
            "gpu",
            "instance_type",
            "filter_tenant_id",
            "filter_tenant_id.2",
            "hw_machine_type",
            "owner",
            "max_instances_per_host",
        ]
    ),
    word,
    max_size=4,
)
specs = st.dictionaries(
    st.sampled_from(["gpu", "aggregate_instance_extra_specs:gpu", "hw:cpu_policy"]), word
)
images = st.dictionaries(
    st.sampled_from(["hw_machine_type", "owner"]), st.sampled_from(["q35", "pc"])
)


def room(aggregates: list[dict[str, str]], servers: int) -> Room:
    """As it comes out of a snapshot."""
    reading = Snapshot(
        providers=(
            Provider(
                uuid="r", name="h", root_uuid="r", generation=1, inventories={}, allocations={}
            ),
        ),
        hosts=(
            ComputeHost(name="h", hypervisor_hostname="h", up=True, enabled=True, servers=servers),
        ),
        aggregates=tuple(
            CloudAggregate(
                id=number, name="a", zone=None, hosts=frozenset({"h"}), properties=properties
            )
            for number, properties in enumerate(aggregates)
        ),
    )
    return rooms(reading)[0]


@settings(deadline=None)
@given(
    st.sampled_from(COMPARED),
    st.lists(metadata, max_size=2),
    st.tuples(specs, images, st.sampled_from(["gpu.1", "plain"])),
    st.sampled_from([0, 2, 49, 50]),
)
@example(
    "AggregateNumInstancesFilter",
    [{"max_instances_per_host": "true"}, {"max_instances_per_host": "2"}],
    ({}, {}, "plain"),
    2,
)
def test_lets_through_what_nova_lets_through(
    name: str,
    aggregates: list[dict[str, str]],
    asked: tuple[dict[str, str], dict[str, str], str],
    servers: int,
) -> None:
    properties, image, flavor_name = asked
    flavor = CloudFlavor(
        id="1",
        name=flavor_name,
        vcpus=1,
        memory_mb=1,
        disk_gb=1,
        public=True,
        properties=properties,
    )
    wanted = need(flavor, {}, image=image, project="tenant-a")
    assert wanted is not None
    ours = list(of_filters(room(aggregates, servers), wanted, Scheduler(filters=(name,))))
    state = SimpleNamespace(
        host="h",
        num_instances=servers,
        aggregates=[SimpleNamespace(metadata=each) for each in aggregates],
    )
    spec = SimpleNamespace(
        flavor=objects.Flavor(name=flavor_name, extra_specs=properties),
        project_id="tenant-a",
        image=objects.ImageMeta(properties=objects.ImageMetaProps.from_dict(image)),
    )
    assert (not ours) == bool(THEIRS[name]().host_passes(state, spec))


def test_every_filter_of_nova_is_known_or_named() -> None:
    """A new one in Nova is to be looked at here."""
    unjudged = {"IoOpsFilter", "AggregateIoOpsFilter", "IsolatedHostsFilter", "MetricsFilter"}
    unjudged |= {"JsonFilter"}
    assert set(THEIRS) | {reserve.FILTER} == set(RULES) | unjudged
    assert unknown(Scheduler(filters=("ComputeFilter", "JsonFilter", "Mine"))) == (
        "JsonFilter",
        "Mine",
    )
