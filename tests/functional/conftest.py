"""One lab for the whole run, in a state folder of its own, with the hosts of every example."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpufarm.lab import state

if TYPE_CHECKING:
    from openstack.connection import Connection

EXAMPLES = Path(__file__).parents[2] / "examples"
UP_TIMEOUT = 180


@dataclass
class RunningLab:
    """A lab, and the commands run against it."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)

    @cached_property
    def connection(self) -> "Connection":
        """As the lab's admin."""
        from gpufarm.cloud.connect import connect

        return connect(state.CLOUD, self.state / "clouds.yaml")

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
            "OS_CLOUD": state.CLOUD,
            "OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"),
            state.STATE_VARIABLE: str(self.state),
            **self.env,
        }

    def run(
        self, *args: str, check: bool = True, timeout: float = UP_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run `gpufarm ARGS` against this lab."""
        done = subprocess.run(
            [sys.executable, "-m", "gpufarm", *args],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"gpufarm {' '.join(args)}: exit {done.returncode}\n{done.stderr}")
        return done


def example_hosts() -> list[str]:
    """`--hosts PATH` for every example."""
    return [
        word for path in sorted(EXAMPLES.glob("*/hosts")) for word in ("--hosts", str(path))
    ]


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
