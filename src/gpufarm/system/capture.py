"""A machine's files in one file: a bug report, a test's fixture, and what `--root` accepts.

What is decided here: the format (docs/reference/capture.md), and that a capture is a root that
says the same as the machine did. The same facts make the same bytes. What looks like a secret is
blotted out before anything is written.
"""

import gzip
import posixpath
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from gpufarm.model.errors import CaptureInvalid
from gpufarm.system import secrets
from gpufarm.system.root import Folder, Keep, Root, chosen

MOST_BYTES = 64 * 1024 * 1024
"""Unpacked; the largest machine so far makes less than one megabyte."""
GZIP = b"\x1f\x8b"
GZIP_WINDOW = 31
"""zlib's number for `gzip, largest window` (zlib.decompressobj)."""


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths are absolute. A path may be a link and have files below it, as in sysfs."""

    format: Literal["gpufarm-capture"] = "gpufarm-capture"
    version: Literal[1] = 1
    files: dict[str, str] = {}
    binary: dict[str, bytes] = {}
    links: dict[str, str] = {}
    present: list[str] = []
    """What is there and was not read: devices, files of which only that they are there matters."""
    unreadable: list[str] = []
    outputs: dict[str, str] = {}
    blotted: list[str] = []
    """Files with a secret that was taken out: never to be written back."""


def encode(capture: Capture, *, readable: bool = False) -> bytes:
    """The bytes of a capture file: compressed, or `readable` to people and to diff."""
    data = msgspec.json.encode(blot(capture), order="sorted")
    if readable:
        return msgspec.json.format(data, indent=1) + b"\n"
    return gzip.compress(data, 9, mtime=0)


def blot(capture: Capture) -> Capture:
    """`capture` without secrets, and with a list of the files that had one."""
    cleaned = {path: secrets.blot(path, text) for path, text in capture.files.items()}
    found = {path for path, text in cleaned.items() if text != capture.files[path]}
    return msgspec.structs.replace(
        capture, files=cleaned, blotted=sorted(found.union(capture.blotted))
    )


def decode(data: bytes, file: str) -> Capture:
    """The capture in `data`; raises CaptureInvalid with what is wrong with `file`."""
    try:
        unpacked = _unpack(data) if data.startswith(GZIP) else data
        capture = msgspec.json.decode(unpacked, type=Capture)
    except zlib.error as error:
        raise CaptureInvalid(file, f"damaged: {error}") from error
    except msgspec.ValidationError as error:
        raise CaptureInvalid(file, f"not a capture of version 1: {error}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise CaptureInvalid(
            file, f"neither a folder nor a capture (`gpufarm host capture` writes one): {error}"
        ) from error
    for part in (capture.files, capture.binary, capture.links, capture.present, capture.unreadable):
        for path in part:
            if not path.startswith("/") or not path.isprintable():
                raise CaptureInvalid(file, f"{path!r} is no absolute path")
    return capture


def _unpack(data: bytes) -> bytes:
    unpacking = zlib.decompressobj(GZIP_WINDOW)
    unpacked = unpacking.decompress(data, MOST_BYTES)
    if unpacking.unconsumed_tail:
        raise ValueError(f"unpacks to more than {MOST_BYTES} bytes")
    if not unpacking.eof:
        raise zlib.error("it ends early")
    return unpacked


class Captured:
    """A capture as a root."""

    def __init__(self, capture: Capture, name: str) -> None:
        self._capture = capture
        self._name = name
        self._folders: dict[str, set[str]] = {}
        for part in (capture.files, capture.binary, capture.links, capture.present):
            for path in part:
                self._add(path)

    @property
    def name(self) -> str:
        return self._name

    @property
    def unreadable(self) -> frozenset[str]:
        return frozenset(self._capture.unreadable)

    def names(self, folder: str, prefix: str = "", suffix: str = "") -> tuple[str, ...]:
        return chosen(self._folders.get(folder, ()), prefix, suffix)

    def among(self, folder: str, wanted: Iterable[str]) -> frozenset[str]:
        return frozenset(self._folders.get(folder, ())).intersection(wanted)

    def read(self, path: str) -> bytes | None:
        found = self._capture.binary.get(path)
        if found is None and path in self._capture.files:
            return self._capture.files[path].encode()
        return found

    def text(self, path: str, keep: Keep | None = None) -> str | None:
        found = self._capture.files.get(path)
        return keep(found) if keep and found is not None else found

    def texts(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        files = self._capture.files
        paths = ((name, f"{folder}/{name}") for name in names)
        return {name: files[path] for name, path in paths if path in files}

    def target(self, path: str) -> str | None:
        return self._capture.links.get(path)

    def leads_to(self, path: str) -> str | None:
        found = self._capture.links.get(path)
        return found.rpartition("/")[2] if found is not None else None

    def open_below(self, prefix: str) -> dict[str, str]:
        return {
            path: target
            for path, target in self._capture.links.items()
            if path.startswith("/proc/") and target.startswith(prefix)
        }

    def output(self, program: str) -> str | None:
        return self._capture.outputs.get(program)

    def _add(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = set()
            if folder:
                self._add(folder)
        known.add(name)


class Recorder:
    """A root that remembers what it was asked, which is then a capture of what was asked of it."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._files: dict[str, str] = {}
        self._binary: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._present: set[str] = set()
        self._outputs: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self._root.name

    @property
    def unreadable(self) -> frozenset[str]:
        return self._root.unreadable

    def names(self, folder: str, prefix: str = "", suffix: str = "") -> tuple[str, ...]:
        return self._seen(folder, self._root.names(folder, prefix, suffix))

    def among(self, folder: str, wanted: Iterable[str]) -> frozenset[str]:
        return frozenset(self._seen(folder, tuple(self._root.among(folder, wanted))))

    def read(self, path: str) -> bytes | None:
        found = self._root.read(path)
        if found is not None:
            self._binary[path] = found
        return found

    def text(self, path: str, keep: Keep | None = None) -> str | None:
        found = self._root.text(path, keep)
        if found is not None:
            self._files[path] = found
        return found

    def texts(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        found = self._root.texts(folder, names)
        self._files |= {f"{folder}/{name}": text for name, text in found.items()}
        return found

    def target(self, path: str) -> str | None:
        found = self._root.target(path)
        if found is not None:
            self._links[path] = found
        return found

    def leads_to(self, path: str) -> str | None:
        self.target(path)  # a capture has links whole
        return self._root.leads_to(path)

    def open_below(self, prefix: str) -> dict[str, str]:
        found = self._root.open_below(prefix)
        self._links |= found
        return found

    def output(self, program: str) -> str | None:
        found = self._root.output(program)
        if found is not None:
            self._outputs[program] = found
        return found

    def capture(self) -> Capture:
        """Everything asked so far."""
        read = self._files.keys() | self._binary.keys() | self._links.keys()
        inner = {folder for path in read | self._present for folder in _above(path)}
        return Capture(
            files=self._files,
            binary=self._binary,
            links=self._links,
            present=sorted(self._present - read - inner),
            unreadable=sorted(self._root.unreadable),
            outputs=self._outputs,
        )

    def _seen(self, folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
        self._present.update(f"{folder}/{name}" for name in names)
        return names


def _above(path: str) -> set[str]:
    found = set()
    while path := posixpath.dirname(path).rstrip("/"):
        found.add(path)
    return found


def open_root(path: Path) -> Root:
    """The folder or the capture at `path` as a root. Raises CaptureInvalid."""
    try:
        if path.is_dir():
            return Folder(path)
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise CaptureInvalid(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise CaptureInvalid(str(path), f"larger than {MOST_BYTES} bytes")
    return Captured(decode(data, str(path)), str(path))
