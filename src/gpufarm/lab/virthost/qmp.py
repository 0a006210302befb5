"""QEMU's monitor: one command at a time, each with a time limit (docs/interop/qmp-spec.rst)."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from gpufarm.model.errors import CommandFailed

TIMEOUT = 60.0
"""A busy machine may keep QEMU's main loop from answering for seconds."""


class Qmp:
    """A connection to the monitor; QEMU serves one at a time."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        """OSError where nobody listens at `path`."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        # By way of a descriptor, since the path of a UNIX socket has 107 bytes at most.
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._socket.connect(f"/proc/self/fd/{parent}/{path.name}")
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(parent)
        self._stream = self._socket.makefile("rw")
        self._next()
        self.execute("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        # It may want to send what a QEMU that is gone does not take.
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """What the command returns; CommandFailed with QEMU's words where it refuses."""
        request = {"execute": command, "arguments": arguments or {}}
        try:
            self._stream.write(json.dumps(request) + "\n")
            self._stream.flush()
            while True:
                answer = self._next()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise CommandFailed("qemu", command, (str(answer["error"].get("desc")),))
        except OSError as error:
            raise CommandFailed("qemu", f"{command}: {error or 'no answer'}", ()) from error

    def human(self, line: str) -> str:
        """What a command of the human monitor prints: some things have no other."""
        return str(self.execute("human-monitor-command", {"command-line": line}))

    def wait_for_migration(self, limit: float) -> None:
        """Return once a state is saved or loaded; CommandFailed where it cannot be."""
        deadline = time.monotonic() + limit
        while (found := self.execute("query-migrate")).get("status") != "completed":
            if found.get("status") == "failed":
                raise CommandFailed("qemu", "saved state", (str(found.get("error-desc")),))
            if time.monotonic() > deadline:
                raise CommandFailed("qemu", f"saved state: not within {limit:.0f} s", ())
            time.sleep(0.05)

    def _next(self) -> dict[str, Any]:
        """The next message that is no event."""
        while True:
            line = self._stream.readline()
            if not line:
                raise ConnectionResetError("QEMU has ended")
            message: dict[str, Any] = json.loads(line)
            if "event" not in message:
                return message


def connect(path: Path, limit: float, check: Callable[[], None]) -> Qmp:
    """The monitor at `path`, as soon as it is there; `check` raises where it will never be."""
    deadline = time.monotonic() + limit
    while True:
        check()
        try:
            return Qmp(path)
        except (OSError, CommandFailed) as error:
            if time.monotonic() > deadline:
                problem = f"no monitor within {limit:.0f} s"
                raise CommandFailed("qemu", problem, ()) from error
            time.sleep(0.02)
