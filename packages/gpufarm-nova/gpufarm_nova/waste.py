"""How much of a host nobody will use: the learned rule of `packing`.

What is decided here: for what is left of a host, how many of its vCPUs will stay idle once it is
filled with the servers that are asked for in this cloud.

A host without free cards wastes what the best set of ordinary servers leaves idle. One with free
cards may be filled in many ways: each kind of GPU server that fits, then what is left after it, and
so on. The ways are weighed by how often the kinds are asked for, and good ones far more than bad
ones, since the rule will choose well again. Cards that no kind fits any more waste the vCPUs that
GPU servers have with a card.

Where memory is what runs out first, the same is said of memory, counted as the vCPUs that servers
have with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Callable, Iterable, Mapping, NamedTuple, Sequence, Tuple

from gpufarm_nova.lesson import SCARCER, Lesson, Request

if TYPE_CHECKING:
    from gpufarm_nova.reserve import Amounts, Host

STEP = 0.1
"""In vCPU: all is counted in such steps."""

PARTS = 12
"""The other resource is counted in parts of what the median GPU server has of it with a card."""

SOFTNESS = 0.5
"""In vCPU: ways to fill a host that differ by less are nearly equal. With 0.2 hosts wait for rare
kinds of servers, and some of their last cards stay free."""

COVERED_ORDINARY = 0.95
COVERED_CARDS = 0.8
"""Parts of the demand: of kinds that are asked for more rarely than these, nothing is hoped."""

SMALLEST = 1.0
"""In vCPU: smaller ordinary servers go anywhere."""

LARGEST = 4000
"""In steps: beyond 400 vCPU left, a host is as good as with 400."""

SOFT = SOFTNESS / STEP

NEGLIGIBLE = 20
"""Times the softness: ways that are worse by more do not count."""

MOST_KEPT = 1_000_000
"""Answers that are kept, some 150 MB; in a cloud of one GPU flavor it is a few thousand."""

Numbers = Tuple[int, ...]
"""Of cards, by model."""


class Kind(NamedTuple):
    """A kind of GPU server in steps, and its part of the requests."""

    cards: Numbers
    steps: int
    parts: float
    share: float


class Waste:
    """Raises ValueError for a lesson without GPU servers."""

    def __init__(self, lesson: Lesson) -> None:
        gpu = [kind for kind in lesson.requests if kind.cards]
        if not gpu:
            raise ValueError("the lesson knows of no server with cards")
        self._models = tuple(sorted({model for kind in gpu for model, _ in kind.cards}))
        self._scarcer = SCARCER.index(lesson.scarcer)
        self._rate = _vcpus_a_mib(lesson.requests) if self._scarcer else 1.0
        part = _median((self._of(kind)[1] / kind.size, kind.times * kind.size) for kind in gpu)
        self._part = max(part / PARTS, STEP)
        self._beside = tuple(self._with_a_card(model, gpu) for model in self._models)

        kinds = _covering(gpu, COVERED_CARDS, lambda kind: kind.size)
        asked = sum(kind.times for kind in kinds)
        self._kinds = [
            Kind(self._numbers(dict(kind.cards)), *self._steps(kind), kind.times / asked)
            for kind in kinds
        ]
        ordinary = [kind for kind in lesson.requests if not kind.cards and kind.vcpus >= SMALLEST]
        common = map(self._steps, _covering(ordinary, COVERED_ORDINARY, lambda kind: kind.vcpus))
        self._ordinary = sorted({size for size in common if size[0] > 0}, reverse=True)
        sizes = [(kind.steps, kind.parts) for kind in self._kinds] + self._ordinary
        self._widest = max((parts / steps for steps, parts in sizes if steps), default=0.0)

        self._leftovers: dict[tuple[int, int], int] = {}
        self._tables: dict[tuple[float, ...], dict[tuple[Numbers, int, int], float]] = {}
        self._choices: dict[Numbers, list[tuple[Numbers, bool, int, float, float]]] = {}
        self._stranded: dict[tuple[Amounts, int], tuple[float, ...]] = {}

    def of(self, host: Host) -> float:
        """What is not wasted, as a negative number of vCPUs: the higher the better."""
        left, other = self._of(host.left)
        steps = min(max(0, round(left / STEP)), LARGEST)
        parts = max(0, round(other / self._part))
        kind = (host.total, host.cards)
        stranded = self._stranded.get(kind)
        if stranded is None:
            fair = self._of(host.total)[0] / max(1, host.cards) / STEP
            stranded = self._stranded[kind] = tuple(min(own, fair) for own in self._beside)
        return -STEP * self._fill(stranded, self._numbers(host.free), steps, parts)

    def why(self, before: Host, after: Host) -> tuple[str, ...]:
        lost = round(self.of(before) - self.of(after), 1)
        what = "memory, counted in vCPU," if self._scarcer else "vCPU"
        more = "more" if lost > 0 else "less"
        return (
            (f"{abs(lost):g} {more} {what} that no server in use here could take",) if lost else ()
        )

    def _fill(self, stranded: tuple[float, ...], free: Numbers, steps: int, parts: int) -> float:
        """Steps that stay idle of a host with so much left."""
        if parts > steps * self._widest:
            parts = int(steps * self._widest) + 1
        if not any(free):
            return self._leftover(steps, parts)
        table = self._tables.get(stranded)
        if table is None:
            table = self._tables[stranded] = {}
        key = (free, steps, parts)
        found = table.get(key)
        if found is None:
            if len(table) >= MOST_KEPT:
                table.clear()
            found = table[key] = self._ways(stranded, table, free, steps, parts)
        return found

    def _ways(
        self,
        stranded: tuple[float, ...],
        table: dict[tuple[Numbers, int, int], float],
        free: Numbers,
        steps: int,
        parts: int,
    ) -> float:
        widest, leftovers = self._widest, self._leftovers
        ways = []
        missed = 0.0
        for rest, is_last, needed, other, share in self._choice(free):
            if needed > steps or other > parts:
                missed += share
                continue
            # As `_fill` and `_leftover` begin; most of the time is spent here.
            then, left = steps - needed, round(parts - other)
            if left > then * widest:
                left = int(then * widest) + 1
            way: float | None
            if is_last:
                way = leftovers.get((then, left))
                if way is None:
                    way = self._leftover(then, left)
            else:
                way = table.get((rest, then, left))
                if way is None:
                    way = self._fill(stranded, rest, then, left)
            ways.append((way, share))
        if missed or not ways:
            lost = sum(number * own for number, own in zip(free, stranded))
            ways.append((lost + self._leftover(steps, parts), missed or 1.0))
        best = min(ways)[0]
        near = best + NEGLIGIBLE * SOFT
        good = sum(share * math.exp((best - way) / SOFT) for way, share in ways if way < near)
        return best - SOFT * math.log(good)

    def _choice(self, free: Numbers) -> list[tuple[Numbers, bool, int, float, float]]:
        """The kinds that find their cards among `free`: which are left then, whether those are
        none, and what the kinds take."""
        found = self._choices.get(free)
        if found is None:
            found = self._choices[free] = []
            for kind in self._kinds:
                rest = tuple(map(int.__sub__, free, kind.cards))
                if min(rest) >= 0:
                    found.append((rest, not any(rest), kind.steps, kind.parts, kind.share))
        return found

    def _leftover(self, steps: int, parts: int) -> int:
        """Steps that the best set of ordinary servers leaves idle."""
        widest, leftovers = self._widest, self._leftovers
        if parts > steps * widest:
            parts = int(steps * widest) + 1
        key = (steps, parts)
        found = leftovers.get(key)
        if found is None:
            found = steps
            for needed, other in self._ordinary:
                if needed <= steps and other <= parts:
                    found = min(found, self._leftover(steps - needed, round(parts - other)))
                    if not found:
                        break
            if len(leftovers) >= MOST_KEPT:
                leftovers.clear()
            leftovers[key] = found
        return found

    def _of(self, amounts: Amounts | Request) -> tuple[float, float]:
        """What is scarcer, as vCPU, and the other."""
        if self._scarcer:
            return amounts.memory_mb * self._rate, amounts.vcpus
        return amounts.vcpus, amounts.memory_mb

    def _steps(self, kind: Request) -> tuple[int, float]:
        scarcer, other = self._of(kind)
        return round(scarcer / STEP), other / self._part

    def _numbers(self, cards: Mapping[str, int]) -> Numbers:
        return tuple(cards.get(model, 0) for model in self._models)

    def _with_a_card(self, model: str, gpu: Iterable[Request]) -> float:
        """In steps: the median of what servers with such a card have with each of their cards."""
        pairs = [
            (self._of(kind)[0] / kind.size / STEP, kind.times * kind.size)
            for kind in gpu
            if model in dict(kind.cards)
        ]
        return _median(pairs)


def _covering(
    kinds: Sequence[Request], part: float, size: Callable[[Request], float]
) -> list[Request]:
    """The most wanted kinds, until they are `part` of all that is asked for."""
    whole = sum(kind.times * size(kind) for kind in kinds)
    found: list[Request] = []
    covered = 0.0
    for kind in sorted(kinds, key=lambda kind: (-kind.times * size(kind), kind)):
        if covered >= part * whole:
            break
        covered += kind.times * size(kind)
        found.append(kind)
    return found


def _median(pairs: Iterable[tuple[float, int]]) -> float:
    """Of values, each so often."""
    ordered = sorted(pairs)
    half = sum(count for _, count in ordered) / 2
    for value, count in ordered:
        half -= count
        if half <= 0:
            return value
    raise ValueError("no value")


def _vcpus_a_mib(kinds: Iterable[Request]) -> float:
    found = list(kinds)
    memory_mb = sum(kind.times * kind.memory_mb for kind in found)
    return sum(kind.times * kind.vcpus for kind in found) / memory_mb if memory_mb else 0.0
