"""Placement policies on a production trace: how many GPUs are used, and what that costs others.

The trace is the one of "Beware of Fragmentation" (USENIX ATC 2023), which is not part of this
project: `--trace` names a folder with `openb/` in it. Seven scenarios, each policy with ten seeds,
at 100 % load; then scenario C as a cloud that servers enter and leave. Prints a table against the
figures to reach and, last, the name of a JSON file with the keys of `gpufarm simulate -f json`.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from machine import machine

from gpufarm.simulate import experiment, plot, trace
from gpufarm.simulate.policies import POLICIES
from gpufarm.simulate.trace import Trace

SEEDS = tuple(range(100, 110))
STEADY_SEEDS = SEEDS[:3]
OURS = "gpufarm"

SCENARIOS = {
    "A": ("gpu", "default", "exclude", 1.0),
    "B": ("gpu", "default", "whole", 1.0),
    "C": ("all", "cpu300", "exclude", 1.0),
    "D": ("all", "multigpu50", "exclude", 1.0),
    "E": ("gpu", "cpu300", "exclude", 1.0),
    "F": ("all", "cpu300", "exclude", 4.0),
    "G": ("all", "multigpu50", "exclude", 1.0),
}
"""{name: (nodes, requests, shared GPUs, vCPUs a CPU)}; G has the ordinary requests of C."""

STEADY = {"C steady 80": ("C", 80.0), "C steady 100": ("C", 100.0)}

REACH: dict[str, dict[str, tuple[float, float]]] = {
    "A": {"gpus_allocated_pct": (99.9, 100), "ordinary_vcpu_refused_pct": (0, 0)},
    "B": {"gpus_allocated_pct": (99.9, 100), "ordinary_vcpu_refused_pct": (0, 0)},
    "D": {"gpus_allocated_pct": (99.0, 100), "ordinary_vcpu_refused_pct": (0, 0)},
    "C": {
        "gpus_allocated_pct": (99.6, 100),
        "gpus_stranded_pct": (0, 0.2),
        "ordinary_vcpu_refused_pct": (0, 26.5),
        "over_floor": (0, 2.2),
        "eight": (0, 3.5),
    },
    "E": {
        "gpus_allocated_pct": (99.4, 100),
        "gpus_stranded_pct": (0, 0.2),
        "ordinary_vcpu_refused_pct": (0, 50.5),
        "over_floor": (0, 2.5),
        "eight": (0, 6),
    },
    "G": {
        "gpus_allocated_pct": (98.3, 100),
        "gpus_stranded_pct": (0, 0.2),
        "ordinary_vcpu_refused_pct": (0, 22.1),
        "over_floor": (0, 4.3),
        "eight": (0, 4),
    },
    "C steady 80": {"ordinary_vcpu_refused_pct": (0, 2)},
}
"""{scenario: {figure: (at least, at most)}} of our policy."""

COLUMNS = {
    "gpus_allocated_pct": "GPUs",
    "gpus_stranded_pct": "stranded",
    "eight": "8-GPU ref.",
    "ordinary_vcpu_refused_pct": "vCPU ref.",
    "over_floor": "over LP",
    "cpu_used_pct": "CPU used",
    "fragmentation_pct": "fragments",
}


def read(folder: Path, name: str) -> Trace:
    nodes, requests, shared, _ = SCENARIOS[name]
    openb = folder / "openb"

    def one(kind: str) -> Trace:
        return trace.read(
            openb / f"openb_node_list_{nodes}_node.csv",
            openb / f"openb_pod_list_{kind}.csv",
            shared_as_whole=shared == "whole",
        )

    found = one(requests)
    if name != "G":
        return found
    other = one("cpu300")
    gpu = [kind for kind in found.requests if kind.cards]
    ordinary = [kind for kind in other.requests if not kind.cards]
    # As many for each GPU that is asked for as scenario C has.
    cards = sum(kind.size for kind in gpu) / sum(kind.size for kind in other.requests)
    more = [ordinary[number % len(ordinary)] for number in range(round(cards * len(ordinary)))]
    return msgspec.structs.replace(found, requests=(*gpu, *more))


def figures(row: dict[str, Any]) -> dict[str, float]:
    """What the table shows."""
    over = row["ordinary_vcpu_refused_pct"] - row["ordinary_vcpu_floor_pct"]
    return {**row, "over_floor": over, "eight": row["refused_by_size"].get("8", 0.0)}


def show(row: dict[str, Any]) -> bool:
    """Prints a line; whether all figures to reach are."""
    shown = figures(row)
    goals = REACH.get(row["scenario"], {}) if row["policy"] == OURS else {}
    cells, reached = [], True
    for name in COLUMNS:
        missed = name in goals and not goals[name][0] <= round(shown[name], 2) <= goals[name][1]
        reached = reached and not missed
        mark = " " if name not in goals else "!" if missed else "+"
        cells.append(f"{shown[name]:10.2f}{mark}")
    print(f"{row['scenario']:13}{row['policy']:17}{''.join(cells)}", flush=True)
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", type=Path, default=Path("../shared/traces"))
    parser.add_argument("--scenario", action="append", choices=(*SCENARIOS, *STEADY))
    parser.add_argument("--policy", action="append", choices=tuple(POLICIES))
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--jobs", type=int, help="so many processes (default: one for each CPU)")
    parser.add_argument("--plot", type=Path, help="draw scenarios C, E and G (PNG or SVG)")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parsed = parser.parse_args()
    if not (parsed.trace / "openb").is_dir():
        sys.exit(f"{parsed.trace}: no folder openb/ there: name one with --trace")
    print(json.dumps({**machine(), "trace": str(parsed.trace)}))
    print("+ reached, ! not reached; percent, means over seeds")
    print(f"{'scenario':13}{'policy':17}{''.join(f'{name:>10} ' for name in COLUMNS.values())}")
    rows: list[dict[str, Any]] = []
    reached = True
    began = time.monotonic()
    for name in parsed.scenario or (*SCENARIOS, *STEADY):
        base, load = STEADY.get(name, (name, 100.0))
        found = read(parsed.trace, base)
        ratio = SCENARIOS[base][3]
        asked = experiment.Experiment(
            scenario=name,
            trace=found,
            settings=experiment.settings(found, cpu_ratio=ratio),
            policies=tuple(parsed.policy or POLICIES),
            seeds=tuple(parsed.seed or (STEADY_SEEDS if name in STEADY else SEEDS)),
            load=load,
            cpu_ratio=ratio,
            steady=name in STEADY,
        )
        for row in experiment.run(asked, jobs=parsed.jobs):
            rows.append(row)
            reached = show(row) and reached
    print(f"{time.monotonic() - began:.0f} s")
    if parsed.plot:
        panels = {
            f"scenario {name}": [row for row in rows if row["scenario"] == name] for name in "CEG"
        }
        plot.draw(parsed.plot, {title: part for title, part in panels.items() if part})
        print(f"wrote {parsed.plot}")
    if any(row["policy"] == OURS for row in rows):
        print("all figures are reached" if reached else "some figures are not reached")
    output = parsed.output or Path(tempfile.mkdtemp(prefix="bench-placement-")) / "placement.json"
    output.write_text(json.dumps(rows, indent=1) + "\n")
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
