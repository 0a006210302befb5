"""Building something once for the cache: whole or not there, by one builder at a time, with times.

A build happens in a folder of its own that is renamed at the end. What a killed builder leaves is
removed by the next one, and never taken for a result.
"""

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from gpufarm.lab.virthost import commands
from gpufarm.model.errors import LabBusy
from gpufarm.system import files

Note = Callable[[str], None]

PREFIX = "building-"
REMOVAL_LIMIT = 120.0
LOCK_LIMIT = 1800.0
"""Longer than a build may take by the limits of its steps on any machine that can do it at all."""


def key_of(*parts: object) -> str:
    """A short name for what something is made from."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


@contextlib.contextmanager
def only_builder(cache: Path, note: Note) -> Iterator[None]:
    """Hold the cache's lock, waiting for another builder; LabBusy where that takes for ever."""
    deadline = time.monotonic() + LOCK_LIMIT
    waiting = False
    while True:
        with files.lock(cache / "lock", wait=False) as held:
            if held:
                _remove_leftovers(cache)
                yield
                return
        if not waiting:
            note("another command builds the virtual hosts' image: waiting for it")
            waiting = True
        if time.monotonic() > deadline:
            raise LabBusy(f"{cache}: another command has held the lock for {LOCK_LIMIT:.0f} s")
        time.sleep(0.5)


def _remove_leftovers(cache: Path) -> None:
    for path in cache.glob(f"{PREFIX}*"):
        remove(path)


def remove(folder: Path) -> None:
    """Remove a folder whose files may belong to ids that only a name space of users has."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        commands.run(commands.as_root(["rm", "-rf", str(folder)]), limit=REMOVAL_LIMIT)


class Building:
    """A folder that becomes `target` where the block ends without an error, or else vanishes."""

    def __init__(self, cache: Path, target: Path, note: Note) -> None:
        self.target = target
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=cache))
        self._note = note

    def path(self, name: str) -> Path:
        return self.folder / name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.folder.rename(self.target)
        else:
            remove(self.folder)

    @contextlib.contextmanager
    def stage(self, name: str, seconds: int) -> Iterator[None]:
        """Tell that a step begins, how long it takes on two idle cores, and how long it took."""
        self._note(f"{name} (about {seconds} s)")
        started = time.monotonic()
        yield
        self._note(f"{name}: {time.monotonic() - started:.0f} s")
