"""A lab that runs, as the tests see it."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpufarm.lab import state

if TYPE_CHECKING:
    from openstack.connection import Connection

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
