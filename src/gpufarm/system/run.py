"""The only caller of other programs.

What is decided here: a program gets a list of words, never a shell; it has a time limit, after
which it and everything it started are killed; its output is bounded; and it speaks English, since
some of what it says is read.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

from gpufarm.model.errors import ProgramError, ProgramMissing, ProgramTimedOut

MOST_OUTPUT = 64 * 1024 * 1024
CHUNK = 1 << 16
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Added to the user's own: what administers a host is often outside of it."""


class Done(msgspec.Struct, frozen=True):
    """A program that has ended; `status` is negative where a signal ended it (subprocess)."""

    status: int
    stdout: bytes
    stderr: bytes


def run(
    words: Sequence[str],
    *,
    timeout: float,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run the program `words[0]` to its end, whatever its status.

    Raises ProgramMissing, ProgramTimedOut, and ProgramError where it cannot be started or writes
    more than MOST_OUTPUT bytes.
    """
    started = _start(words, environment or {})
    with started:
        try:
            return _Talk(started, words[0], stdin, timeout).done()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            raise


def _start(words: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    variables = {**os.environ, "LC_ALL": "C", **environment}
    variables["PATH"] = f"{variables.get('PATH', '')}:{PATH}".lstrip(":")
    try:
        return subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            start_new_session=True,  # so that what it starts can be killed with it
        )
    except FileNotFoundError as error:
        raise ProgramMissing(words[0]) from error
    except (OSError, ValueError) as error:
        raise ProgramError(words[0], f"cannot be started: {error}") from error


class _Talk:
    """Feeding a program and listening to it at once, so that neither waits for the other."""

    def __init__(
        self, started: "subprocess.Popen[bytes]", program: str, stdin: bytes, timeout: float
    ) -> None:
        self._started = started
        self._program = program
        self._left = stdin
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._heard: dict[int, list[bytes]] = {}
        self._size = 0

    def done(self) -> Done:
        with selectors.DefaultSelector() as waiting:
            for stream in (self._started.stdout, self._started.stderr):
                number = _descriptor(stream)
                self._heard[number] = []
                waiting.register(number, selectors.EVENT_READ)
            os.set_blocking(_descriptor(self._started.stdin), False)
            waiting.register(_descriptor(self._started.stdin), selectors.EVENT_WRITE)
            while waiting.get_map():
                for key, _ in waiting.select(self._patience()):
                    if not (self._listen(key.fd) if key.fd in self._heard else self._feed(key.fd)):
                        waiting.unregister(key.fd)
        try:
            status = self._started.wait(self._patience())
        except subprocess.TimeoutExpired as error:
            raise ProgramTimedOut(self._program, self._timeout) from error
        return Done(status, *(b"".join(parts) for parts in self._heard.values()))

    def _patience(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ProgramTimedOut(self._program, self._timeout)
        return left

    def _listen(self, number: int) -> bool:
        """Whether there may be more."""
        part = os.read(number, CHUNK)
        self._heard[number].append(part)
        self._size += len(part)
        if self._size > MOST_OUTPUT:
            raise ProgramError(self._program, f"wrote more than {MOST_OUTPUT} bytes")
        return bool(part)

    def _feed(self, number: int) -> bool:
        """Whether there is more to write. A program may end without reading all of it."""
        try:
            self._left = self._left[os.write(number, self._left[:CHUNK]) :]
        except BrokenPipeError:
            self._left = b""
        if not self._left and self._started.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._started.stdin.close()
        return bool(self._left)


def _descriptor(stream: IO[bytes] | None) -> int:
    assert stream is not None  # noqa: S101  (all three are pipes)
    return stream.fileno()
