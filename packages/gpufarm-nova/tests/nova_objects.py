"""HostStates, RequestSpecs and pools, made by Nova's own classes and its tests' fakes."""

import datetime as dt
import json
import os
from unittest import mock

from nova import objects
from nova.objects import fields
from nova.pci import stats, whitelist
from oslo_utils.fixture import uuidsentinel

# Nova's tests put eventlet in the place of threads when they are imported; not in this process.
with mock.patch.dict(os.environ, {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"}), mock.patch(
    "nova.monkey_patch.patch", create=True
):
    from nova.tests.unit.scheduler import fakes

objects.register_all()

K40C, L40S, NIC = ("10de", "1024"), ("10de", "26b9"), ("8086", "154d")
IDS = {"k40c": K40C, "l40s": L40S, "nic": NIC}
NODE = "node1"
SPECS = [
    {"vendor_id": K40C[0], "product_id": K40C[1]},
    {"vendor_id": L40S[0], "product_id": L40S[1], "resource_class": "CUSTOM_L40S"},
    {"vendor_id": NIC[0], "product_id": NIC[1], "physical_network": "fabric"},
]


def device(model, number, kind="type-PCI", numa_node=None, functions=1):
    """The devices of one card: itself, or `functions` VFs of it."""
    vendor, product = IDS[model]
    address = f"0000:{number:02x}:00.0"
    given = {
        "compute_node_id": 1,
        "vendor_id": vendor,
        "product_id": product,
        "dev_type": kind,
        "numa_node": numa_node,
        "status": "available",
        "dev_id": "device",
        "label": "label",
        "parent_addr": None,
        "address": address,
    }
    if kind != "type-VF":
        return [objects.PciDevice.create(None, given)]
    return [
        objects.PciDevice.create(
            None,
            {**given, "address": f"0000:{number:02x}:00.{function + 1}", "parent_addr": address},
        )
        for function in range(functions)
    ]


def pools(devices, *, in_placement=True):
    """What nova-compute writes of free devices."""
    found = stats.PciDeviceStats(
        None, dev_filter=whitelist.Whitelist([json.dumps(spec) for spec in SPECS])
    )
    for each in devices:
        if in_placement:
            address = each.parent_addr or each.address
            each.extra_info = {"rp_uuid": getattr(uuidsentinel, address)}
        found.add_device(each)
    found.populate_pools_metadata_from_assigned_devices()
    return found.to_device_pools_obj()


def host(
    devices=(), *, vcpus=24, memory_mb=98304, numa=None, name=NODE, in_placement=True, **given
):
    """The state of a host as the scheduler reads it from the database of a cell."""
    compute = objects.ComputeNode(
        **{
            "id": 1,
            "uuid": getattr(uuidsentinel, name),
            "host": name,
            "hypervisor_hostname": name,
            "host_ip": "192.0.2.1",
            "hypervisor_type": "QEMU",
            "hypervisor_version": 0,
            "cpu_info": None,
            "supported_hv_specs": [],
            "stats": None,
            "metrics": None,
            "updated_at": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
            "local_gb": 1000,
            "local_gb_used": 0,
            "free_disk_gb": 1000,
            "disk_available_least": None,
            "memory_mb": memory_mb,
            "free_ram_mb": memory_mb,
            "vcpus": vcpus,
            "vcpus_used": 0,
            "numa_topology": numa._to_json() if numa else None,
            "pci_device_pools": pools(devices, in_placement=in_placement),
            "cpu_allocation_ratio": 1.0,
            "ram_allocation_ratio": 1.0,
            "disk_allocation_ratio": 1.0,
            **given,
        }
    )
    state = fakes.FakeHostState(name, name, {})
    state.update(compute=compute)
    return state


def cell(number, *, cpus=(), pcpus=(), memory_mb=49152, **given):
    """A NUMA cell of a host."""
    return objects.NUMACell(
        **{
            "id": number,
            "cpuset": set(cpus),
            "pcpuset": set(pcpus),
            "memory": memory_mb,
            "cpu_usage": 0,
            "memory_usage": 0,
            "pinned_cpus": set(),
            "siblings": [],
            "mempages": [objects.NUMAPagesTopology(size_kb=4, total=memory_mb * 256, used=0)],
            "socket": number,
            **given,
        }
    )


def cells(*numa_cells):
    return objects.NUMATopology(cells=list(numa_cells))


def bound(*sizes, pinned=False):
    """The NUMA topology of a server: (vCPUs, MiB) of each cell."""
    found = []
    for number, (vcpus, memory_mb) in enumerate(sizes):
        cpus = set(range(vcpus))
        policy = fields.CPUAllocationPolicy
        found.append(
            objects.InstanceNUMACell(
                id=number,
                cpuset=set() if pinned else cpus,
                pcpuset=cpus if pinned else set(),
                memory=memory_mb,
                cpu_policy=policy.DEDICATED if pinned else policy.SHARED,
                cpu_thread_policy=None,
                cpuset_reserved=None,
                pagesize=None,
            )
        )
    return objects.InstanceNUMATopology(cells=found, emulator_threads_policy=None)


def alias(model, count=1, **spec):
    """What a flavor's extra spec asks for."""
    vendor, product = IDS[model]
    ids = {"vendor_id": vendor, "product_id": product, "dev_type": "type-PCI"}
    return objects.InstancePCIRequest(
        count=count,
        alias_name=model,
        request_id=getattr(uuidsentinel, model),
        spec=[spec or ids],
    )


def port(model):
    """What a Neutron port asks for."""
    vendor, product = IDS[model]
    return objects.InstancePCIRequest(
        count=1,
        alias_name=None,
        requester_id=uuidsentinel.port,
        request_id=uuidsentinel.port_request,
        spec=[{"vendor_id": vendor, "product_id": product}],
    )


def request(vcpus=4, memory_mb=8192, *asked, numa=None, hints=None):
    """A request for one server."""
    return objects.RequestSpec(
        instance_uuid=uuidsentinel.server,
        flavor=objects.Flavor(
            vcpus=vcpus, memory_mb=memory_mb, root_gb=0, ephemeral_gb=0, swap=0, extra_specs={}
        ),
        numa_topology=numa,
        pci_requests=objects.InstancePCIRequests(requests=list(asked)),
        scheduler_hints=hints or {},
    )
