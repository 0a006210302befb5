"""The process that keeps a virtual host: it serves the cards and is QEMU's parent.

While the command that started it has not said `ready`, the end of that command ends the host: what
is killed half-way leaves nothing running. From then on the host runs until SIGTERM, or until QEMU
ends. QEMU in turn is killed by the kernel where this process dies.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import msgspec

from gpufarm.lab.state import PRIVATE
from gpufarm.lab.virthost import qemu, store
from gpufarm.lab.virthost.commands import WITH_CALLER
from gpufarm.lab.virthost.pci import Function
from gpufarm.lab.virthost.vfu import server
from gpufarm.lab.virthost.vfu.device import Log
from gpufarm.system import files
from gpufarm.system.processes import identify

PATIENCE = 5.0
"""Seconds for QEMU to end by itself."""

CARDS_LOG, QEMU_LOG, KEEPER_LOG = "cards.log", "qemu.log", "keeper.log"
READY = "ready\n"


class Start(msgspec.Struct, frozen=True):
    """What to run: QEMU's words and environment, and a function by the name of its socket."""

    command: tuple[str, ...]
    environment: dict[str, str]
    functions: dict[str, Function]


class Ended(Exception):
    """SIGTERM has come."""


def launch(folder: Path, start: Start) -> "subprocess.Popen[str]":
    """Start a keeper in that folder, in a session of its own.

    Closing its standard input before READY was written to it ends the host.
    """
    files.write(folder / "start.json", msgspec.json.encode(start), files.SECRET)
    with (folder / KEEPER_LOG).open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            text=True,
        )


def main() -> int:
    """Keep the host whose folder is the working directory; returns QEMU's exit status."""
    signal.signal(signal.SIGTERM, _on_term)
    folder = Path.cwd()
    start = msgspec.json.decode((folder / "start.json").read_bytes(), type=Start)
    sockets = Path(qemu.SOCKETS)
    sockets.mkdir(exist_ok=True, mode=PRIVATE)
    with (folder / CARDS_LOG).open("a", buffering=1) as log:
        for name, function in start.functions.items():
            server.serve(sockets / name, function, _logger(log, name))
        threading.Thread(target=_watch, args=(sys.stdin,), daemon=True).start()
        return _keep(folder, start)


def _keep(folder: Path, start: Start) -> int:
    running = None
    try:
        running = _qemu(start)
        keeper, child = identify(os.getpid()), identify(running.pid)
        if keeper and child:
            store.save_run(folder, store.Run(keeper, child))
        return running.wait()
    except Ended:
        return 0
    finally:
        if running is not None:
            _end(running)


def _logger(log: IO[str], name: str) -> Log:
    def write(text: str) -> None:
        log.write(f"{time.time():.3f} {name} {text}\n")

    return write


def _on_term(*_: object) -> None:
    raise Ended


def _watch(stream: IO[str]) -> None:
    if stream.readline() != READY:
        os.kill(os.getpid(), signal.SIGTERM)


def _qemu(start: Start) -> "subprocess.Popen[bytes]":
    with Path(QEMU_LOG).open("ab") as log:
        return subprocess.Popen(
            [*WITH_CALLER, *start.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **start.environment},
        )


def _end(running: "subprocess.Popen[bytes]") -> None:
    running.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(PATIENCE)
    running.kill()
    running.wait()


if __name__ == "__main__":
    sys.exit(main())
