"""What has to change in OpenStack for it to be as the farm file says.

What is decided here, from two readings and nothing else: which objects are created, changed,
replaced or removed. An object of the farm is one that carries its mark. One of the same name
without any mark is taken over: from then on the farm keeps it equal, and prunes it. One with
another farm's mark is an error. What carries the mark and is no longer in the file stays, and is
no drift, until `prune` is asked for.
"""

from collections.abc import Iterable, Mapping

from gpufarm.catalog.plan import aggregates, flavors, images
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.change import Change
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm

Files = Mapping[str, ImageFile]
"""The content of each image that the farm file gives a file for, by the image's name."""


def plan(farm: Farm, catalog: Catalog, files: Files, *, prune: bool = False) -> tuple[Change, ...]:
    """Every change, aggregates first; empty where nothing is to do.

    Raises FarmError for an object that is another farm's, and for an image that is nowhere.
    """
    changes = [
        *aggregates.plan(farm, catalog.aggregates, catalog.hosts, prune=prune),
        *images.plan(farm, catalog.images, files),
        *flavors.plan(farm, catalog.flavors),
    ]
    return (*changes, *unneeded(farm, catalog)) if prune else tuple(changes)


def unneeded(farm: Farm, catalog: Catalog) -> tuple[Change, ...]:
    """The removal of every object of the farm that is no longer in its file."""
    return (
        *flavors.unneeded(farm, catalog.flavors),
        *images.unneeded(farm, catalog.images),
        *aggregates.unneeded(farm, catalog.aggregates),
    )


def refuse_replacements(changes: Iterable[Change]) -> None:
    """Raise FarmError naming every replacement in `changes`."""
    replaced = [change for change in changes if change.action == "replace"]
    if replaced:
        listed = "; ".join(f"{each.kind} {each.name} ({each.reason})" for each in replaced)
        raise FarmError(
            "replacement",
            f"{listed}: this deletes and creates anew; servers keep what they have. None of it was "
            "done: repeat with --replace to do it",
        )
