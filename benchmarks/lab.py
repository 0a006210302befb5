"""How long the embedded OpenStack takes to start, stage by stage, and its memory.

Each round runs the real command, in a state folder of its own, and reads the time at which each
service says that it serves. `first` starts with no template of the databases, the others with one.
Prints a table to look at and, last, the name of a JSON file with the same numbers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from machine import machine

HOST = {
    "version": 1,
    "name": "bench",
    "vcpus": 64,
    "memory_mb": 524288,
    "disk_gb": 4000,
    "numa_nodes": 2,
    "pci_functions": [
        {
            "address": f"0000:{bus:02x}:00.0",
            "vendor_id": "10de",
            "product_id": "2330",
            "class_id": "030200",
            "iommu_group": bus,
            "numa_node": int(bus > 0x80),
            "sriov": "pf",
        }
        for bus in (0x18, 0x3B, 0x86, 0xAF)
    ],
}
REACH = {"first": 30.0, "warm": 8.0, "again": 8.0, "hosts-24": 20.0}
REACH_MB = 600.0


def up(state: Path, hosts: Path, mode: str, environment: dict[str, str]) -> dict[str, Any]:
    """Seconds until each service serves and until the command ends, and the lab's memory."""
    started = time.monotonic()
    stages: dict[str, float] = {}
    command = [sys.executable, "-m", "gpufarm", "lab", "up", "--state", str(state)]
    with subprocess.Popen(
        [*command, "--mode", mode, "--hosts", str(hosts)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.strip().endswith(" serves"):
                stages[line.split()[0]] = round(time.monotonic() - started, 2)
            else:
                print(f"  {line.strip()}", file=sys.stderr)
    if running.returncode != 0:
        sys.exit(f"lab up: exit {running.returncode}")
    seconds = round(time.monotonic() - started, 2)
    rows = json.loads(run("lab", "status", "--state", str(state), "-f", "json", env=environment))
    return {
        "seconds": seconds,
        "memory_mb": round(sum(row["memory_mb"] for row in rows)),
        "stages": stages,
    }


def run(*arguments: str, env: dict[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-m", "gpufarm", *arguments],
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout


def rounds(folder: Path, repeat: int, *, split: bool) -> dict[str, list[dict[str, Any]]]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    hosts: dict[int, Path] = {}
    for count in (3, 24):
        hosts[count] = folder / f"hosts-{count}.yaml"
        hosts[count].write_text(yaml.safe_dump({**HOST, "count": count}))
    plan = [("first", 3, "single", 1), ("warm", 3, "single", repeat)]
    plan += [("again", 3, "single", repeat), ("hosts-24", 24, "single", repeat)]
    plan += [("split", 3, "split", 1)] if split else []
    results: dict[str, list[dict[str, Any]]] = {}
    for name, count, mode, times in plan:
        for number in range(times):
            # `again` starts the lab that `warm` has left.
            state = folder / (f"warm-{number}" if name == "again" else f"{name}-{number}")
            results.setdefault(name, []).append(up(state, hosts[count], mode, environment))
            run("lab", "down", "--state", str(state), env=environment)
    return results


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{'round':<10}{'runs':>5}{'median s':>10}{'worst s':>9}{'reach s':>9}{'MB':>7}")
    for name, runs in found.items():
        seconds = [one["seconds"] for one in runs]
        reach = REACH.get(name, "")
        memory = max(one["memory_mb"] for one in runs)
        print(
            f"{name:<10}{len(runs):>5}{statistics.median(seconds):>10.2f}{max(seconds):>9.2f}"
            f"{reach:>9}{memory:>7}"
        )
    print(f"(memory: proportional set size of all processes; reach {REACH_MB:.0f} MB)\n")
    print("stages of the last warm start, seconds until the service serves:")
    for service, seconds in found["warm"][-1]["stages"].items():
        print(f"  {seconds:>6.2f}  {service}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each round (3)")
    parser.add_argument("--split", action="store_true", help="also split mode (needs RabbitMQ)")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parsed = parser.parse_args()
    on = machine()
    print(", ".join(f"{key}: {value}" for key, value in on.items()))
    with tempfile.TemporaryDirectory(prefix="gpufarm-bench-") as folder:
        found = rounds(Path(folder), parsed.repeat, split=parsed.split)
    show(found)
    output = parsed.output or Path(tempfile.gettempdir()) / "gpufarm-bench-lab.json"
    output.write_text(json.dumps({"machine": on, "rounds": found}, indent=1))
    print(output)


if __name__ == "__main__":
    main()
