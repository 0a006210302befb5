"""Streams of requests, made from a trace and a seed; the same seed gives the same stream.

As "Beware of Fragmentation" (USENIX ATC 2023) does it: shuffled, then pruned or sampled again until
the demand for GPUs is 130 % of the GPUs there are.
"""

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence

from gpufarm.model.errors import SimulationImpossible
from gpufarm_nova.lesson import Request

DEMAND = 1.3


def stream(requests: Sequence[Request], cards: int, seed: int) -> list[Request]:
    """Requests for DEMAND times as many cards as there are."""
    rng = random.Random(seed)  # noqa: S311
    pool = list(requests)
    if not any(kind.cards for kind in pool) or not cards:
        raise SimulationImpossible("no node has a GPU, or no request asks for a whole one")
    rng.shuffle(pool)
    found: list[Request] = []
    wanted = 0
    while wanted < DEMAND * cards:
        kind = pool[len(found)] if len(found) < len(pool) else rng.choice(pool)
        found.append(kind)
        wanted += kind.size
    return found


def up_to(arrivals: Sequence[Request], cards: int, load: float) -> list[Request]:
    """Those that came until they had asked for `load` times `cards`."""
    found = []
    wanted = 0
    for kind in arrivals:
        if wanted >= load * cards:
            break
        found.append(kind)
        wanted += kind.size
    return found


class Event:
    """Of a cloud that servers enter and leave: at `time`, in mean lifetimes, server `number` of
    `kind` comes, or ends."""

    __slots__ = ("comes", "kind", "number", "time")

    def __init__(self, time: float, number: int, kind: Request, *, comes: bool) -> None:
        self.time = time
        self.number = number
        self.kind = kind
        self.comes = comes


def steady(
    requests: Sequence[Request], cards: int, seed: int, load: float, lifetimes: float
) -> Iterator[Event]:
    """Servers come at random times and live for random times, of mean 1, so that on average they
    ask for `load` times `cards`: Poisson arrivals, exponential lifetimes. At time 0 as many come as
    there are later on average."""
    rng = random.Random(seed)  # noqa: S311
    pool = list(requests)
    each = sum(kind.size for kind in pool) / len(pool)
    if not each or not cards:
        raise SimulationImpossible("no node has a GPU, or no request asks for a whole one")
    rate = load * cards / each
    ends: list[tuple[float, int, Request]] = []
    now = 0.0
    for number in itertools.count():
        now += rng.expovariate(rate) if number >= rate else 0.0
        while ends and ends[0][0] <= min(now, lifetimes):
            time, ended, kind = heapq.heappop(ends)
            yield Event(time, ended, kind, comes=False)
        if now > lifetimes:
            return
        kind = rng.choice(pool)
        heapq.heappush(ends, (now + rng.expovariate(1), number, kind))
        yield Event(now, number, kind, comes=True)
