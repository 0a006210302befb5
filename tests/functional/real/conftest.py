"""One lab with a real host for all tests here, and the farm that they use."""

import sys
from collections.abc import Iterator

import pytest
from real_lab import RealLab, start
from running_lab import RunningLab

from gpufarm.lab.real import saved


@pytest.fixture(scope="session")
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealLab]:
    """A lab with one real host, `real-1`, and the farm applied: leave it as you found it."""
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():
        saved.get(lambda text: sys.stderr.write(f"{text}\n"))
    running = RunningLab(tmp_path_factory.mktemp("real") / "state")
    start(running)
    yield RealLab(running)
    running.run("lab", "reset")


@pytest.fixture
def mended(real: RealLab) -> Iterator[RealLab]:
    """The same, brought back to what it was by itself where a test leaves it otherwise."""
    yield real
    real.mend()
