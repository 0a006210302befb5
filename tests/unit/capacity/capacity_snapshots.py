"""Snapshots from short descriptions: what Placement and Nova would have said."""

from typing import Any

from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudAggregate, CloudFlavor, ComputeHost, Inventory, Provider


def snapshot(facts: dict[str, Any]) -> Snapshot:
    """From `hosts`, `flavors`, `aggregates` and `lost` of a case file."""
    hosts = facts.get("hosts", {})
    return Snapshot(
        providers=tuple(provider for name in hosts for provider in _tree(name, hosts[name])),
        hosts=tuple(
            ComputeHost(
                name=name,
                hypervisor_hostname=f"{name}.example",
                up=host.get("state") != "down",
                enabled=host.get("state") != "disabled",
            )
            for name, host in hosts.items()
            if host.get("state") != "gone"
        ),
        flavors=tuple(flavor(name, **given) for name, given in facts.get("flavors", {}).items()),
        aggregates=tuple(
            CloudAggregate(
                id=number,
                name=name,
                zone=given.get("zone"),
                hosts=frozenset(given["hosts"]),
                properties=given.get("properties", {}),
            )
            for number, (name, given) in enumerate(facts.get("aggregates", {}).items())
        ),
        lost=frozenset(facts.get("lost", ())),
    )


def flavor(
    name: str, vcpus: int, memory_mb: int, disk_gb: int, properties: dict[str, str] | None = None
) -> CloudFlavor:
    return CloudFlavor(
        id=f"id-of-{name}",
        name=name,
        vcpus=vcpus,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        public=True,
        properties=properties or {},
    )


def inventory(
    total: int = 1, reserved: int = 0, used: int = 0, ratio: float = 1.0, **_: Any
) -> Inventory:
    return Inventory(total=total, reserved=reserved, used=used, allocation_ratio=ratio)


def _tree(name: str, host: dict[str, Any]) -> list[Provider]:
    root = f"uuid-of-{name}"
    stock = {key: inventory(**given) for key, given in host["stock"].items()}
    devices = [
        _device(f"{name}.example_{address}", root, given)
        for address, given in host["devices"].items()
    ]
    return [_provider(root, f"{name}.example", root, stock, {}), *devices]


def _device(name: str, root: str, given: dict[str, Any]) -> Provider:
    held: dict[str, dict[str, int]] = {}
    for resource_class, state in given.items():
        for consumer, amount in state.get("held", {}).items():
            held.setdefault(consumer, {})[resource_class] = amount
    stock = {
        resource_class: inventory(**{**state, "used": sum(state.get("held", {}).values())})
        for resource_class, state in given.items()
    }
    return _provider(f"uuid-of-{name}", name, root, stock, held)


def _provider(
    uuid: str,
    name: str,
    root: str,
    inventories: dict[str, Inventory],
    allocations: dict[str, dict[str, int]],
) -> Provider:
    return Provider(
        uuid=uuid,
        name=name,
        root_uuid=root,
        generation=1,
        inventories=inventories,
        allocations=allocations,
    )
