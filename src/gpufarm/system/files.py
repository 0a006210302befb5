"""Files that are whole or not there, and locks that end with their holder."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

SECRET = 0o600
PUBLIC = 0o644


def write(path: Path, content: str | bytes, mode: int = PUBLIC) -> None:
    """Replace the file at `path` atomically; it never exists with other rights than `mode`."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_if_changed(path: Path, content: str, mode: int = PUBLIC) -> bool:
    """Like `write`, and whether there was anything to do."""
    if path.is_file() and path.read_text() == content:
        return False
    write(path, content, mode)
    return True


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock at `path`; yields False, without it, where another holds it and not `wait`.

    The kernel releases it with its holder, so a killed command leaves no stale lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def free_mb(path: Path) -> int:
    """Megabytes free where `path`, or the nearest folder above it that exists, lies."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free // (1024 * 1024)
