"""Creates, changes, replaces and removes flavors."""

from collections.abc import Generator, Iterator

import msgspec

from gpufarm.catalog.apply.door import Door
from gpufarm.catalog.plan.flavors import FIXED, KEEPER_MARK, KIND, keeper_name, wanted_flavor
from gpufarm.model.catalog import Catalog
from gpufarm.model.change import Change
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.farm import FARM_MARK, Farm

__all__ = ["KIND", "carry_out", "remove"]


def carry_out(farm: Farm, change: Change, catalog: Catalog, door: Door) -> Iterator[str]:
    current = _named(change.name, catalog)
    keeper = _named(keeper_name(farm, change.name), catalog)
    wanted = wanted_flavor(farm, change.name)
    if change.action == "replace":
        yield from _replace(farm, current, keeper, wanted, door)
    elif current:
        yield from _equalise(current, wanted, door)
    else:
        yield from _create(wanted, door)


def remove(name: str, catalog: Catalog, door: Door) -> Iterator[str]:
    flavor = _named(name, catalog)
    if flavor:
        yield f"remove flavor {name}"
        door.delete_flavor(flavor.id)


def _named(name: str, catalog: Catalog) -> CloudFlavor | None:
    return next((flavor for flavor in catalog.flavors if flavor.name == name), None)


def _create(wanted: CloudFlavor, door: Door) -> Generator[str, None, str]:
    """Returns its id. Interrupted halfway, it is a flavor without mark that is taken over."""
    yield f"create flavor {wanted.name}"
    flavor_id = door.create_flavor(wanted)
    yield f"set the properties of flavor {wanted.name}"
    door.set_flavor_properties(flavor_id, wanted.properties)
    return flavor_id


def _equalise(current: CloudFlavor, wanted: CloudFlavor, door: Door) -> Iterator[str]:
    changed = {
        key: value
        for key, value in wanted.properties.items()
        if current.properties.get(key) != value
    }
    if changed:
        yield f"set the properties of flavor {wanted.name}"
        door.set_flavor_properties(current.id, changed)
    for key in sorted(current.properties.keys() - wanted.properties.keys()):
        yield f"remove property {key} of flavor {wanted.name}"
        door.unset_flavor_property(current.id, key)


def _replace(
    farm: Farm,
    current: CloudFlavor | None,
    keeper: CloudFlavor | None,
    wanted: CloudFlavor,
    door: Door,
) -> Iterator[str]:
    keeper_id = keeper.id if keeper else None
    if current and _size(current) != _size(wanted):
        if not current.public and not wanted.public:
            keeper_id = yield from _keep(farm, current, keeper, wanted, door)
        yield f"remove the old flavor {wanted.name}"
        door.delete_flavor(current.id)
        current = None
    if current:
        yield from _equalise(current, wanted, door)
        flavor_id = current.id
    else:
        flavor_id = yield from _create(wanted, door)
    if keeper_id:
        if not wanted.public:
            yield from _grant(keeper_id, flavor_id, wanted.name, door)
        yield f"remove the keeper of flavor {wanted.name}"
        door.delete_flavor(keeper_id)


def _keep(
    farm: Farm, current: CloudFlavor, keeper: CloudFlavor | None, wanted: CloudFlavor, door: Door
) -> Generator[str, None, str]:
    """Put the projects of `current` on its keeper, and return the keeper's id."""
    if keeper:
        keeper_id = keeper.id
    else:
        made = msgspec.structs.replace(
            wanted,
            name=keeper_name(farm, wanted.name),
            properties={FARM_MARK: farm.name, KEEPER_MARK: wanted.name},
        )
        keeper_id = yield from _create(made, door)
    yield from _grant(current.id, keeper_id, wanted.name, door)
    return keeper_id


def _grant(from_id: str, to_id: str, name: str, door: Door) -> Iterator[str]:
    for project in sorted(door.flavor_projects(from_id) - door.flavor_projects(to_id)):
        yield f"keep project {project} allowed to use flavor {name}"
        door.grant_flavor(to_id, project)


def _size(flavor: CloudFlavor) -> tuple[int | bool, ...]:
    return tuple(getattr(flavor, field) for field in FIXED)
