"""Requests sent through a policy, one after another, on hosts that keep what they were given.

What is decided here: nothing about places, which is the policy's; a server that no host takes is
lost, and nothing moves. A host changes only where a server comes or ends, so that its row is asked
for again only then.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gpufarm.model.cloud import Value
from gpufarm.simulate import arrivals, learning
from gpufarm.simulate.policies import TINY, Peaks, Place, Policy
from gpufarm_nova import packing
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts, Host

if TYPE_CHECKING:
    import numpy as np

    from gpufarm.simulate.trace import Node

FIRST_LESSON = 100
GROWTH = 4
LONGEST_BETWEEN = learning.LAST
"""Requests: a lesson is made of the first ones, then when there are GROWTH times as many."""

DIGITS = 6
"""What is left of a host is rounded so far, in vCPU and MiB, so that floats do not drift."""

FILLED = 1.0
WARM_UP = 2.0
MEASURED = 2.0
"""Mean lifetimes."""

SAMPLES = 40

PEAK_INTERVALS = 8


class Outcome(Value, frozen=True):
    """A cloud at one moment, and what became of the requests so far."""

    places: tuple[Place, ...]
    ordinary: tuple[Amounts, ...]
    """What ordinary servers have of each place."""

    seen: tuple[Request, ...]
    refused: tuple[Request, ...]


class Cloud:
    """Hosts, changed by `take` and `give`."""

    def __init__(self, nodes: "Iterable[Node]", cpu_ratio: float = 1.0) -> None:
        self.places = [Place(name=node.name, host=node.host(cpu_ratio)) for node in nodes]
        self.ordinary = [Amounts(0, 0)] * len(self.places)
        self.changed: list[int] = []

    def take(self, where: int, kind: Request, sign: int = 1) -> None:
        needed = Amounts(sign * kind.vcpus, sign * kind.memory_mb)
        cards = {model: sign * number for model, number in kind.cards}
        place = self.places[where]
        host = packing.taken(place.host, needed, cards)
        left = Amounts(round(host.left.vcpus, DIGITS), round(host.left.memory_mb, DIGITS))
        self.places[where] = Place(name=place.name, host=host._replace(left=left))
        if not kind.cards:
            had = self.ordinary[where]
            self.ordinary[where] = Amounts(had.vcpus + needed.vcpus, had.memory_mb + needed[1])
        self.changed.append(where)

    def give(self, where: int, kind: Request) -> None:
        self.take(where, kind, -1)


def fits(host: Host, kind: Request) -> bool:
    return (
        kind.vcpus <= host.left.vcpus + TINY
        and kind.memory_mb <= host.left.memory_mb + TINY
        and all(number <= host.free.get(model, 0) for model, number in kind.cards)
    )


class _Rows:
    """The rows of all hosts for one kind of server, and how many changes they know of."""

    def __init__(self, cloud: Cloud, policy: Policy, kind: Request) -> None:
        import numpy as np

        found = [self._row(place, policy, kind) for place in cloud.places]
        width = max((len(row) for row in found if row is not None), default=1)
        self.rows: np.ndarray = np.array([row or (0.0,) * width for row in found], dtype=float)
        self.open: np.ndarray = np.array([row is not None for row in found], dtype=bool)
        self.known = len(cloud.changed)

    def update(self, cloud: Cloud, policy: Policy, kind: Request) -> None:
        for where in set(cloud.changed[self.known :]):
            row = self._row(cloud.places[where], policy, kind)
            self.open[where] = row is not None
            if row is not None:
                if len(row) != self.rows.shape[1]:
                    self.__init__(cloud, policy, kind)  # type: ignore[misc]
                    return
                self.rows[where] = row
        self.known = len(cloud.changed)

    @staticmethod
    def _row(place: Place, policy: Policy, kind: Request) -> tuple[float, ...] | None:
        return policy.row(place, kind) if fits(place.host, kind) else None


class Scheduler:
    """Chooses places in `cloud` by `policy`."""

    def __init__(self, cloud: Cloud, policy: Policy) -> None:
        self._cloud = cloud
        self._policy = policy
        self._known: dict[Request, _Rows] = {}

    def scores(self, kind: Request) -> "np.ndarray":
        """Of all places: the smallest is best, and infinity where the server cannot go."""
        import numpy as np

        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = _Rows(self._cloud, self._policy, kind)
        else:
            found.update(self._cloud, self._policy, kind)
        if not found.open.any():
            return np.full(len(found.open), np.inf)
        return np.where(found.open, self._policy.scores(found.rows, found.open), np.inf)

    def choose(self, kind: Request) -> int | None:
        """None where no host takes the server."""
        scores = self.scores(kind)
        best = int(scores.argmin())
        return None if scores[best] == float("inf") else best

    def place(self, kind: Request) -> int | None:
        where = self.choose(kind)
        if where is not None:
            self._cloud.take(where, kind)
        return where

    def learn(self, seen: Sequence[Request], peaks: Peaks) -> None:
        if self._policy.learn(seen, self._cloud.places, peaks):
            self._known.clear()


def arrive(
    nodes: "Sequence[Node]", requests: Sequence[Request], policy: Policy, cpu_ratio: float = 1.0
) -> Outcome:
    """Servers come and none ends."""
    cloud = Cloud(policy.nodes(nodes), cpu_ratio)
    scheduler = Scheduler(cloud, policy)
    refused = []
    lesson_at = FIRST_LESSON
    for number, kind in enumerate(requests):
        if number == lesson_at:
            scheduler.learn(requests[:number], None)
            lesson_at += min((GROWTH - 1) * lesson_at, LONGEST_BETWEEN)
        if scheduler.place(kind) is None:
            refused.append(kind)
    return Outcome(
        places=tuple(cloud.places),
        ordinary=tuple(cloud.ordinary),
        seen=tuple(requests),
        refused=tuple(refused),
    )


class Steady:
    """Servers come and end. `run` gives moments of the cloud after its warm-up; the last one has
    all requests and refusals since then."""

    def __init__(
        self, nodes: "Sequence[Node]", policy: Policy, cpu_ratio: float, warm_up: float = WARM_UP
    ) -> None:
        self._cards = sum(node.cards for node in nodes)
        self._cloud = Cloud(policy.nodes(nodes), cpu_ratio)
        self._scheduler = Scheduler(self._cloud, policy)
        self._warm_up = warm_up
        self._where: dict[int, int] = {}
        self._demand = _Demand()
        self._history: list[Request] = []
        self._lesson_at = FIRST_LESSON
        self._seen: list[Request] = []
        self._refused: list[Request] = []

    def run(self, requests: Sequence[Request], seed: int, load: float) -> Iterator[Outcome]:
        """With `load` times the cards wanted on average."""
        look_at = self._warm_up
        end = self._warm_up + MEASURED
        for event in arrivals.steady(requests, self._cards, seed, load, end):
            if event.time >= look_at:
                yield self._outcome()
                look_at += MEASURED / SAMPLES
            if event.comes:
                self._come(event)
            elif event.number in self._where:
                self._cloud.give(self._where.pop(event.number), event.kind)
                self._demand.ended(event.kind)
        yield self._outcome()

    def _come(self, event: arrivals.Event) -> None:
        self._history.append(event.kind)
        if len(self._history) == self._lesson_at:
            peaks = self._demand.peaks() if event.time > FILLED else None
            self._scheduler.learn(self._history, peaks)
            self._lesson_at += min((GROWTH - 1) * self._lesson_at, LONGEST_BETWEEN)
        place = self._scheduler.place(event.kind)
        self._demand.came(event.kind, placed=place is not None)
        if place is not None:
            self._where[event.number] = place
        if event.time >= self._warm_up:
            self._seen.append(event.kind)
            if place is None:
                self._refused.append(event.kind)

    def _outcome(self) -> Outcome:
        return Outcome(
            places=tuple(self._cloud.places),
            ordinary=tuple(self._cloud.ordinary),
            seen=tuple(self._seen),
            refused=tuple(self._refused),
        )


class _Demand:
    """Cards in use by model, and the most that were wanted over the last while."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._before: list[dict[str, float]] = []

    def came(self, kind: Request, *, placed: bool) -> None:
        counts = self._used if placed else self._refused
        for model, number in kind.cards:
            counts[model] = counts.get(model, 0) + number
            self._most[model] = max(self._most.get(model, 0), self._used.get(model, 0))

    def ended(self, kind: Request) -> None:
        for model, number in kind.cards:
            self._used[model] -= number

    def peaks(self) -> dict[str, float]:
        """By model; a new interval begins."""
        now = {model: self._most[model] + self._refused.get(model, 0.0) for model in self._most}
        self._before = [*self._before[1 - PEAK_INTERVALS :], now]
        self._most, self._refused = dict(self._used), {}
        models = {model for each in self._before for model in each}
        return {model: max(each.get(model, 0) for each in self._before) for model in models}
