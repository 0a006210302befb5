"""What is in a file, in one pass over it."""

import hashlib
from pathlib import Path

from gpufarm.model.catalog import ImageFile

CHUNK = 1024 * 1024


def read(path: Path) -> ImageFile:
    """Both digests of the file at `path`; OSError where it cannot be read."""
    # Glance's `checksum` is an MD5; it is compared with, not relied on.
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return ImageFile(path=str(path), md5=md5.hexdigest(), sha256=sha256.hexdigest(), size=size)
