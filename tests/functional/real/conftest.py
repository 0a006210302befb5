"""One lab with a real host for all tests here, and the farm that they use."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_lab import RunningLab

from gpufarm.lab.real import saved

CARDS = ("gtx1080", "h100")
FARM = Path(__file__).with_name("farm.yaml")
LONGEST = 1200
"""Seconds. A minute and a half on two idle cores, once everything is built."""


@pytest.fixture(scope="session")
def real_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    """A lab with one real host, `real-1`, and the farm applied: leave it as you found it."""
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():
        saved.get(lambda text: sys.stderr.write(f"{text}\n"))
    running = RunningLab(tmp_path_factory.mktemp("real") / "state")
    cards = [word for card in CARDS for word in ("--card", card)]
    running.run("lab", "up", "--real-hosts", "1", *cards, timeout=LONGEST)
    running.run("farm", "apply", str(FARM), timeout=LONGEST)
    yield running
    running.run("lab", "reset")
