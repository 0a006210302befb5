"""A host of Nova's scheduler in the words of the rules: how much it has, how much is left.

nova/scheduler/host_manager.py, HostState, and nova/compute/resource_tracker.py, which writes what
it is made of, alike in Nova 29 to 34:

- `vcpus_total` counts the CPUs for floating vCPUs, `vcpus_used` pinned ones too, and
  reserved_host_cpus. CPUs that only pinned servers may have ([compute] cpu_dedicated_set) are in
  the host's NUMA cells alone.
- `free_ram_mb` is what neither a server nor reserved_host_memory_mb has, without the allocation
  ratio: below zero on a host that is overcommitted.
- The ratios are those of the compute node's record. One that was written into Placement alone is
  not seen here, as by Nova's own weighers.
- Only servers that are bound to NUMA cells count in a cell's usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from nova import objects
from nova.virt import hardware

from gpufarm_nova import pools
from gpufarm_nova.reserve import Amounts, Host

if TYPE_CHECKING:
    from gpufarm_nova.options import Settings
    from gpufarm_nova.reading import Reading

Cards = Mapping[str, int]


class Place(NamedTuple):
    """Where a server would be, a host or one of its NUMA cells, and what it takes there."""

    name: str
    host: Host
    server: Amounts


def free(state: Any, settings: Settings, reading: Reading) -> Cards:
    """The cards of the host that a server could take now, by model."""
    return pools.free(_pools(state), settings.models, state.nodename, reading.closed)


def asked(spec: Any, settings: Settings) -> Cards:
    """The cards that a request is for, by model."""
    return pools.asked(spec.pci_requests.requests if spec.pci_requests else (), settings.cards)


def whole(state: Any, settings: Settings, reading: Reading, cards: Cards) -> Host:
    """The host, for servers on floating vCPUs; `cards` are the free ones."""
    vcpus = state.vcpus_total * (state.cpu_allocation_ratio or 1.0)
    memory_mb = state.total_usable_ram_mb * (state.ram_allocation_ratio or 1.0)
    return Host(
        Amounts(vcpus, memory_mb),
        Amounts(
            vcpus - state.vcpus_used + _pinned_elsewhere(state),
            memory_mb - state.total_usable_ram_mb + state.free_ram_mb,
        ),
        _offered(state, settings, reading, cards),
        cards,
    )


def size(spec: Any) -> Amounts:
    """What the server takes of a host."""
    return Amounts(spec.vcpus, spec.memory_mb)


def place(state: Any, spec: Any, host: Host) -> Place:
    """The server on `host`, which is the whole of `state`."""
    bound = spec.numa_topology if state.numa_topology else None
    server = size(spec)
    if bound:
        server = server._replace(vcpus=sum(len(cell.cpuset) for cell in bound.cells))
    return Place(state.nodename, host, server)


def cells(state: Any, spec: Any, settings: Settings, reading: Reading) -> Iterator[Place]:
    """The NUMA cells that Nova would take for a server that is bound to cells; none for others."""
    if state.numa_topology and spec.numa_topology:
        for part in _fitted(state, spec):
            yield from _parts(state, part, settings, reading)


def _parts(state: Any, part: Any, settings: Settings, reading: Reading) -> Iterator[Place]:
    """The NUMA cell of `part` of a server, as a host with the CPUs that floating vCPUs have, with
    those that pinned ones have, or once for each."""
    (cell,) = (cell for cell in state.numa_topology.cells if cell.id == part.id)
    here = [pool for pool in _pools(state) if pool.get("numa_node") == cell.id]
    cards = pools.free(here, settings.models, state.nodename, reading.closed)
    offered = max(
        reading.cards.get(state.uuid, {}).get(cell.id, 0), pools.offered(here, settings.models)
    )
    memory_mb = cell.memory * (state.ram_allocation_ratio or 1.0)
    shared = len(cell.cpuset) * (state.cpu_allocation_ratio or 1.0)
    for taken, total, left in (
        (part.cpuset, shared, shared - cell.cpu_usage),
        (part.pcpuset, len(cell.pcpuset), len(cell.pcpuset - cell.pinned_cpus)),
    ):
        if taken:
            yield Place(
                f"NUMA node {cell.id} of {state.nodename}",
                Host(
                    Amounts(total, memory_mb),
                    Amounts(left, memory_mb - cell.memory_usage),
                    offered,
                    cards,
                ),
                Amounts(len(taken), part.memory),
            )


def _fitted(state: Any, spec: Any) -> list[Any]:
    """The server's NUMA cells with the ids of those that Nova would take on this host, now and in
    the claim of nova-compute; none where it does not fit: NUMATopologyFilter says that."""
    fitted = hardware.numa_fit_instance_to_host(
        state.numa_topology,
        spec.numa_topology.obj_clone(),  # it is changed
        limits=state.limits.get("numa_topology") or _limits(state),
        pci_requests=spec.pci_requests.requests if spec.pci_requests else None,
        pci_stats=state.pci_stats,
        provider_mapping=next((each["mappings"] for each in state.allocation_candidates), None),
    )
    return list(fitted.cells) if fitted else []


def _limits(state: Any) -> Any:
    """What NUMATopologyFilter leaves on the hosts that it looked at."""
    return objects.NUMATopologyLimits(
        cpu_allocation_ratio=state.cpu_allocation_ratio,
        ram_allocation_ratio=state.ram_allocation_ratio,
    )


def _pinned_elsewhere(state: Any) -> int:
    """How many CPUs servers are pinned to that floating vCPUs could not have: they are among
    `vcpus_used` and not among `vcpus_total`."""
    if not state.numa_topology:
        return 0
    return sum(
        len(pinned - cell.cpuset)
        for cell in state.numa_topology.cells
        for pinned in [cell.pinned_cpus]
        if pinned
    )


def _offered(state: Any, settings: Settings, reading: Reading, cards: Cards) -> int:
    known = reading.cards.get(state.uuid)
    open_ = pools.offered(_pools(state), settings.models) if reading.closed else sum(cards.values())
    return max(open_, sum(known.values())) if known else open_


def _pools(state: Any) -> Sequence[pools.Pool]:
    return state.pci_stats.pools if state.pci_stats else ()
