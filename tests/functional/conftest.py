"""One lab for the whole run, in a state folder of its own, with the hosts of every example."""

from collections.abc import Iterator
from pathlib import Path

import lasting
import pytest
from preparing import quick  # noqa: F401  (a fixture)
from running_lab import RunningLab
from virtual_hosts import virtual_host, virtual_hosts  # noqa: F401  (fixtures)

EXAMPLES = Path(__file__).parents[2] / "examples"


def example_hosts() -> list[str]:
    """`--hosts PATH` for every example."""
    return [word for path in sorted(EXAMPLES.glob("*/hosts")) for word in ("--hosts", str(path))]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    lasting.end_before(nextitem)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The lab that all functional tests share: leave it as you found it."""
    running = RunningLab(tmp_path_factory.mktemp("lab") / "state")
    running.run("lab", "up", *example_hosts())
    yield running
    running.run("lab", "reset")


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab for one test, not started yet; ended and removed afterwards."""
    running = RunningLab(tmp_path / "own")
    yield running
    if running.state.exists():
        running.run("lab", "reset")
