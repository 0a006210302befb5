"""The virt driver of a simulated host, on top of Nova's own fake driver.

It differs from the fake driver where GPU farms need it: CPUs, memory, NUMA nodes and PCI functions
come from the host's file, which is read again at every report; guests and the devices that they
hold outlive the process; a device that another guest holds is refused as libvirt refuses it; a step
can be told to fail or to be slow.
"""

import functools
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import nova.conf
from nova import exception, objects
from nova.compute import power_state
from nova.virt import fake
from oslo_serialization import jsonutils

from gpufarm.lab import faults, state
from gpufarm.lab.identity import compute_id
from gpufarm.model.host import HostFile, HostFunction, node_shares
from gpufarm.model.pci import device_type
from gpufarm.system import files

CONF = nova.conf.CONF
FOLDER: Path = Path()
"""The lab's state folder; set by `inside.nova` before a driver is loaded."""


class Guest(msgspec.Struct):
    """A guest on the hypervisor. `devices` are PCI addresses."""

    name: str
    power_state: int
    devices: list[str]


def guests_path(folder: Path, host: str) -> Path:
    return folder / "guests" / f"{host}.json"


class SimulatedDriver(fake.FakeDriver):
    """Loaded by Nova as `compute_driver = gpufarm_lab.SimulatedDriver`."""

    capabilities: ClassVar[dict[str, bool]] = dict(
        fake.FakeDriver.capabilities, supports_migrate_to_same_host=False
    )

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        self._name: str = CONF.host
        self._shape(self._hardware())
        # The process of several hosts has only one CONF, which is this host's while it starts.
        self._kept_back = {
            "VCPU": CONF.reserved_host_cpus,
            "MEMORY_MB": CONF.reserved_host_memory_mb,
        }
        super().__init__(virtapi, read_only)
        self._guests = self._load_guests()
        for guest_id, guest in self._guests.items():
            self.instances[guest_id] = fake.FakeInstance(guest.name, guest.power_state, guest_id)

    def init_host(self, host: str) -> None:
        self._host = host
        self._set_nodes([host])

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {compute_id(self._name): self._name}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        self._meet("get_available_resource")
        host = self._hardware()
        self._shape(host)
        found: dict[str, Any] = super().get_available_resource(nodename)
        functions = [_reported(function) for function in host.pci_functions]
        return {
            **found,
            "uuid": compute_id(self._name),
            "vcpus": host.vcpus,
            "memory_mb": host.memory_mb,
            "local_gb": host.disk_gb,
            "numa_topology": _numa_topology(host)._to_json(),
            "pci_passthrough_devices": jsonutils.dumps(functions),
        }

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        super().update_provider_tree(provider_tree, nodename, allocations)
        inventory = provider_tree.data(nodename).inventory
        for name, amount in self._kept_back.items():
            inventory[name]["reserved"] = amount
        provider_tree.update_inventory(nodename, inventory)

    def spawn(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._meet("spawn")
        self._start(
            instance, lambda: fake.FakeDriver.spawn(self, context, instance, *args, **kwargs)
        )

    def finish_revert_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        self._meet("finish_revert_migration")
        revert = super().finish_revert_migration
        self._start(instance, lambda: revert(context, instance, *args, **kwargs))

    def migrate_disk_and_power_off(self, *args: Any, **kwargs: Any) -> str:
        self._meet("migrate_disk_and_power_off")
        instance = args[1]
        # The guest leaves the hypervisor here, and with it its hold on the devices.
        self._forget(instance.uuid)
        # Nova hands this to finish_migration as JSON; the fake driver's None is refused there.
        return "[]"

    def post_live_migration(self, context: Any, instance: Any, *_: Any, **__: Any) -> None:
        self._forget(instance.uuid)

    def _start(self, instance: Any, start: Any) -> None:
        """Start a guest, which takes its devices, or refuse as libvirt does.

        The devices are asked for as nova/virt/libvirt/driver.py, _guest_add_pci_devices, does: it
        fails with a KeyError while Nova's table has the server's devices on two hosts.
        """
        source = objects.InstancePCIRequest.FLAVOR_ALIAS
        devices = [device.address for device in instance.get_pci_devices(source=source)]
        for other_id, other in self._guests.items():
            taken = set(devices) & set(other.devices)
            if other_id != instance.uuid and taken:
                raise exception.NovaException(
                    "Requested operation is not valid: PCI device "
                    f"{min(taken)} is in use by driver QEMU, domain {other.name}"
                )
        start()
        self._guests[instance.uuid] = Guest(instance.name, power_state.RUNNING, devices)
        self._save_guests()

    def _forget(self, guest_id: str) -> None:
        self.instances.pop(guest_id, None)
        self._save_guests()

    def _meet(self, step: str) -> None:
        """Be slow or fail, if told so for this step."""
        fault = faults.take(FOLDER, self._name, step)
        if fault is None:
            return
        time.sleep(fault.delay)
        if fault.error is not None:
            raise exception.NovaException(fault.error)

    def _hardware(self) -> HostFile:
        return msgspec.json.decode(state.host_path(FOLDER, self._name).read_bytes(), type=HostFile)

    def _shape(self, host: HostFile) -> None:
        self.vcpus, self.memory_mb, self.local_gb = host.vcpus, host.memory_mb, host.disk_gb

    def _load_guests(self) -> dict[str, Guest]:
        path = guests_path(FOLDER, self._name)
        if not path.exists():
            return {}
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Guest])

    def _save_guests(self) -> None:
        """Bring the file in line with the guests that the fake driver has."""
        for guest_id in list(self._guests):
            found = self.instances.get(guest_id)
            if found is None:
                del self._guests[guest_id]
            else:
                self._guests[guest_id].power_state = found.state
        files.write(guests_path(FOLDER, self._name), msgspec.json.encode(self._guests))


def _reported(function: HostFunction) -> dict[str, Any]:
    """As the libvirt driver reports a PCI function (nova/virt/libvirt/host.py)."""
    return {
        "address": function.address,
        "vendor_id": function.vendor_id,
        "product_id": function.product_id,
        "status": "available",
        "dev_type": device_type(function.sriov),
        "parent_addr": function.physical_function,
        "numa_node": function.numa_node,
        "dev_id": "pci_" + function.address.replace(":", "_").replace(".", "_"),
        "label": f"label_{function.vendor_id}_{function.product_id}",
    }


def _numa_topology(host: HostFile) -> Any:
    """CPUs and memory shared out to the host's NUMA nodes."""
    cells, first = [], 0
    for node, (cpus, memory) in enumerate(node_shares(host)):
        ids = set(range(first, first + cpus))
        first += cpus
        cells.append(
            objects.NUMACell(
                id=node,
                cpuset=ids,
                pcpuset=set(),
                memory=memory,
                cpu_usage=0,
                memory_usage=0,
                pinned_cpus=set(),
                siblings=[{cpu} for cpu in ids],
                mempages=[objects.NUMAPagesTopology(size_kb=4, total=memory * 256, used=0)],
                network_metadata=objects.NetworkMetadata(physnets=set(), tunneled=False),
                socket=node,
            )
        )
    return objects.NUMATopology(cells=cells)


def _saved_step(name: str) -> Any:
    """The fake driver's step `name`, with its faults met before and the guests saved after."""
    inner = getattr(fake.FakeDriver, name)

    @functools.wraps(inner)
    def step(self: SimulatedDriver, *args: Any, **kwargs: Any) -> Any:
        self._meet(name)
        found = inner(self, *args, **kwargs)
        self._save_guests()
        return found

    return step


for _name in faults.STEPS:
    if _name not in vars(SimulatedDriver):
        setattr(SimulatedDriver, _name, _saved_step(_name))
