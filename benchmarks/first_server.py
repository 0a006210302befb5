"""How long the first GPU server on a real host of the lab takes, from nothing running, by phase.

Each round runs the commands of docs/howto/real-hosts.md in a state folder of its own: `lab up`,
`farm apply`, `server create` until ACTIVE, and again until a second server's guest has listed its
functions. Images and saved states are built before. Prints what each command said and when, the
phases as a table, the lab's memory and, last, the name of a JSON file with all of it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_lab import Lab
from machine import machine

from gpufarm.lab.real import saved

REACH = {"first ACTIVE": 75.0, "second ACTIVE": 20.0}
REACH_MB = 3000.0
FLAVOR = {"vcpus": 1, "memory_mb": 192, "disk_gb": 1, "cards": {"t4": 1}}
FARM = {
    "version": 1,
    "name": "real",
    "release": "2026.2",
    "cards": {"t4": {"vendor_id": "10de", "product_id": "1eb8"}},
    "flavors": {"g1.gpu": FLAVOR},
}
NEW = ("--flavor", "g1.gpu", "--image", "gpu-console", "--network", "none")
TOLD = re.compile(r"serves|is up|is prepared|is in Glance|anew")


class Round:
    """Commands in one lab, and when each of them said what."""

    def __init__(self, lab: Lab) -> None:
        self.environment = lab.environment
        self.began = time.monotonic()
        self.marks: dict[str, float] = {}

    def run(self, name: str, *words: str) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "gpufarm", *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if TOLD.search(line):
                    self._mark(f"  {line.strip()}")
        assert running.returncode == 0, f"{name}: {running.returncode}"
        self._mark(name)

    def _mark(self, text: str) -> None:
        self.marks[text] = round(time.monotonic() - self.began, 1)
        print(f"{self.marks[text]:7.1f}  {text}", flush=True)


def one() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="first-") as name:
        lab, found = Lab(Path(name)), machine()
        farm = lab.write("farm", FARM)
        timed = Round(lab)
        try:
            timed.run("lab up", "lab", "up", "--real-hosts", "1", "--card", "t4", "--card", "t4")
            timed.run("farm apply", "farm", "apply", str(farm))
            timed.run("first ACTIVE", "server", "create", "g1", *NEW, "--until", "active")
            timed.run("second ACTIVE", "server", "create", "g2", *NEW, "--until", "active")
            timed.run(
                "its console", "server", "create", "g2", *NEW, "--or-show", "--until", "console"
            )
            rows = json.loads(lab.gpufarm("lab", "status", "-f", "json"))
            found["memory_mb"] = sum(row["memory_mb"] for row in rows)
        finally:
            lab.end()
        return {**found, "marks": timed.marks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    saved.get(lambda text: sys.stderr.write(f"{text}\n"))
    rounds = [one() for _ in range(given.rounds)]
    print(f"\n{'until':16} seconds, median")
    medians = {
        name: statistics.median(each["marks"][name] for each in rounds)
        for name in ("lab up", "farm apply", "first ACTIVE", "second ACTIVE", "its console")
    }
    for name, seconds in medians.items():
        print(f"{name:16} {seconds:.1f}")
    second = medians["second ACTIVE"] - medians["first ACTIVE"]
    memory = statistics.median(each["memory_mb"] for each in rounds)
    print(
        f"to reach: {REACH['first ACTIVE']:g} s for the first, here {medians['first ACTIVE']:.1f}"
    )
    print(f"to reach: {REACH['second ACTIVE']:g} s for a further one, here {second:.1f}")
    print(f"to reach: {REACH_MB:g} MB, here {memory:.0f} MB")
    path = Path(tempfile.gettempdir()) / f"first-server-{os.getpid()}.json"
    path.write_text(json.dumps(rounds, indent=1))
    print(path)


if __name__ == "__main__":
    main()
