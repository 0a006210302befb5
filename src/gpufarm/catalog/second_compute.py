"""A second nova-compute on one machine, and the way off it.

So GPU servers were given CPU and memory of their own in 2016: by a service with a host name of its
own and a fixed share. Since Nova 27 it does not start beside the first, or the machine's CPUs and
memory count twice. What is decided here: which services share a machine, by the list of
hypervisors, and the steps to one of them. They end servers, so that gpufarm takes none of them.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from gpufarm.model.change import Change, FieldChange
from gpufarm.model.cloud import ComputeHost, Value

KIND = "nova-compute"


class Pair(Value, frozen=True):
    """Two services of one machine; `both` is what says so."""

    first: ComputeHost
    second: ComputeHost
    both: str


def pairs(hosts: Iterable[ComputeHost]) -> tuple[Pair, ...]:
    """Each second service with the first of its machine.

    The first is the one that has its hypervisor's name, or else the one that comes first.
    """
    machines: dict[str, list[ComputeHost]] = {}
    for host in sorted(hosts, key=lambda host: (not _has_own_name(host), host.name)):
        for mark in _marks(host):
            machines.setdefault(mark, []).append(host)
    found: dict[str, Pair] = {}
    for mark, services in machines.items():
        for second in services[1:]:
            if second.name != services[0].name:
                found.setdefault(second.name, Pair(first=services[0], second=second, both=mark))
    return tuple(found.values())


def findings(hosts: Iterable[ComputeHost]) -> tuple[Change, ...]:
    """One a second service; its changes are the steps, in order."""
    return tuple(
        Change(
            "remove",
            KIND,
            pair.second.name,
            tuple(
                FieldChange(f"step {number}", None, step)
                for number, step in enumerate(way_off(pair), start=1)
            ),
            f"a second nova-compute on the machine of {pair.first.name} ({pair.both})",
        )
        for pair in pairs(hosts)
    )


def way_off(pair: Pair) -> tuple[str, ...]:
    first, second = pair.first.name, pair.second.name
    return (
        f"`openstack compute service set --disable {second} nova-compute`: no new servers there",
        (
            f"end its servers ({pair.second.servers} now: `openstack server list --all-projects "
            f"--host {second}`), or snapshot them to be made anew later: Nova cannot move them to "
            f"{first}, which is the same machine"
        ),
        (
            f"on the machine, stop and disable the unit of {second}, and remove its configuration "
            "(nova-gpu.conf or the like) and its state folder"
        ),
        (
            "`openstack compute service delete ID`, with the id that `openstack compute service "
            f"list --host {second}` shows; its resource provider goes with it"
        ),
        (
            f"in the farm file, name {first} where {second} stood, in cards and aggregates, and "
            "set `reserve: dynamic` or `hard`, which keep what the fixed share kept"
        ),
        (
            f"in the nova.conf of {first}, take out the fixed share (reserved_host_memory_mb, "
            "reserved_host_cpus, vcpu_pin_set or cpu_shared_set), and out of Neutron what bound "
            f"ports of {second} there"
        ),
        (
            "`gpufarm farm apply`, put its settings on the hosts, restart nova-compute and "
            "nova-scheduler, then `gpufarm farm check`"
        ),
    )


def _has_own_name(host: ComputeHost) -> bool:
    return host.name in (host.hypervisor_hostname, host.hypervisor_hostname.partition(".")[0])


def _marks(host: ComputeHost) -> Iterator[str]:
    """What two services of one machine have in common. A loopback address says nothing."""
    yield f"hypervisor {host.hypervisor_hostname}"
    if host.address and not ip_address(host.address).is_loopback:
        yield f"address {host.address}"
