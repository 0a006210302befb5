"""What OpenStack says, as frozen values: read once, then reasoned about without I/O."""

from collections.abc import Iterable

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the values below."""


class CloudFlavor(Value, frozen=True):
    id: str
    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    public: bool
    properties: dict[str, str]
    ephemeral_gb: int = 0
    swap_mb: int = 0


class CloudAggregate(Value, frozen=True):
    """`properties` without availability_zone, which Nova keeps among them and `zone` holds.

    Under `uuid` it is an aggregate of Placement too.
    """

    id: int
    name: str
    zone: str | None
    hosts: frozenset[str]
    properties: dict[str, str]
    uuid: str = ""


class CloudImage(Value, frozen=True):
    id: str
    name: str
    status: str
    disk_format: str | None
    min_disk_gb: int
    min_memory_mb: int
    public: bool
    checksum: str | None
    properties: dict[str, str]


class ComputeHost(Value, frozen=True):
    """A nova-compute service. `hypervisor_hostname` is the name of its root resource provider,
    `address` its machine's, where it runs a hypervisor there ([DEFAULT] my_ip)."""

    name: str
    hypervisor_hostname: str
    up: bool
    enabled: bool
    servers: int = 0
    address: str | None = None


def services(hosts: Iterable[ComputeHost]) -> dict[str, str]:
    """{hypervisor, which names its root provider: name of its nova-compute}."""
    return {host.hypervisor_hostname: host.name for host in hosts}


def hypervisor_of(hosts: Iterable[ComputeHost], name: str) -> str:
    """The hypervisor of the nova-compute `name`, which names its root provider in Placement.

    `name` itself where no nova-compute is called so: its provider may have outlived it.
    """
    return next((each.hypervisor_hostname for each in hosts if each.name == name), name)


class Inventory(Value, frozen=True):
    """Of one resource class of one provider."""

    total: int
    reserved: int
    used: int
    allocation_ratio: float = 1.0


class Provider(Value, frozen=True):
    """A resource provider with its inventories and the consumers that hold allocations."""

    uuid: str
    name: str
    root_uuid: str
    generation: int
    inventories: dict[str, Inventory]
    allocations: dict[str, dict[str, int]]
    """consumer uuid: {resource class: amount}"""


class Limit(Value, frozen=True):
    """A project's quota of one thing, in Nova's words (`instances`, `cores`, `ram`); -1 is none."""

    name: str
    limit: int
    used: int


class Candidates(Value, frozen=True):
    """What Placement answers to one request: on which root providers, in how many ways."""

    roots: frozenset[str]
    ways: int


class NodeShare(Value, frozen=True):
    """What one server has of the NUMA node `node` of its host."""

    node: int
    cpus: int
    memory_mb: int
