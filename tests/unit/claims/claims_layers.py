"""Layers from short descriptions: what the four of them would have said."""

from collections.abc import Iterable
from typing import Any

from gpufarm.model.claims import (
    DeviceRow,
    Guest,
    HostCard,
    Layers,
    Migration,
    NovaLayer,
    ServerState,
)
from gpufarm.model.cloud import ComputeHost, Inventory, Provider

NOW = 1_000_000.0
OLD = 3600.0


def layers(facts: dict[str, Any]) -> Layers:
    """From `hosts`, `servers`, `migrations`, `rows` and `deleted` of a case file.

    Ages are seconds, an hour where none is said. A host without `guests` or `functions` is one of
    which they were not read, one without `offers` is one whose settings nobody shows; without
    `rows` no database was read. `stopped` are guests that do not run.
    """
    hosts = facts.get("hosts", {})
    return Layers(
        at=NOW,
        placement=tuple(each for name, host in hosts.items() for each in _tree(name, host)),
        nova=NovaLayer(
            hosts=tuple(
                ComputeHost(
                    name=name,
                    hypervisor_hostname=f"{name}.example",
                    up=host.get("state", "up") == "up",
                    enabled=True,
                )
                for name, host in hosts.items()
                if host.get("state") != "gone"
            ),
            servers={key: _server(key, given) for key, given in facts.get("servers", {}).items()},
            migrations={
                key: _migration(number, key, given)
                for number, (key, given) in enumerate(facts.get("migrations", {}).items(), 1)
            },
            deleted=frozenset(facts.get("deleted", ())),
            rows=_rows(facts["rows"]) if "rows" in facts else None,
        ),
        guests={
            name: _guests(host["guests"], host.get("stopped", ()))
            for name, host in hosts.items()
            if "guests" in host
        },
        hosts={
            name: {
                address: HostCard(driver=driver) for address, driver in host["functions"].items()
            }
            for name, host in hosts.items()
            if "functions" in host
        },
        offered={
            name: frozenset(host["offers"]) for name, host in hosts.items() if "offers" in host
        },
    )


def _tree(name: str, host: dict[str, Any]) -> list[Provider]:
    root = f"{name}.example"
    found = [_provider(root, root, {"VCPU": 8}, {})]
    for address, card in host.get("cards", {}).items():
        held = {consumer: {"CUSTOM_H": amount} for consumer, amount in card.get("held", {}).items()}
        found.append(
            _provider(f"{root}_{address.upper()}", root, {"CUSTOM_H": card.get("total", 1)}, held)
        )
    return found


def _provider(
    name: str, root: str, stock: dict[str, int], held: dict[str, dict[str, int]]
) -> Provider:
    return Provider(
        uuid=f"uuid-of-{name}",
        name=name,
        root_uuid=f"uuid-of-{root}",
        generation=1,
        inventories={
            key: Inventory(
                total=total,
                reserved=0,
                used=sum(amounts.get(key, 0) for amounts in held.values()),
            )
            for key, total in stock.items()
        },
        allocations=held,
    )


def _server(key: str, given: dict[str, Any]) -> ServerState:
    return ServerState(
        id=key,
        name=f"name-of-{key}",
        status=given.get("status", "ACTIVE"),
        task=given.get("task"),
        host=given.get("host"),
        updated=NOW - given.get("age", OLD),
        launched=given.get("launched", True),
    )


def _migration(number: int, key: str, given: dict[str, Any]) -> Migration:
    return Migration(
        id=number,
        uuid=key,
        server=given["server"],
        status=given["status"],
        kind=given.get("kind", "migration"),
        source=given["source"],
        target=given.get("target"),
        updated=NOW - given.get("age", OLD),
    )


def _rows(given: list[dict[str, Any]]) -> tuple[DeviceRow, ...]:
    return tuple(
        DeviceRow(
            id=number,
            hypervisor=f"{each['host']}.example",
            address=each["address"],
            parent=each.get("parent"),
            status=each.get("status", "allocated" if "server" in each else "available"),
            server=each.get("server"),
            updated=NOW - each.get("age", OLD),
        )
        for number, each in enumerate(given)
    )


def _guests(given: dict[str, list[str]], stopped: Iterable[str]) -> tuple[Guest, ...]:
    return tuple(
        Guest(id=key, name=f"instance-{key}", devices=frozenset(devices), runs=key not in stopped)
        for key, devices in given.items()
    )
