"""What collect.sh prints, taken strictly: a remote host may print anything.

What is decided here: a line that is not as collect.sh prints it makes all of the stream invalid,
and so does a missing end; nothing is guessed.
"""

import binascii
import posixpath
from importlib.resources import files

import msgspec

from gpufarm.model.errors import CaptureInvalid
from gpufarm.model.printable import decoded, printable
from gpufarm.system.capture import Capture

FIRST = b"gpufarm-collect 1"
LAST = b"end"
MOST_BEFORE = 1000
"""Lines that a login shell may print before the script runs."""


def script() -> bytes:
    """The text of collect.sh."""
    return (files("gpufarm.system") / "collect.sh").read_bytes()


class _Parts(msgspec.Struct):
    files: dict[str, list[str]] = {}
    binary: dict[str, list[str]] = {}
    links: dict[str, str] = {}
    present: set[str] = set()
    unreadable: set[str] = set()
    outputs: dict[str, str] = {}


def parse(stream: bytes, origin: str) -> Capture:
    """The capture in what collect.sh printed; raises CaptureInvalid."""
    lines = stream.split(b"\n")
    if FIRST not in lines[:MOST_BEFORE]:
        raise CaptureInvalid(origin, "no POSIX shell ran there, or it could not read /")
    begin = lines.index(FIRST) + 1
    if lines[-2:] != [LAST, b""]:
        raise CaptureInvalid(origin, "what it sent ends early: the connection broke, try again")
    parts = _Parts()
    kind, path = "", ""
    for number, line in enumerate(lines[begin:-2], begin + 1):
        first, rest = line[:1].decode("ascii", "replace"), line[1:]
        if line.startswith(VERSION):
            program, _, said = printable(rest[1:]).partition(" ")
            parts.outputs[program] = said
        elif first in _HEADS and rest.startswith(b" "):
            kind, path = first, _path(rest[1:], kind=first, parts=parts)
        elif not _below(parts, kind, path, first, rest):
            shown = printable(line[:60])
            raise CaptureInvalid(origin, f"line {number} of what it sent is odd: {shown!r}")
    return _capture(parts, origin)


_HEADS = frozenset("FBLPU")
VERSION = b"V "


def _path(raw: bytes, kind: str, parts: _Parts) -> str:
    """The path of a head; an odd one stands for something unreadable, and is left empty."""
    path = printable(raw)
    if path.encode() != raw or not path.startswith("/"):
        parts.unreadable.add(path)
        return ""
    if kind == "F":
        parts.files[path] = []
    elif kind == "B":
        parts.binary[path] = []
    elif kind == "P":
        parts.present.add(path)
    elif kind == "U":
        parts.unreadable.add(path)
    return path


def _below(parts: _Parts, kind: str, path: str, first: str, rest: bytes) -> bool:
    """Take a line below a head; False where none like it belongs there."""
    if kind == "F" and first in "=-" and first:
        if path:
            parts.files[path].append(decoded(rest) + ("\n" if first == "=" else ""))
    elif kind == "B" and first == "=":
        if path:
            parts.binary[path].append(decoded(rest))
    elif kind == "L" and first in ">~" and first:
        if path:
            parts.links[path] = _target(path, printable(rest), resolved=first == ">")
    else:
        return False
    return True


def _target(path: str, text: str, *, resolved: bool) -> str:
    """Where a link leads; one that leads nowhere is taken from where it lies."""
    if resolved:
        return text or "/"
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    return "/" + joined.lstrip("/")


def _capture(parts: _Parts, origin: str) -> Capture:
    try:
        binary = {
            path: binascii.unhexlify("".join(lines).replace(" ", ""))
            for path, lines in parts.binary.items()
        }
    except ValueError as error:
        raise CaptureInvalid(origin, f"what it sent of a binary file is no hex: {error}") from error
    words = {path: lines for path, lines in parts.files.items() if _is_words(path)}
    texts = {path: "".join(lines) for path, lines in parts.files.items()}
    for path, lines in words.items():
        texts[path] = "\0".join(line.removesuffix("\n") for line in lines)
    return Capture(
        files=texts,
        binary=binary,
        links=parts.links,
        present=sorted(parts.present),
        unreadable=sorted(parts.unreadable),
        outputs=parts.outputs,
    )


def _is_words(path: str) -> bool:
    """The command line of a process, whose words the kernel ends with NUL."""
    return path.startswith("/proc/") and path.endswith("/cmdline") and path != "/proc/cmdline"
