"""A ledger: what a command is about to do, written down before it does it.

What is decided here: a file of its own for each run, with rights 0600, one JSON object a line. A
line is on the disk before `write` returns, so that whatever was done stands in it, also after a
kill.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gpufarm.system.files import SECRET


class Ledger:
    """Makes its file at the first line."""

    def __init__(self, folder: Path, name: str) -> None:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.path = folder / f"{name}-{moment}.jsonl"

    def write(self, **entry: Any) -> None:
        """Raises OSError: then nothing may be done either."""
        line = msgspec.json.encode({"at": datetime.now(UTC).isoformat(), **entry}) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, SECRET)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> list[dict[str, Any]]:
    """Its whole lines, oldest first. Raises OSError, msgspec.DecodeError."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]
