"""Simulated hosts: what a host file says, and whether such a machine could exist."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gpufarm.model.document import Document
from gpufarm.model.errors import HostImpossible
from gpufarm.model.pci import PciAddress, PciClass, PciId, Sriov, function_number, slot

HostName = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Positive = Annotated[int, Meta(ge=1)]


class HostFunction(Document, frozen=True, kw_only=True):
    """One PCI function of a simulated host."""

    address: PciAddress
    vendor_id: PciId
    product_id: PciId
    class_id: PciClass
    iommu_group: Annotated[int, Meta(ge=0)] | None = None
    numa_node: Annotated[int, Meta(ge=0)] | None = None
    driver: str | None = None
    sriov: Sriov = "none"
    physical_function: PciAddress | None = None


class HostFile(Document, frozen=True, kw_only=True):
    """A host file; `count` makes that many hosts, named NAME-1 to NAME-count."""

    version: Literal[1]
    name: HostName
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    vcpus: Positive
    memory_mb: Positive
    disk_gb: Positive
    numa_nodes: Annotated[int, Meta(ge=1, le=64)] = 1
    pci_functions: tuple[HostFunction, ...] = ()


def impossibilities(host: HostFile) -> tuple[str, ...]:
    """Every reason why no machine could be as `host` says; empty where one could."""
    functions = host.pci_functions
    by_address = {function.address: function for function in functions}
    problems = [
        f"two functions at {address}"
        for address, times in Counter(function.address for function in functions).items()
        if times > 1
    ]
    if host.vcpus < host.numa_nodes:
        problems.append(f"{host.vcpus} vcpus cannot be shared out to {host.numa_nodes} NUMA nodes")
    for function in functions:
        problems += _function_problems(function, host, by_address)
    problems += _group_problems(functions)
    return tuple(problems)


def _function_problems(
    function: HostFunction, host: HostFile, by_address: dict[str, HostFunction]
) -> Iterable[str]:
    address = function.address
    # A VF's number may be any: only function 0 of a physical device is obligatory (PCIe base
    # specification, multi-function devices; SR-IOV, routing ids of VFs).
    if (
        function.sriov != "vf"
        and function_number(address) != 0
        and slot(address) + ".0" not in by_address
    ):
        yield f"function {address} without function 0 of its slot"
    if function.numa_node is not None and function.numa_node >= host.numa_nodes:
        yield (
            f"{address} is on NUMA node {function.numa_node}, the host has 0 to "
            f"{host.numa_nodes - 1}"
        )
    if function.sriov == "vf":
        parent = by_address.get(function.physical_function or "")
        if function.physical_function is None:
            yield f"VF {address} names no physical_function"
        elif parent is None:
            yield f"VF {address} without its PF {function.physical_function}"
        elif parent.sriov != "pf":
            yield f"VF {address}: {function.physical_function} is no PF (sriov: pf)"
    elif function.physical_function is not None:
        yield f"{address} names a physical_function but is no VF (sriov: vf)"


def _group_problems(functions: tuple[HostFunction, ...]) -> Iterable[str]:
    groups: dict[str, set[int | None]] = {}
    for function in functions:
        groups.setdefault(function.address, set()).add(function.iommu_group)
    for address, found in groups.items():
        if len(found) > 1:
            named = ", ".join(sorted(str(group) for group in found))
            yield f"function {address} in two groups ({named})"
    if any(function.iommu_group is not None for function in functions):
        for function in functions:
            if function.iommu_group is None:
                yield f"{function.address} is in no IOMMU group although the host's IOMMU is on"


def expand(hosts: Iterable[tuple[str, HostFile]]) -> tuple[HostFile, ...]:
    """One value a host (`count` written out), from (file name, host file) pairs.

    Raises HostImpossible for a machine that cannot exist and for a name given twice.
    """
    expanded: dict[str, HostFile] = {}
    for file, host in hosts:
        problems = impossibilities(host)
        if problems:
            raise HostImpossible(file, host.name, problems)
        names = (
            [host.name]
            if host.count == 1
            else [f"{host.name}-{number}" for number in range(1, host.count + 1)]
        )
        for name in names:
            if name in expanded:
                raise HostImpossible(file, name, ("another host file gives the same name",))
            expanded[name] = msgspec.structs.replace(host, name=name, count=1)
    return tuple(expanded.values())


def node_shares(host: HostFile) -> tuple[tuple[int, int], ...]:
    """CPUs and MB of memory of each NUMA node; the first ones get what is over."""
    nodes = host.numa_nodes
    return tuple(
        (
            host.vcpus // nodes + (node < host.vcpus % nodes),
            host.memory_mb // nodes + (node < host.memory_mb % nodes),
        )
        for node in range(nodes)
    )
