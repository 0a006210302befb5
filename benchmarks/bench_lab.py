"""A lab of a benchmark's own, and gpufarm's commands in it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


class Lab:
    """In a folder that its user removes; `end` before that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "lab"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name[:3] != "OS_"},
            "GPUFARM_LAB_STATE": str(self.state),
        }

    def gpufarm(self, *words: str) -> str:
        """What the command printed."""
        done = subprocess.run(
            [sys.executable, "-m", "gpufarm", "-q", *words],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def image(self) -> Path:
        """A disk of a megabyte."""
        path = self.folder / "image"
        path.write_bytes(bytes(1 << 20))
        return path

    def credentials(self) -> None:
        """From now on commands go to this lab."""
        for line in self.gpufarm("lab", "env").splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = shlex.split(value)[0]

    def end(self) -> None:
        if self.state.exists():
            self.gpufarm("lab", "reset")
