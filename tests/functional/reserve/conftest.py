"""A lab of its own for the tests of the reserve: two mixed hypervisors, two schedulers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from reserve_lab import ReserveLab
from running_lab import RunningLab

MIXED = Path(__file__).with_name("mixed.yaml")


@pytest.fixture(scope="package")
def mixed_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReserveLab]:
    running = RunningLab(tmp_path_factory.mktemp("reserve") / "state")
    running.run("lab", "up", "--mode", "split", "--schedulers", "2", "--hosts", str(MIXED))
    yield ReserveLab(running)
    running.run("lab", "reset")


@pytest.fixture
def mixed(mixed_lab: ReserveLab) -> Iterator[ReserveLab]:
    """The same without a server."""
    yield mixed_lab
    mixed_lab.clear()
