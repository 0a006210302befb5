"""A process is known by pid and start time, and only that very process is ever signalled."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gpufarm.system import processes
from gpufarm.system.processes import ProcessId


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def test_a_living_process_is_known(sleeper: subprocess.Popen[bytes]) -> None:
    found = processes.identify(sleeper.pid)
    assert found is not None
    assert processes.alive(found)
    assert processes.memory_mb(found) > 0


def test_another_process_with_the_same_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """What a stale file says of a pid that was given to another since."""
    stale = ProcessId(sleeper.pid, time.time() - 3600)
    assert not processes.alive(stale)
    assert not processes.send(stale, signal.SIGKILL)
    processes.end([stale])
    assert sleeper.poll() is None


def test_end_insists(tmp_path: object) -> None:
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-uc", ignoring], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = processes.identify(child.pid)
        assert found is not None
        processes.end([found], patience=0.2)
        assert child.wait(5) == -signal.SIGKILL


def test_a_zombie_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    found = processes.identify(sleeper.pid)
    assert found is not None
    sleeper.kill()
    deadline = time.monotonic() + 5
    while processes.alive(found) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes.alive(found)
    assert processes.memory_mb(found) == 0.0
    assert processes.descendants(found) == []
