"""A lab in split mode, of which single processes can be killed, with two hosts of four cards."""

from collections.abc import Iterator
from pathlib import Path

import lasting
import pytest
from claims_lab import ClaimsLab
from running_lab import RunningLab

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def split_lab(tmp_path_factory: pytest.TempPathFactory) -> ClaimsLab:
    """For every test on claims; each leaves it without servers."""
    running = RunningLab(tmp_path_factory.mktemp("claims") / "state")
    lasting.end_after(lasting.inside(HERE), lambda: running.run("lab", "reset"))
    running.run("lab", "up", "--mode", "split", "--hosts", str(HERE / "hosts.yaml"))
    running.run("farm", "apply", str(HERE / "claims_farm.yaml"))
    return ClaimsLab(running)


@pytest.fixture
def broken(split_lab: ClaimsLab) -> Iterator[ClaimsLab]:
    """The same, for one test that may leave servers, killed processes and faults behind."""
    yield split_lab
    split_lab.mend()
