"""Plans host aggregates and, through them, availability zones.

Nova gives an aggregate a zone and changes it, but never takes it away (nova/compute/api.py,
is_safe_to_update_az): that takes a new aggregate.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gpufarm.catalog.plan.marks import change_reason, ownership, replace_reason
from gpufarm.model.change import Change, differences
from gpufarm.model.cloud import CloudAggregate, ComputeHost
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import FARM_MARK, Farm

KIND: Final = "aggregate"


def plan(
    farm: Farm,
    aggregates: Sequence[CloudAggregate],
    hosts: Iterable[ComputeHost] = (),
    *,
    prune: bool = False,
) -> Iterable[Change]:
    by_name = {aggregate.name: aggregate for aggregate in aggregates}
    gone = {change.name for change in unneeded(farm, aggregates)} if prune else set[str]()
    stay = [each for each in aggregates if each.name not in gone]
    held = _held(farm, aggregates, stay, hosts)
    for name in farm.aggregates:
        current = by_name.get(name)
        change = _plan_one(farm, name, current)
        if change:
            _check_zones(farm, name, stay)
            inside = wanted_aggregate(farm, name).hosts | (current.hosts if current else set())
            servers = {host: held[host] for host in sorted(inside & held.keys())}
            yield _refused(change, servers) if servers else change


def _plan_one(farm: Farm, name: str, current: CloudAggregate | None) -> Change | None:
    wanted = wanted_aggregate(farm, name)
    if current is None:
        return Change("create", KIND, name, differences({}, fields(wanted)), "not in the cloud")
    owner = ownership(f"aggregate {name}", current.properties.get(FARM_MARK), farm)
    changes = differences(fields(current), fields(wanted))
    if current.zone and not wanted.zone:
        reason = replace_reason(owner, "Nova cannot take the zone away from an aggregate")
        return Change("replace", KIND, name, changes, reason)
    return Change("change", KIND, name, changes, change_reason(owner)) if changes else None


def _check_zones(farm: Farm, name: str, stay: Iterable[CloudAggregate]) -> None:
    """Raise FarmError where a host stays in another zone through somebody else's aggregate."""
    wanted = wanted_aggregate(farm, name)
    for other in stay:
        if other.name in farm.aggregates or not (wanted.zone and other.zone):
            continue
        for host in sorted(wanted.hosts & other.hosts if other.zone != wanted.zone else ()):
            raise FarmError(
                f"aggregate {name}",
                f"host {host} is in zone {other.zone} through aggregate {other.name}, which is not "
                f"in the farm file, and cannot be in zone {wanted.zone} too: take it out there"
                + (", or --prune" if other.properties.get(FARM_MARK) == farm.name else ""),
            )


def _held(
    farm: Farm,
    aggregates: Iterable[CloudAggregate],
    stay: Iterable[CloudAggregate],
    hosts: Iterable[ComputeHost],
) -> dict[str, int]:
    """{host whose zone would be another: servers that it has, by its last report}.

    Nova refuses that (nova/compute/api.py, is_safe_to_update_az and
    ensure_no_instances_need_to_move_az_when_host_added).
    """
    wanted = [wanted_aggregate(farm, name) for name in farm.aggregates]
    now = _zones(aggregates)
    then = _zones([*wanted, *(each for each in stay if each.name not in farm.aggregates)])
    return {
        host.name: host.servers
        for host in hosts
        if host.servers and now.get(host.name) != then.get(host.name)
    }


def _refused(change: Change, servers: dict[str, int]) -> Change:
    listed = ", ".join(f"{host} has {number}" for host, number in servers.items())
    said = f"Nova changes the zone of no host with servers ({listed}): move them away first"
    return msgspec.structs.replace(change, reason=f"{change.reason}; {said}")


def _zones(aggregates: Iterable[CloudAggregate]) -> dict[str, str]:
    return {host: each.zone for each in aggregates if each.zone for host in each.hosts}


def unneeded(farm: Farm, aggregates: Iterable[CloudAggregate]) -> Iterable[Change]:
    for aggregate in sorted(aggregates, key=lambda each: each.name):
        if (
            aggregate.properties.get(FARM_MARK) == farm.name
            and aggregate.name not in farm.aggregates
        ):
            yield Change("remove", KIND, aggregate.name, (), "no longer in the farm file")


def wanted_aggregate(farm: Farm, name: str) -> CloudAggregate:
    """As it should be; without an id, which Nova gives."""
    aggregate = farm.aggregates[name]
    return CloudAggregate(
        id=0,
        name=name,
        zone=aggregate.zone,
        hosts=frozenset(aggregate.hosts),
        properties=aggregate.properties | {FARM_MARK: farm.name},
    )


def fields(aggregate: CloudAggregate) -> dict[str, Any]:
    """By the names that a change shows; what is empty is left out."""
    named: dict[str, Any] = {
        f"properties.{key}": value for key, value in aggregate.properties.items()
    }
    if aggregate.zone:
        named["zone"] = aggregate.zone
    if aggregate.hosts:
        named["hosts"] = sorted(aggregate.hosts)
    return named
