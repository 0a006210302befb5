"""What is left of the NUMA nodes of hosts whose hardware is known.

What is decided here: a node's CPUs and memory times the host's allocation ratios, less what
servers with a NUMA topology have of it (nova/virt/hardware.py, numa_usage_from_instance_numa:
others are not counted), and the free cards whose address the host file puts at that node.
"""

from collections.abc import Iterable, Mapping

from gpufarm.capacity import cards
from gpufarm.capacity.numa import Cell
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import NodeShare, Provider
from gpufarm.model.host import HostFile, node_shares


def cells(
    snapshot: Snapshot, hardware: Iterable[HostFile], held: Mapping[str, tuple[NodeShare, ...]]
) -> dict[str, tuple[Cell, ...]]:
    """{host: its nodes}; `held` is what servers have of them.

    A host with a function of which the file says no node is left out, as if it were not known.
    """
    by_name = {host.name: host for host in hardware}
    names, trees = snapshot.host_names(), snapshot.trees()
    return {
        name: _of_host(trees[root], root, by_name[name], held.get(name, ()))
        for root, name in names.items()
        if name in by_name
        and all(each.numa_node is not None for each in by_name[name].pci_functions)
    }


def _of_host(
    tree: tuple[Provider, ...], root: str, host: HostFile, held: tuple[NodeShare, ...]
) -> tuple[Cell, ...]:
    (top,) = (provider for provider in tree if provider.uuid == root)
    devices = [provider for provider in tree if provider.uuid != root]
    found = []
    for node, (cpus, memory_mb) in enumerate(node_shares(host)):
        shares = [share for share in held if share.node == node]
        found.append(
            Cell(
                id=node,
                cpus=int(cpus * _ratio(top, "VCPU")) - sum(share.cpus for share in shares),
                memory_mb=int(memory_mb * _ratio(top, "MEMORY_MB"))
                - sum(share.memory_mb for share in shares),
                largest_cpus=cpus,
                largest_memory_mb=memory_mb,
                cards=_cards(devices, host, node),
            )
        )
    return tuple(found)


def _ratio(root: Provider, resource_class: str) -> float:
    inventory = root.inventories.get(resource_class)
    return inventory.allocation_ratio if inventory else 1.0


def _cards(devices: Iterable[Provider], host: HostFile, node: int) -> dict[str, int]:
    """Free ones by resource class; a device's provider is named by its address, in upper case."""
    near = {
        function.address.lower() for function in host.pci_functions if function.numa_node == node
    }
    free: dict[str, int] = {}
    for device in devices:
        if device.name.rpartition("_")[2].lower() in near:
            for name in device.inventories:
                # Leaked or in use, it is not free.
                number = cards.count(device, name, frozenset()).free
                free[name] = free.get(name, 0) + number
    return free
