"""What no placement could beat, by linear programming.

What is decided here: the most cards that could be in use, if all requests were known beforehand and
servers could be cut up over the hosts of one kind; and the least ordinary vCPUs that would be
refused beside the GPU servers that a policy did place. Solved by HiGHS, through scipy.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from gpufarm.model.cloud import Value
from gpufarm.model.errors import SimulationImpossible
from gpufarm.simulate.learning import counted
from gpufarm.simulate.replay import Outcome
from gpufarm.simulate.trace import Node
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts

WHAT = ("vcpus", "memory_mb", "size")


class Bounds(Value, frozen=True):
    """`gpus_bound_pct` of the cards; `ordinary_vcpu_floor_pct` of the ordinary vCPUs asked for."""

    gpus_bound_pct: float
    ordinary_vcpu_floor_pct: float


def bounds(
    nodes: Sequence[Node], outcome: Outcome, cpu_ratio: float = 1.0, scale: float = 1.0
) -> Bounds:
    """Of a cloud where `scale` times what came is there at once."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack

    pools = Counter(
        (host.total, tuple(host.free.items())) for host in (node.host(cpu_ratio) for node in nodes)
    )
    kinds = counted(outcome.seen)
    lost = {kind[:3]: kind.times for kind in counted(outcome.refused)}
    pairs = [
        (place, pool)
        for place, kind in enumerate(kinds)
        for pool, (total, free) in enumerate(pools)
        if _goes(kind, total, dict(free))
    ]
    most: list[float] = []
    entries: list[tuple[int, int, float]] = []
    for pool, ((total, free), number) in enumerate(pools.items()):
        mine = [(column, kinds[place]) for column, (place, at) in enumerate(pairs) if at == pool]
        cards = sum(count for _, count in free)
        for what, amount in zip(WHAT, (*total, cards), strict=True):
            entries += [(len(most), column, getattr(kind, what)) for column, kind in mine]
            most.append(number * amount)
    entries += [(len(most) + place, column, 1.0) for column, (place, _) in enumerate(pairs)]
    most += [scale * kind.times for kind in kinds]
    placed = [scale * (kind.times - lost.get(kind[:3], 0)) if kind.cards else 0.0 for kind in kinds]

    row, column, value = zip(*entries, strict=True)
    matrix = csr_array((value, (row, column)), shape=(len(most), len(pairs)))
    sizes = np.array([float(kinds[place].size) for place, _ in pairs])
    vcpus = np.array([0.0 if kinds[place].cards else kinds[place].vcpus for place, _ in pairs])
    best = linprog(-sizes, A_ub=matrix, b_ub=most, method="highs")
    both = vstack([matrix, -matrix[len(most) - len(kinds) :]])
    limits = [*most, *(-number for number in placed)]
    floor = linprog(-vcpus, A_ub=both, b_ub=limits, method="highs")
    for found in (best, floor):
        if not found.success:
            raise SimulationImpossible(f"a bound was not found: {found.message}")
    asked = scale * sum(kind.vcpus * kind.times for kind in kinds if not kind.cards)
    return Bounds(
        gpus_bound_pct=-100 * best.fun / sum(node.cards for node in nodes),
        ordinary_vcpu_floor_pct=100 * max(0.0, asked + floor.fun) / asked if asked else 0.0,
    )


def _goes(kind: Request, total: Amounts, free: Mapping[str, int]) -> bool:
    return (
        kind.vcpus <= total.vcpus
        and kind.memory_mb <= total.memory_mb
        and all(number <= free.get(model, 0) for model, number in kind.cards)
    )
