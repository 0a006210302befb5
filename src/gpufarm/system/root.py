"""One root from which every path of a machine hangs.

What is decided here: a path is always absolute and always means the machine that is looked at, be
it this one (`/`), a folder with a copy of another's files, or a capture. A symlink never leads out
of the root. What is absent is None (or empty); what is there and cannot be read is None too and is
remembered in `unreadable`. Reading raises nothing.
"""

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gpufarm.model.printable import decoded, printable

MOST_BYTES = 4 * 1024 * 1024
"""Of one file. The largest that is wanted is a kernel's configuration, below 400 kB."""
SYSFS = "/sys/"
PAGE = 4096
"""As much an attribute of sysfs can say; a larger buffer costs more than the rest of a read."""
MOST_LINKS = 40
"""As many symlinks in one path the kernel follows (path_resolution(7))."""
MOST_DEPTH = 200
"""Folders in a path; below sysfs fewer than 30."""

ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENODEV, errno.ENXIO),
)
"""A device that goes while it is read is ENODEV or ENXIO: it is absent. A folder is no file."""

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK a pipe among the files would wait for a writer."""


Keep = Callable[[str], str]
"""Leaves of a text what is wanted; applied twice it does nothing more."""


class Root(Protocol):
    """A machine's files. `name` is what messages call it."""

    @property
    def name(self) -> str: ...

    @property
    def unreadable(self) -> frozenset[str]:
        """Paths that were asked for, are there, and could not be read."""
        ...

    def names(self, folder: str, prefix: str = "", suffix: str = "") -> tuple[str, ...]:
        """What is in `folder` and begins and ends so, sorted; empty where it is no folder.

        Names that cannot be printed are left out, and count as unreadable.
        """
        ...

    def among(self, folder: str, wanted: Iterable[str]) -> frozenset[str]:
        """Those of `wanted` that are in `folder`."""
        ...

    def read(self, path: str) -> bytes | None:
        """All of a file that is no text."""
        ...

    def text(self, path: str, keep: Keep | None = None) -> str | None:
        """A text file; bytes that are no UTF-8 are written as \\x.. .

        All of it, or what `keep` leaves of it, which is then all that a capture has of it.
        """
        ...

    def texts(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        """{name: text} of those files of `folder` that can be read; quicker than one by one."""
        ...

    def target(self, path: str) -> str | None:
        """Where the symlink at `path` leads, as a path from the root; None where it is none."""
        ...

    def leads_to(self, path: str) -> str | None:
        """The last name of where the symlink at `path` leads, which is not looked at."""
        ...

    def open_below(self, prefix: str) -> dict[str, str]:
        """{/proc/PID/fd/N: path} of what processes have open whose path begins with `prefix`."""
        ...

    def output(self, program: str) -> str | None:
        """What a program of `probes.PROGRAMS` said of itself; None where it is not there."""
        ...


class Folder:
    """A folder as the root of a machine; `/` is this one."""

    def __init__(self, top: Path | str) -> None:
        self._top = os.path.realpath(top).rstrip("/")
        self._known: dict[str, str] = {"": "", "/": ""}
        self._unreadable: set[str] = set()

    @property
    def name(self) -> str:
        return self._top or "/"

    @property
    def unreadable(self) -> frozenset[str]:
        return frozenset(self._unreadable)

    def names(self, folder: str, prefix: str = "", suffix: str = "") -> tuple[str, ...]:
        return chosen(self._list(folder), prefix, suffix)

    def among(self, folder: str, wanted: Iterable[str]) -> frozenset[str]:
        try:
            found = os.listdir(f"{self._top}{self._resolve(folder)}")
        except OSError as error:
            if error.errno not in ABSENT:
                self._unreadable.add(folder)
            return frozenset()
        return frozenset(found).intersection(wanted)

    def read(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        try:
            return self._content(f"{self._top}{self._resolve(folder)}/{name}", path)
        except OSError as error:
            if error.errno == errno.ELOOP:  # O_NOFOLLOW's way to say that it is a symlink
                return self._read_link(path)
            if error.errno not in ABSENT:
                self._unreadable.add(path)
            return None

    def text(self, path: str, keep: Keep | None = None) -> str | None:
        data = self.read(path)
        if data is None:
            return None
        return keep(decoded(data)) if keep else decoded(data)

    def texts(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        try:
            real = f"{self._top}{self._resolve(folder)}"
        except OSError:
            return found
        for name in names:
            try:
                if folder.startswith(SYSFS):
                    found[name] = decoded(_attribute(f"{real}/{name}"))
                    continue
            except OSError as error:
                if error.errno in ABSENT:
                    continue
            text = self.text(f"{folder}/{name}")
            if text is not None:
                found[name] = text
        return found

    def target(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        try:
            above = self._resolve(folder)
            known = self._known.get(path)
            if known is not None:
                return known if known != f"{above}/{name}" else None
            return self._resolve(_joined(above, os.readlink(f"{self._top}{above}/{name}")))
        except OSError:
            return None

    def leads_to(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        try:
            found = os.readlink(f"{self._top}{self._resolve(folder)}/{name}")
        except OSError:
            return None
        return found.rstrip("/").rpartition("/")[2]

    def open_below(self, prefix: str) -> dict[str, str]:
        found = {}
        for process in self._list("/proc"):
            if process.isdecimal():
                for number, path in self._open_files(f"/proc/{process}/fd"):
                    if path.startswith(prefix):
                        found[f"/proc/{process}/fd/{number}"] = path
        return found

    def output(self, program: str) -> str | None:  # noqa: ARG002  (a folder runs nothing)
        return None

    def _read_link(self, path: str) -> bytes | None:
        """The file that the symlink at `path` leads to."""
        try:
            return self._content(f"{self._top}{self._resolve(path)}", path)
        except OSError as error:
            if error.errno not in ABSENT:
                self._unreadable.add(path)
            return None

    def _content(self, real: str, path: str) -> bytes | None:
        if path.startswith(SYSFS):
            return _attribute(real)
        descriptor = os.open(real, FLAGS)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                return self._whole(descriptor, path)
            if not stat.S_ISDIR(found.st_mode):
                self._unreadable.add(path)
            return None
        finally:
            os.close(descriptor)

    def _whole(self, descriptor: int, path: str) -> bytes | None:
        parts, size = [], 0
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                self._unreadable.add(path)
                return None
        return b"".join(parts)

    def _list(self, folder: str) -> list[str]:
        try:
            found = os.listdir(f"{self._top}{self._resolve(folder)}" or "/")
        except OSError as error:
            if error.errno not in ABSENT:
                self._unreadable.add(folder)
            return []
        odd = [name for name in found if not name.isprintable()]
        if odd:
            self._unreadable.update(f"{folder}/{printable(os.fsencode(name))}" for name in odd)
            return [name for name in found if name.isprintable()]
        return found

    def _open_files(self, folder: str) -> Iterator[tuple[str, str]]:
        """What one process has open; nothing where it has ended meanwhile."""
        try:
            real = f"{self._top}{self._resolve(folder)}"
            numbers = os.listdir(real)
        except PermissionError:
            self._unreadable.add("/proc/PID/fd")
            return
        except OSError:
            return
        for number in numbers:
            with contextlib.suppress(OSError):
                yield number, os.readlink(f"{real}/{number}")

    def _resolve(self, path: str, links: int = 0) -> str:
        """`path` with every symlink in it followed, as far as it is there. Raises OSError."""
        known = self._known.get(path)
        if known is not None:
            return known
        if links > MOST_LINKS or path.count("/") > MOST_DEPTH:
            raise OSError(errno.ELOOP, "too many symlinks or folders", path)
        folder, _, name = path.rpartition("/")
        above = self._resolve(folder, links)
        resolved = f"{above}/{name}"
        try:
            found = os.readlink(f"{self._top}{resolved}")
        except OSError:
            pass
        else:
            resolved = self._resolve(_joined(above, found), links + 1)
        self._known[path] = resolved
        return resolved


def _attribute(real: str) -> bytes:
    """An attribute of sysfs, which comes whole or not at all (Documentation/filesystems/sysfs.rst).

    Half of the time would go into asking what it is and where it ends; one read of what is
    something else in a copy is bounded too. Raises OSError.
    """
    descriptor = os.open(real, FLAGS)
    try:
        return os.read(descriptor, PAGE)
    finally:
        os.close(descriptor)


def chosen(names: Iterable[str], prefix: str, suffix: str) -> tuple[str, ...]:
    """Those of `names` that begin and end so, sorted."""
    return tuple(
        sorted(name for name in names if name.startswith(prefix) and name.endswith(suffix))
    )


def _joined(folder: str, target: str) -> str:
    """Where a symlink in `folder` leads; `..` never leads above the root."""
    path = posixpath.normpath(posixpath.join(folder or "/", target))
    return "/" + path.lstrip("/") if path.strip("/") else ""
