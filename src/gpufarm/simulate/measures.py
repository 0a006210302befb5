"""How well a cloud was used: the numbers of one outcome.

What is decided here: what each number means. Percentages, of all cards, servers, vCPUs asked for,
or vCPUs that the hosts have.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from msgspec.structs import replace

from gpufarm.model.cloud import Value
from gpufarm.simulate.policies import Fragments
from gpufarm.simulate.replay import Outcome
from gpufarm.simulate.trace import Node
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts

LOW = 0.1
"""Quantile of GPU servers' vCPU and memory a card: less than that strands a card."""

TINY = 1e-6


class Measures(Value, frozen=True):
    """Refusals are of what came; `refused_by_size` of servers with so many cards."""

    gpus_allocated_pct: float
    gpus_stranded_pct: float
    gpu_servers_refused_pct: float
    ordinary_servers_refused_pct: float
    ordinary_vcpu_refused_pct: float
    cpu_used_pct: float
    fragmentation_pct: float
    refused_by_size: dict[str, float]


def measure(nodes: Sequence[Node], outcome: Outcome, fragments: Fragments) -> Measures:
    hosts = [place.host for place in outcome.places]
    cards = sum(host.cards for host in hosts)
    free = sum(sum(host.free.values()) for host in hosts)
    total = sum(host.total.vcpus for host in hosts)
    left = sum(host.left.vcpus for host in hosts)
    seen, refused = _split(outcome.seen), _split(outcome.refused)
    sizes = Counter(kind.size for kind in seen[1])
    refused_sizes = Counter(kind.size for kind in refused[1])
    return Measures(
        gpus_allocated_pct=_part(cards - free, cards),
        gpus_stranded_pct=_part(stranded(nodes, outcome), cards),
        gpu_servers_refused_pct=_part(len(refused[1]), len(seen[1])),
        ordinary_servers_refused_pct=_part(len(refused[0]), len(seen[0])),
        ordinary_vcpu_refused_pct=_part(_vcpus(refused[0]), _vcpus(seen[0])),
        cpu_used_pct=_part(total - left, total),
        fragmentation_pct=_part(sum(map(fragments.of, hosts)), cards),
        refused_by_size={
            str(size): _part(refused_sizes[size], number) for size, number in sorted(sizes.items())
        },
    )


def stranded(nodes: Sequence[Node], outcome: Outcome) -> int:
    """Free cards that are of no use because of ordinary servers: their host cannot give the least
    that GPU servers have with a card (or its fair share, where that is less), and could if its
    ordinary servers were gone.

    A host that is split counts as one: what ordinary servers' part has would be for its cards.
    """
    gpu = [kind for kind in outcome.seen if kind.cards]
    least = Amounts(
        _quantile([kind.vcpus / kind.size for kind in gpu]),
        _quantile([kind.memory_mb / kind.size for kind in gpu]),
    )
    parts: dict[str, list[int]] = {node.name: [] for node in nodes}
    for number, place in enumerate(outcome.places):
        parts[place.name.partition(" ")[0]].append(number)
    found = 0
    for node in nodes:
        numbers = parts[node.name]
        free = sum(sum(outcome.places[number].host.free.values()) for number in numbers)
        if not free:
            continue
        whole = [outcome.places[number].host for number in numbers]
        here = [host for host in whole if host.cards]
        now = [sum(host.left[what] for host in here) for what in (0, 1)]
        then = [
            sum(host.left[what] for host in whole)
            + sum(outcome.ordinary[number][what] for number in numbers)
            for what in (0, 1)
        ]
        total = (sum(host.total.vcpus for host in whole), node.memory_mb)
        need = [min(least[what], total[what] / node.cards) for what in (0, 1)]
        found += max(0, _served(free, then, need) - _served(free, now, need))
    return found


def _served(free: int, left: Sequence[float], need: Sequence[float]) -> int:
    counts = [int((have + TINY) // want) for have, want in zip(left, need, strict=True) if want > 0]
    return max(0, min([free, *counts]))


def _split(kinds: Sequence[Request]) -> tuple[list[Request], list[Request]]:
    """Ordinary ones, and those with cards."""
    return [kind for kind in kinds if not kind.cards], [kind for kind in kinds if kind.cards]


def _vcpus(kinds: Sequence[Request]) -> float:
    return sum(kind.vcpus for kind in kinds)


def _part(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


def _quantile(values: Sequence[float]) -> float:
    return sorted(values)[int(LOW * (len(values) - 1))] if values else 0.0


def over_time(moments: Sequence[Measures], last: Measures) -> Measures:
    """Means of what is true at a moment; refusals are those of `last`, which counts them all."""
    if not moments:
        return last
    means = {
        name: fmean(getattr(each, name) for each in moments)
        for name in ("gpus_allocated_pct", "gpus_stranded_pct", "cpu_used_pct", "fragmentation_pct")
    }
    return replace(last, **means)
