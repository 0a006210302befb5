"""Creates, fills, changes, replaces and removes images.

An image is private until its content is there, so that its users never see one that they cannot
start from, nor two of one name for longer than it takes to remove the old one.
"""

import time
from collections.abc import Generator, Iterator
from typing import Any

from gpufarm.catalog.apply.door import Door
from gpufarm.catalog.plan import Files
from gpufarm.catalog.plan.images import (
    KIND,
    UNFINISHED,
    choose,
    choose_foreign,
    image_ids,
    obsolete_properties,
    wanted_foreign,
    wanted_image,
)
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.change import Change
from gpufarm.model.cloud import CloudImage
from gpufarm.model.errors import CloudConflict, CloudError
from gpufarm.model.farm import IMAGE_FARM_MARK, Farm

__all__ = ["KIND", "carry_out", "remove"]

# What somebody else uploads may be large; Glance says nothing about how far it is.
LOOK_SECONDS = 1.0
MOST_LOOKS = 600


def carry_out(
    farm: Farm, change: Change, catalog: Catalog, files: Files, door: Door
) -> Iterator[str]:
    name = change.name
    same_name = [image for image in catalog.images if image.name == name]
    if not farm.images[name].file:
        image = choose_foreign(name, same_name)
        yield from _equalise(image, wanted_foreign(farm.images[name], image), door)
        return
    file = files[name]
    wanted = wanted_image(farm, name, file)
    current, superseded = choose(farm, name, same_name, file)
    if current is None:
        taken = {image.id for image in superseded}
        ids = [each for each in image_ids(farm, name, file) if each not in taken]
        image_id = yield from _create(ids, wanted, door)
        yield from _fill(image_id, wanted, file, door)
        yield from _publish(image_id, wanted, door)
    else:
        if current.status in UNFINISHED:
            yield from _fill(current.id, wanted, file, door)
        yield from _equalise(current, wanted, door)
    for image in superseded:
        yield f"remove the old image {name} ({image.id})"
        door.delete_image(image.id)


def remove(farm: Farm, name: str, catalog: Catalog, door: Door) -> Iterator[str]:
    for image in catalog.images:
        if image.name == name and image.properties.get(IMAGE_FARM_MARK) == farm.name:
            yield f"remove image {name} ({image.id})"
            door.delete_image(image.id)


def _create(ids: list[str], wanted: CloudImage, door: Door) -> Generator[str, None, str]:
    """Under the first id that no image ever had, which is returned."""
    for image_id in ids:
        yield f"create image {wanted.name}"
        try:
            door.create_image(image_id, wanted)
        except CloudConflict:
            if door.image_status(image_id) is not None:
                raise
        else:
            return image_id
    raise CloudError(
        f"creating image {wanted.name}: Glance has used up all {len(ids)} ids for this content: "
        "purge its database of deleted images (glance-manage db purge)"
    )


def _fill(image_id: str, wanted: CloudImage, file: ImageFile, door: Door) -> Iterator[str]:
    """Upload, unless another does: then wait for it."""
    status = door.image_status(image_id)
    if status != "queued":
        yield f"wait for another upload of image {wanted.name}"
    for _ in range(MOST_LOOKS):
        if status == "queued":
            yield f"upload image {wanted.name} ({file.size} bytes)"
            door.upload_image(image_id, file.path)
            return
        if status not in UNFINISHED:
            return
        time.sleep(LOOK_SECONDS)
        status = door.image_status(image_id)
    raise CloudError(
        f"image {wanted.name} ({image_id}) stays in {status}: if nobody uploads it, delete it with "
        f"`openstack image delete {image_id}` and repeat"
    )


def _publish(image_id: str, wanted: CloudImage, door: Door) -> Iterator[str]:
    if wanted.public:
        yield f"publish image {wanted.name}"
        door.change_image(image_id, {"visibility": "public"})


def _equalise(current: CloudImage, wanted: CloudImage, door: Door) -> Iterator[str]:
    changed: dict[str, Any] = dict.fromkeys(sorted(obsolete_properties(current, wanted)))
    changed |= {
        key: value
        for key, value in wanted.properties.items()
        if current.properties.get(key) != value
    }
    if current.min_disk_gb != wanted.min_disk_gb:
        changed["min_disk"] = wanted.min_disk_gb
    if current.min_memory_mb != wanted.min_memory_mb:
        changed["min_ram"] = wanted.min_memory_mb
    if current.public != wanted.public:
        changed["visibility"] = "public" if wanted.public else "private"
    if changed:
        yield f"change image {wanted.name}"
        door.change_image(current.id, changed)
