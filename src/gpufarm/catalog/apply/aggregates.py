"""Creates, changes, replaces and removes aggregates, all of a plan together.

A host can be in two aggregates only while their zones agree (nova/compute/api.py,
is_safe_to_update_az), so that hosts leave first, then aggregates change, then hosts join.
"""

from collections.abc import Generator, Iterator, Sequence

from gpufarm.catalog.apply.door import Door
from gpufarm.catalog.plan.aggregates import KIND, wanted_aggregate
from gpufarm.model.catalog import Catalog
from gpufarm.model.change import Change
from gpufarm.model.cloud import CloudAggregate
from gpufarm.model.farm import Farm

__all__ = ["KIND", "carry_out", "empty", "remove"]


def carry_out(farm: Farm, changes: Sequence[Change], catalog: Catalog, door: Door) -> Iterator[str]:
    ids: dict[str, int] = {}
    for change in changes:
        current = _named(change.name, catalog)
        if current:
            yield from _leave(current, leaving(farm, change, catalog), door)
    for change in changes:
        current = _named(change.name, catalog)
        if current and change.action == "replace":
            yield f"remove the old aggregate {current.name}"
            door.delete_aggregate(current.id)
            current = None
        wanted = wanted_aggregate(farm, change.name)
        ids[change.name] = yield from _settle(current, wanted, door)
    for change in changes:
        current = _named(change.name, catalog)
        stayed = (current.hosts if current else frozenset()) - leaving(farm, change, catalog)
        for host in sorted(wanted_aggregate(farm, change.name).hosts - stayed):
            yield f"add host {host} to aggregate {change.name}"
            door.add_host(ids[change.name], host)


def empty(changes: Sequence[Change], catalog: Catalog, door: Door) -> Iterator[str]:
    """Take the hosts out of aggregates that go."""
    for change in changes:
        current = _named(change.name, catalog)
        if current:
            yield from _leave(current, current.hosts, door)


def remove(name: str, catalog: Catalog, door: Door) -> Iterator[str]:
    """Of an aggregate that was emptied before."""
    aggregate = _named(name, catalog)
    if aggregate:
        yield f"remove aggregate {name}"
        door.delete_aggregate(aggregate.id)


def leaving(farm: Farm, change: Change, catalog: Catalog) -> frozenset[str]:
    """Hosts that leave the aggregate, for good or until its zone is another."""
    current = _named(change.name, catalog)
    if current is None:
        return frozenset()
    wanted = wanted_aggregate(farm, change.name)
    elsewhere = {
        host
        for other in catalog.aggregates
        if other.name != current.name and other.zone and other.zone != wanted.zone
        for host in other.hosts
    }
    if change.action == "replace" or (current.zone != wanted.zone and current.hosts & elsewhere):
        return current.hosts
    return current.hosts - wanted.hosts


def _named(name: str, catalog: Catalog) -> CloudAggregate | None:
    return next((each for each in catalog.aggregates if each.name == name), None)


def _leave(current: CloudAggregate, hosts: frozenset[str], door: Door) -> Iterator[str]:
    for host in sorted(hosts):
        yield f"remove host {host} from aggregate {current.name}"
        door.remove_host(current.id, host)


def _settle(
    current: CloudAggregate | None, wanted: CloudAggregate, door: Door
) -> Generator[str, None, int]:
    """Everything but the hosts; returns the id."""
    if current is None:
        yield f"create aggregate {wanted.name}"
        aggregate_id, had = door.create_aggregate(wanted.name, wanted.zone), dict[str, str]()
    else:
        aggregate_id, had = current.id, current.properties
        if wanted.zone and current.zone != wanted.zone:
            yield f"put aggregate {wanted.name} into zone {wanted.zone}"
            door.set_zone(aggregate_id, wanted.zone)
    changed: dict[str, str | None] = dict.fromkeys(had.keys() - wanted.properties.keys())
    changed |= {key: value for key, value in wanted.properties.items() if had.get(key) != value}
    if changed:
        yield f"set the properties of aggregate {wanted.name}"
        door.set_aggregate_properties(aggregate_id, changed)
    return aggregate_id
