"""Plans images.

Glance has no unique names, so what an image is called does not say which it is. The farm's own are
known by their mark, and are created under an id that follows from farm, name, format and content:
of two commands that create the same image at once, Glance refuses the second. Content and format of
an image never change (glance/domain/__init__.py), so other content is another image; the old one
goes when the new one is there.

An image without `file` stays its owner's: it gets no mark, what the farm file says about it is kept
equal, and nothing of it is ever removed.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gpufarm.catalog.plan.marks import change_reason, ownership, replace_reason
from gpufarm.model.catalog import ImageFile
from gpufarm.model.change import Change, FieldChange, differences
from gpufarm.model.cloud import CloudImage
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import IMAGE_FARM_MARK, IMAGE_PROPERTIES_MARK, Farm, Image

KIND: Final = "image"

UNFINISHED: Final = frozenset({"queued", "saving", "uploading", "importing"})
"""Glance's states of an image whose content is not there yet."""

_NAMES: Final = uuid.UUID("6f4c1a52-5f0e-4d0b-9f5e-0d8f0a3b7c11")
MOST_IDS: Final = 64
"""Ids tried for one content: Glance never gives an id again once an image had it."""


def plan(
    farm: Farm, images: Sequence[CloudImage], files: Mapping[str, ImageFile]
) -> Iterable[Change]:
    for name, image in farm.images.items():
        same_name = [each for each in images if each.name == name]
        if image.file:
            change = _plan_own(farm, name, same_name, files[name])
        else:
            change = _plan_foreign(farm, name, image, same_name)
        if change:
            yield change


def _plan_own(
    farm: Farm, name: str, same_name: Sequence[CloudImage], file: ImageFile
) -> Change | None:
    current, superseded = choose(farm, name, same_name, file)
    wanted = wanted_image(farm, name, file)
    if current is None and not superseded:
        changes = differences({}, _fields(wanted, wanted))
        return Change("create", KIND, name, changes, "not in the cloud")
    was = current or superseded[0]
    owner = ownership(f"image {name}", was.properties.get(IMAGE_FARM_MARK), farm)
    if current is None:
        changes = differences(_fields(was, wanted), _fields(wanted, wanted))
        reason = replace_reason(owner, "Glance cannot change the content of an image")
        return Change("replace", KIND, name, changes, reason)
    changes = differences(_fields(current, wanted), _fields(wanted, wanted))
    if superseded:
        left = FieldChange("superseded", [image.id for image in superseded], None)
        return Change("replace", KIND, name, (*changes, left), "a replacement was interrupted")
    if current.status in UNFINISHED:
        return Change("change", KIND, name, changes, "its upload was interrupted")
    return Change("change", KIND, name, changes, change_reason(owner)) if changes else None


def choose(
    farm: Farm, name: str, same_name: Sequence[CloudImage], file: ImageFile
) -> tuple[CloudImage | None, tuple[CloudImage, ...]]:
    """The image that is, or becomes, the wanted one, and those that go for it.

    Raises FarmError where the name does not say which one is meant.
    """
    ours = [each for each in same_name if each.properties.get(IMAGE_FARM_MARK) == farm.name]
    if not ours and same_name:
        ours = [_only(f"image {name}", same_name)]
        ownership(f"image {name}", ours[0].properties.get(IMAGE_FARM_MARK), farm)
    ids = image_ids(farm, name, file)
    fitting = [each for each in ours if _fits(farm, name, each, file, ids)]
    # One that is ready before one that is still being uploaded; by id to be the same every time.
    fitting.sort(key=lambda each: (each.status in UNFINISHED, each.id))
    current = fitting[0] if fitting else None
    superseded = [each for each in ours if each is not current]
    return current, tuple(sorted(superseded, key=lambda each: each.id))


def _fits(farm: Farm, name: str, image: CloudImage, file: ImageFile, ids: Sequence[str]) -> bool:
    if image.status in UNFINISHED:
        return image.id in ids
    return (image.checksum, image.disk_format) == (file.md5, disk_format(farm.images[name]))


def _plan_foreign(
    farm: Farm, name: str, image: Image, same_name: Sequence[CloudImage]
) -> Change | None:
    current = choose_foreign(name, same_name)
    wanted = wanted_foreign(image, current)
    changes = differences(_fields(current, wanted), _fields(wanted, wanted))
    if not changes:
        return None
    ownership(f"image {name}", current.properties.get(IMAGE_FARM_MARK), farm)
    return Change("change", KIND, name, changes, "differs from the farm file")


def choose_foreign(name: str, same_name: Sequence[CloudImage]) -> CloudImage:
    """The one image of that name; FarmError where there is none, or several."""
    if not same_name:
        raise FarmError(
            f"image {name}",
            "the farm file gives no `file` for it, and Glance has no public image of this name, "
            "nor has this project one: upload it, or give its `file`",
        )
    return _only(f"image {name}", same_name)


def _only(subject: str, same_name: Sequence[CloudImage]) -> CloudImage:
    if len(same_name) > 1:
        ids = ", ".join(sorted(each.id for each in same_name))
        raise FarmError(
            subject,
            f"Glance has {len(same_name)} images of this name ({ids}): rename or delete all but "
            "the one that is meant",
        )
    return same_name[0]


def unneeded(farm: Farm, images: Iterable[CloudImage]) -> Iterable[Change]:
    names = {
        image.name
        for image in images
        if image.properties.get(IMAGE_FARM_MARK) == farm.name and image.name not in farm.images
    }
    for name in sorted(names):
        yield Change("remove", KIND, name, (), "no longer in the farm file")


def wanted_image(farm: Farm, name: str, file: ImageFile) -> CloudImage:
    """As an image with a file should be."""
    image = farm.images[name]
    properties = image.properties | {IMAGE_FARM_MARK: farm.name}
    if image.properties:
        properties[IMAGE_PROPERTIES_MARK] = ",".join(sorted(image.properties))
    return CloudImage(
        id="",
        name=name,
        status="active",
        disk_format=disk_format(image),
        min_disk_gb=image.min_disk_gb or 0,
        min_memory_mb=image.min_memory_mb or 0,
        public=image.public is not False,
        checksum=file.md5,
        properties=properties,
    )


def wanted_foreign(image: Image, current: CloudImage) -> CloudImage:
    """`current` with what the farm file says about it."""
    return CloudImage(
        id=current.id,
        name=current.name,
        status=current.status,
        disk_format=current.disk_format,
        min_disk_gb=_given(image.min_disk_gb, current.min_disk_gb),
        min_memory_mb=_given(image.min_memory_mb, current.min_memory_mb),
        public=current.public if image.public is None else image.public,
        checksum=current.checksum,
        properties=image.properties,
    )


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def disk_format(image: Image) -> str:
    return image.disk_format or "raw"


def image_ids(farm: Farm, name: str, file: ImageFile) -> tuple[str, ...]:
    """The ids under which this content is created, in the order in which they are tried."""
    identity = f"{farm.name}\0{name}\0{disk_format(farm.images[name])}\0{file.sha256}"
    return tuple(str(uuid.uuid5(_NAMES, f"{identity}\0{number}")) for number in range(MOST_IDS))


def obsolete_properties(current: CloudImage, wanted: CloudImage) -> frozenset[str]:
    """Those that an earlier farm file set and that `wanted` lacks."""
    set_by_us = current.properties.get(IMAGE_PROPERTIES_MARK, "")
    names = {name for name in set_by_us.split(",") if name} | {IMAGE_PROPERTIES_MARK}
    return frozenset(names & current.properties.keys()) - wanted.properties.keys()


def _fields(image: CloudImage, wanted: CloudImage) -> dict[str, Any]:
    """By the names that a change shows; of the properties those that are ours to set."""
    shown = wanted.properties.keys() | obsolete_properties(image, wanted)
    return {
        # A deactivated image is an operator's decision, which is not ours to undo.
        "status": "queued" if image.status in UNFINISHED else "active",
        "disk_format": image.disk_format,
        "min_disk_gb": image.min_disk_gb,
        "min_memory_mb": image.min_memory_mb,
        "public": image.public,
        "checksum": image.checksum,
        **{f"properties.{key}": image.properties[key] for key in shown & image.properties.keys()},
    }
