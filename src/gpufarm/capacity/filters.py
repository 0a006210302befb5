"""The scheduler's filters, each as a rule about one host.

What is decided here: what a filter of Nova lets through (nova/scheduler/filters), in the order in
which they are configured. A filter that is not in the table is named, never passed over in
silence. A filter's rule says nothing of what Placement has judged before it.
"""

from collections.abc import Callable, Iterator, Mapping

from gpufarm.capacity import numa, reserve
from gpufarm.capacity.extra_specs import matches
from gpufarm.capacity.obstacle import CLAIM, NOVA, UNKNOWN, Obstacle
from gpufarm.capacity.rooms import Need, Room
from gpufarm.capacity.scheduler import Scheduler

Rule = Callable[[Room, Need, Scheduler], Iterator[Obstacle]]

COMPUTE = "ComputeFilter"
NUMA = "NUMATopologyFilter"
SERVERS = ("NumInstancesFilter", "AggregateNumInstancesFilter")

TENANT_KEY = "filter_tenant_id"

# What nova/scheduler/host_manager.py, HostState, calls what a host has. A flavor's property of such
# a name, without a namespace, is compared by ComputeCapabilitiesFilter.
_HOST_STATE = frozenset(
    {
        "cpu_info",
        "cpu_allocation_ratio",
        "disk_allocation_ratio",
        "disk_mb_used",
        "failed_builds",
        "free_disk_mb",
        "free_ram_mb",
        "host",
        "host_ip",
        "hypervisor_hostname",
        "hypervisor_type",
        "hypervisor_version",
        "metrics",
        "nodename",
        "num_instances",
        "num_io_ops",
        "ram_allocation_ratio",
        "supported_instances",
        "total_usable_disk_gb",
        "total_usable_ram_mb",
        "uuid",
        "vcpus_total",
        "vcpus_used",
    }
)

_IMAGE_NAMES = ("hw_", "img_", "os_")

# nova/scheduler/filters/image_props_filter.py, with the names from before Nova 12.
_IMAGE_WISHES = (
    "architecture",
    "hw_architecture",
    "hypervisor_type",
    "img_hv_type",
    "vm_mode",
    "hw_vm_mode",
    "hypervisor_version_requires",
    "img_hv_requested_version",
)


def of_filters(room: Room, wanted: Need, scheduler: Scheduler) -> Iterator[Obstacle]:
    """Every obstacle of the configured filters, in their order, then those of nova-compute."""
    if room.state == "gone":
        yield Obstacle("HOST_DOWN", "nova-compute", "up", "gone", NOVA)
        return
    for name in scheduler.filters:
        rule = RULES.get(name)
        if rule is not None:
            for found in rule(room, wanted, scheduler):
                yield _from(found, name)
    # What no filter stops, the chosen host's nova-compute does.
    if COMPUTE not in scheduler.filters and room.state == "down":
        yield Obstacle("HOST_DOWN", "nova-compute", "up", "down", CLAIM)
    if NUMA not in scheduler.filters:
        yield from (_from(found, CLAIM) for found in _numa(room, wanted, scheduler))


def unknown(scheduler: Scheduler) -> tuple[str, ...]:
    """Names of the configured filters of which gpufarm knows no rule."""
    return tuple(name for name in scheduler.filters if name not in RULES)


def _from(found: Obstacle, source: str) -> Obstacle:
    return Obstacle(found.code, found.what, found.needed, found.available, source, found.blocks)


def _passes(_room: Room, _wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    """Of a filter that stops no server without hints, or only what Placement refuses as well."""
    yield from ()


def _compute(room: Room, _wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    if room.state == "disabled":
        yield Obstacle("HOST_DISABLED", "nova-compute", "enabled", "disabled")
    elif room.state == "down":
        yield Obstacle("HOST_DOWN", "nova-compute", "up", "down")


def _aggregate(room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    for key, value in wanted.aggregate:
        having = room.properties.get(key, frozenset())
        if not any(matches(has, value) for has in having):
            yield Obstacle("AGGREGATE", key, value, ", ".join(sorted(having)))


def _capabilities(_room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    """No API shows all of what it compares."""
    for key, value in sorted(wanted.properties.items()):
        scope, colon, _ = key.partition(":")
        asked = scope == "capabilities" if colon else key in _HOST_STATE
        if asked or key == "hw:maxphysaddr_bits":
            yield Obstacle("CAPABILITIES", key, value, UNKNOWN, blocks=False)


def _image(_room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    """No API shows which guests a hypervisor runs."""
    for key in _IMAGE_WISHES:
        if key in wanted.image:
            yield Obstacle("IMAGE", key, wanted.image[key], UNKNOWN, blocks=False)


def _tenants(room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    allowed = frozenset[str]().union(
        *(values for key, values in room.properties.items() if key.startswith(TENANT_KEY))
    )
    if allowed and wanted.project is None:
        yield Obstacle("PROJECT", TENANT_KEY, UNKNOWN, ", ".join(sorted(allowed)), blocks=False)
    elif allowed and wanted.project not in allowed:
        yield Obstacle("PROJECT", TENANT_KEY, wanted.project or UNKNOWN, ", ".join(sorted(allowed)))


def _images(room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    """Nova compares those of an image's properties that it has names for
    (nova/objects/image_meta.py, ImageMetaProps)."""
    for key, values in sorted(room.properties.items()):
        if not key.startswith(_IMAGE_NAMES):
            continue
        value = wanted.image.get(key)
        if value and value not in values:
            yield Obstacle("IMAGE", key, value, ", ".join(sorted(values)))


def _types(room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    allowed = room.properties.get("instance_type", frozenset())
    if allowed and wanted.flavor not in allowed:
        text = ", ".join(sorted(allowed))
        yield Obstacle("AGGREGATE", "instance_type", wanted.flavor, text)


def _servers(room: Room, _wanted: Need, scheduler: Scheduler) -> Iterator[Obstacle]:
    most = scheduler.max_servers
    if room.servers >= most:
        yield Obstacle("TOO_MANY_SERVERS", "servers", 1, max(0, most - room.servers))


def most_servers(room: Room, scheduler: Scheduler, of_aggregates: bool) -> int:
    """The most servers on `room`; the least of its aggregates' counts before the setting, which
    counts alone where one of them is no number (nova/scheduler/filters/num_instances_filter.py)."""
    key = "max_instances_per_host"
    given = [properties[key] for properties in room.aggregates if key in properties]
    if not (of_aggregates and given):
        return scheduler.max_servers
    try:
        return min(int(value) for value in given)
    except ValueError:
        return scheduler.max_servers


def _servers_by_aggregate(room: Room, _wanted: Need, scheduler: Scheduler) -> Iterator[Obstacle]:
    most = most_servers(room, scheduler, of_aggregates=True)
    if room.servers >= most:
        yield Obstacle("TOO_MANY_SERVERS", "servers", 1, max(0, most - room.servers))


def _numa(room: Room, wanted: Need, _scheduler: Scheduler) -> Iterator[Obstacle]:
    shape = wanted.shape
    if shape is None:
        return
    asked = f"{shape.nodes} nodes of {shape.cpus} VCPU and {shape.memory_mb} MB"
    if wanted.cards:
        asked += f", cards {shape.policy}"
    if not room.cells or not shape.known:
        yield Obstacle("NUMA", "NUMA nodes", asked, UNKNOWN, blocks=False)
    elif not numa.starts(room.cells, shape, wanted.cards, 1):
        left = "; ".join(
            f"node {cell.id}: {cell.cpus} VCPU, {cell.memory_mb} MB, "
            f"{sum(cell.cards.get(name, 0) for name in wanted.cards)} cards"
            for cell in room.cells
        )
        yield Obstacle("NUMA", "NUMA nodes", asked, left)


def _reserve(room: Room, wanted: Need, scheduler: Scheduler) -> Iterator[Obstacle]:
    missing = reserve.shortfall(room, wanted, scheduler)
    if missing:
        name = reserve.RESOURCES[missing.what]
        yield Obstacle("RESERVED_FOR_GPU", name, int(missing.needed), int(missing.available))
    elif wanted.shape and reserve.is_asked(room, wanted, scheduler):
        yield Obstacle("RESERVED_FOR_GPU", "NUMA nodes", "room", UNKNOWN, blocks=False)


RULES: Mapping[str, Rule] = {
    "AllHostsFilter": _passes,
    "AggregateImagePropertiesIsolation": _images,
    "AggregateInstanceExtraSpecsFilter": _aggregate,
    "AggregateMultiTenancyIsolation": _tenants,
    "AggregateNumInstancesFilter": _servers_by_aggregate,
    "AggregateTypeAffinityFilter": _types,
    "ComputeCapabilitiesFilter": _capabilities,
    COMPUTE: _compute,
    "DifferentHostFilter": _passes,
    reserve.FILTER: _reserve,
    "ImagePropertiesFilter": _image,
    NUMA: _numa,
    "NumInstancesFilter": _servers,
    # Goes by Nova's own table of devices, which no API shows; the cards are Placement's.
    "PciPassthroughFilter": _passes,
    "SameHostFilter": _passes,
    "ServerGroupAffinityFilter": _passes,
    "ServerGroupAntiAffinityFilter": _passes,
    "SimpleCIDRAffinityFilter": _passes,
}
"""{filter: its rule}. Not in it: those that go by what no API shows (IoOpsFilter, MetricsFilter,
IsolatedHostsFilter, JsonFilter) and all that an operator has written."""
