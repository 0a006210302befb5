"""A lab of its own for the tests of the reserve: two mixed hypervisors, two schedulers."""

from collections.abc import Iterator
from pathlib import Path

import lasting
import pytest
from reserve_lab import ReserveLab
from running_lab import RunningLab

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def mixed_lab(tmp_path_factory: pytest.TempPathFactory) -> ReserveLab:
    running = RunningLab(tmp_path_factory.mktemp("reserve") / "state")
    lasting.end_after(lasting.inside(HERE), lambda: running.run("lab", "reset"))
    running.run(
        "lab", "up", "--mode", "split", "--schedulers", "2", "--hosts", str(HERE / "mixed.yaml")
    )
    return ReserveLab(running)


@pytest.fixture
def mixed(mixed_lab: ReserveLab) -> Iterator[ReserveLab]:
    """The same without a server."""
    yield mixed_lab
    mixed_lab.clear()
