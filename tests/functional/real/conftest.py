"""One lab with a real host for all tests here, and the farm that they use."""

import sys
from collections.abc import Iterator
from pathlib import Path

import lasting
import pytest
from real_lab import RealLab, start
from running_lab import RunningLab

from gpufarm.lab.real import saved

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RealLab:
    """A lab with one real host, `real-1`, and the farm applied: leave it as you found it."""
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():
        saved.get(lambda text: sys.stderr.write(f"{text}\n"))
    running = RunningLab(tmp_path_factory.mktemp("real") / "state")
    lasting.end_after(lasting.inside(HERE), lambda: running.run("lab", "reset"))
    start(running)
    return RealLab(running)


@pytest.fixture
def mended(real: RealLab) -> Iterator[RealLab]:
    """The same, brought back to what it was by itself where a test leaves it otherwise."""
    yield real
    real.mend()
