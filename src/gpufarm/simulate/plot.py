"""Policies in one picture: GPUs that are used, against ordinary vCPUs that are refused."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpufarm.model.errors import PartMissing, SimulationImpossible

KINDS = (".png", ".svg")


def check(file: Path) -> None:
    """Raise SimulationImpossible or PartMissing before anything is run."""
    if file.suffix.lower() not in KINDS:
        raise SimulationImpossible(f"{file}: a plot is one of {', '.join(KINDS)}")
    if not file.parent.is_dir():
        raise SimulationImpossible(f"{file}: there is no folder {file.parent}")
    if importlib.util.find_spec("matplotlib") is None:
        raise PartMissing("matplotlib is not installed", "simulate")


def draw(file: Path, panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """One panel for each title, one point for each policy, with its standard deviation."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "gpufarm"  # the same numbers make the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels) + 1.6, 4.4), layout="constrained", squeeze=False
    )
    policies = list(dict.fromkeys(row["policy"] for rows in panels.values() for row in rows))
    colors = dict(zip(policies, mpl.color_sequences["tab10"], strict=False))
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for row in rows:
            axis.errorbar(
                row["ordinary_vcpu_refused_pct"],
                row["gpus_allocated_pct"],
                xerr=row["ordinary_vcpu_refused_pct_sd"],
                yerr=row["gpus_allocated_pct_sd"],
                fmt="o",
                color=colors.get(row["policy"], "black"),
                markersize=9 if row["policy"] == "gpufarm" else 6,
                label=row["policy"],
            )
        axis.axhline(max(row["gpus_bound_pct"] for row in rows), color="0.6", linestyle=":")
        floors = [(row["ordinary_vcpu_floor_pct"], row["gpus_allocated_pct"]) for row in rows]
        axis.plot(*zip(*sorted(floors), strict=True), color="0.6", linestyle=":", label="bound")
        axis.set(title=title, xlabel="ordinary vCPU refused, %", ylabel="GPUs allocated, %")
        axis.grid(alpha=0.3)
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    undated = {"Date": None} if file.suffix.lower() == ".svg" else None
    figure.savefig(file, metadata=undated, dpi=130)
    plt.close(figure)
