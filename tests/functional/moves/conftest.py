"""A lab in split mode with three hosts of three cards."""

from collections.abc import Iterator
from pathlib import Path

import lasting
import pytest
from claims_lab import ClaimsLab
from running_lab import RunningLab

HERE = Path(__file__).parent
HOSTS = ("moves-1", "moves-2", "moves-3")


@pytest.fixture(scope="session")
def moving_lab(tmp_path_factory: pytest.TempPathFactory) -> ClaimsLab:
    """For every test on moves; each leaves it without servers."""
    home = tmp_path_factory.mktemp("moves")
    running = RunningLab(home / "state", {"XDG_STATE_HOME": str(home / "home")})
    lasting.end_after(lasting.inside(HERE), lambda: running.run("lab", "reset"))
    running.run("lab", "up", "--mode", "split", "--hosts", str(HERE / "hosts.yaml"))
    running.run("farm", "apply", str(HERE / "moves_farm.yaml"))
    return ClaimsLab(running, HOSTS)


@pytest.fixture
def moving(moving_lab: ClaimsLab) -> Iterator[ClaimsLab]:
    """The same, for one test that may leave servers, killed processes and faults behind."""
    yield moving_lab
    moving_lab.mend()
