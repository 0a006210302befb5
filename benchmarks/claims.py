"""How capacity and claims are read in a cloud of thousands of cards.

The cloud is real Nova and Placement databases in a lab of one host: 100 hosts, then 1,000, of eight
cards with six servers on each, as rows (cloud_rows). Each round is the real command, a process of
its own. `capacity` and `claims check` read Placement's database; `one by one` is `capacity` with a
call for each provider of the same cloud. Prints a table and, last, the name of a JSON file with the
same numbers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_lab import Lab
from cloud_rows import Cloud
from machine import machine

HOST = "bench-real"
CARDS = 8
SERVERS = 6
SIZES = (100, 1000)
REACH = {"capacity": 15.0, "claims check": 60.0}
REACH_MB = 500
CARDS_A_REQUEST = 20
BUSES = ("18", "3b", "4c", "5d", "9b", "ab", "bb", "cb")

COUNTED = """
import json, resource, sys, time
import requests.adapters
sent = 0
send = requests.adapters.HTTPAdapter.send
def counted(*given, **named):
    global sent
    sent += 1
    return send(*given, **named)
requests.adapters.HTTPAdapter.send = counted
from gpufarm.cli.shell import main
began = time.monotonic()
status = main(sys.argv[2:])
with open(sys.argv[1], "w") as stream:
    json.dump({
        "seconds": round(time.monotonic() - began, 2),
        "requests": sent,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "status": status,
    }, stream)
"""
"""Runs a command and writes down what it took."""


class Bench(Lab):
    def start(self) -> None:
        """A lab of one host, which has one server with a card."""
        functions = [
            {
                "address": f"0000:{bus}:00.0",
                "vendor_id": "10de",
                "product_id": "2330",
                "class_id": "030200",
                "iommu_group": number,
                "numa_node": number // 4,
                "sriov": "pf",
            }
            for number, bus in enumerate(BUSES)
        ]
        host = {
            "version": 1,
            "name": HOST,
            "vcpus": 256,
            "memory_mb": 2097152,
            "disk_gb": 16000,
            "numa_nodes": 2,
            "pci_functions": functions,
        }
        card = {"vendor_id": "10de", "product_id": "2330", "device_type": "type-PF"}
        flavor = {"vcpus": 16, "memory_mb": 131072, "disk_gb": 100, "cards": {"h100": 1}}
        farm = {
            "version": 1,
            "name": "bench",
            "release": 34,
            "cards": {"h100": {**card, "hosts": [HOST]}},
            "flavors": {"bench.h100": flavor},
            "images": {"bench": {"file": str(self.image())}},
        }
        self.gpufarm("lab", "up", "--hosts", str(self.write("host", host)))
        self.gpufarm("farm", "apply", str(self.write("farm", farm)))
        self.gpufarm("server", "create", "--flavor", "bench.h100", "--image", "bench", "bench")
        self.credentials()
        url = self.folder / "placement.url"
        url.touch(0o600)
        url.write_text(f"sqlite:///{self.state / 'db' / 'placement.sqlite'}?timeout=60\n")

    def measure(self, *words: str) -> dict[str, Any]:
        result = self.folder / "result.json"
        with (self.folder / "output.json").open("w") as output:
            subprocess.run(
                [sys.executable, "-c", COUNTED, str(result), "-q", *words, "-f", "json"],
                env=self.environment,
                check=True,
                stdout=output,
            )
        found: dict[str, Any] = json.loads(result.read_text())
        if found["status"] not in (0, 2):
            sys.exit(f"gpufarm {' '.join(words)}: exit {found['status']}")
        found["answer"] = json.loads((self.folder / "output.json").read_text())
        return found

    def rounds(self, sizes: list[int], *, baseline: bool) -> dict[str, dict[str, Any]]:
        cloud = Cloud(self.state, HOST)
        database = ("--placement-database", str(self.folder / "placement.url"))
        commands = {
            "capacity": ("capacity", *database),
            "claims check": ("claims", "check", *database),
            **({"one by one": ("capacity",)} if baseline else {}),
        }
        results = {}
        before = 0
        for size in sizes:
            cloud.copy_hosts(before, size, SERVERS)
            before = size
            answers = {}
            for name, words in commands.items():
                cloud.report_up()
                found = self.measure(*words)
                answers[name] = found.pop("answer")
                results[f"{name} {size}"] = found
                show(name, size, found)
            check(answers, size)
        return results


def check(answers: dict[str, Any], size: int) -> None:
    """That the numbers are of the cloud that was made."""
    used = sum(row["used"] for row in answers["capacity"]["cards"])
    if used != size * SERVERS + 1:
        sys.exit(f"capacity counts {used} used cards of {size * SERVERS + 1}")
    if answers["claims check"]:
        sys.exit(f"claims check finds what is not there: {answers['claims check'][:2]}")
    if answers.get("one by one", answers["capacity"]) != answers["capacity"]:
        sys.exit("Placement's API and its database do not say the same")


def show(name: str, size: int, found: dict[str, Any]) -> None:
    cards = (size + 1) * CARDS
    each = f"{cards / max(1, found['requests']):.1f}"
    print(
        f"{name:<14}{size:>6}{cards:>7}{found['seconds']:>9.1f}{REACH.get(name, ''):>8}"
        f"{found['requests']:>10}{each:>15}{found['memory_mb']:>7}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, action="append", help="how many (100, then 1000)")
    parser.add_argument("--no-baseline", action="store_true", help="without `one by one`")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parsed = parser.parse_args()
    on = machine()
    print(", ".join(f"{key}: {value}" for key, value in on.items()))
    print(
        f"{'command':<14}{'hosts':>6}{'cards':>7}{'seconds':>9}{'reach':>8}{'requests':>10}"
        f"{'cards/request':>15}{'MB':>7}"
    )
    with tempfile.TemporaryDirectory(prefix="gpufarm-bench-") as folder:
        bench = Bench(Path(folder))
        try:
            bench.start()
            found = bench.rounds(sorted(parsed.hosts or SIZES), baseline=not parsed.no_baseline)
        finally:
            bench.end()
    print(f"(reach: {CARDS_A_REQUEST} cards or more a request, {REACH_MB} MB)")
    output = parsed.output or Path(tempfile.gettempdir()) / "gpufarm-bench-claims.json"
    output.write_text(json.dumps({"machine": on, "rounds": found}, indent=1))
    print(output)


if __name__ == "__main__":
    main()
