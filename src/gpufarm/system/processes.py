"""Processes, known by pid and start time: a pid alone may have been given to another since."""

import os
import signal
import time
from collections.abc import Iterable

import msgspec
import psutil


class ProcessId(msgspec.Struct, frozen=True):
    """`started` is in seconds since the epoch, as psutil gives it for this pid."""

    pid: int
    started: float


def identify(pid: int) -> ProcessId | None:
    """The process that has `pid` now; None where it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessId(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def alive(process: ProcessId) -> bool:
    """Whether that very process still runs."""
    now = identify(process.pid)
    # create_time() is derived from the boot time, which a clock step moves a little.
    return now is not None and abs(now.started - process.started) < 1.0


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Signal that very process; False where it is gone."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def end(found: Iterable[ProcessId], patience: float = 10.0) -> None:
    """SIGTERM, then SIGKILL after `patience` seconds; returns when all are gone."""
    left = [process for process in found if send(process, signal.SIGTERM)]
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if alive(process)]
    for process in left:
        send(process, signal.SIGKILL)
    while any(alive(process) for process in left):
        time.sleep(0.02)


def wait(found: Iterable[ProcessId], seconds: float) -> bool:
    """Whether all of them end by themselves within that time."""
    deadline = time.monotonic() + seconds
    left = list(found)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if alive(process)]
    return not left


def descendants(process: ProcessId) -> list[ProcessId]:
    """Children, their children and so on, of a process that may be gone already."""
    if not alive(process):
        return []
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [ProcessId(child.pid, child.create_time()) for child in children]
    except psutil.NoSuchProcess:
        return []


def memory_mb(process: ProcessId) -> float:
    """Proportional set size: pages that several processes share count in equal parts."""
    try:
        return float(psutil.Process(process.pid).memory_full_info().pss) / (1024 * 1024)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
