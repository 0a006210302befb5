"""What a farm file is about, as the cloud has it: flavors, aggregates, images, compute hosts."""

from gpufarm.model.cloud import CloudAggregate, CloudFlavor, CloudImage, ComputeHost, Value


class Catalog(Value, frozen=True):
    """One reading. `images` are those that the farm may touch: see `cloud.catalog`."""

    flavors: tuple[CloudFlavor, ...] = ()
    aggregates: tuple[CloudAggregate, ...] = ()
    images: tuple[CloudImage, ...] = ()
    hosts: tuple[ComputeHost, ...] = ()


class ImageFile(Value, frozen=True):
    """The content of an image. Glance tells an MD5, and the ids that we choose hold the SHA-256."""

    path: str
    md5: str
    sha256: str
    size: int
