"""Where a server goes, by the name of a policy.

What is decided here: which hosts may take it and which of them is best. A policy gives each host a
row of numbers, which depends on that host and the kind of server only, so that `replay` asks again
just for hosts that changed; `scores` makes one number a host of them, the smallest of which is
chosen, the first among equals. The reserve and gpufarm's own rule are those of gpufarm_nova.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gpufarm.model.cloud import Value
from gpufarm.simulate import learning
from gpufarm.simulate.trace import Node
from gpufarm_nova import packing, reserve
from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.packing import Flavor, Packing
from gpufarm_nova.reserve import Amounts, Host

if TYPE_CHECKING:
    import numpy as np

TINY = 1e-6

Row = tuple[float, ...]
Peaks = Mapping[str, float] | None


class Settings(Value, frozen=True):
    """What an operator sets, and the flavors that the cloud has."""

    reserves: Mapping[str, Amounts]
    share: float = 1.0
    flavors: tuple[Flavor, ...] = ()
    lesson: Lesson | None = None
    """Learned before the first request; what comes later is learned anyway."""

    requests: tuple[Request, ...] = ()
    """The kinds of all requests, for FGD, which is told how popular each is."""


class Place(Value, frozen=True):
    """A host of the cloud as a policy meets it."""

    name: str
    host: Host


class Policy(Protocol):
    def nodes(self, nodes: Sequence[Node]) -> Sequence[Node]:
        """The nodes as the scheduler has them."""

    def row(self, place: Place, kind: Request) -> Row | None:
        """None for a host that may not take the server, though it could."""

    def scores(self, rows: "np.ndarray", open_: "np.ndarray") -> "np.ndarray":
        """One for each host, smallest is best; `open_` says which hosts may take it."""

    def learn(self, seen: Sequence[Request], places: Sequence[Place], peaks: Peaks) -> bool:
        """Told now and then what was asked for and how many cards of each model were wanted
        at most, where that is known; whether all rows are to be asked for again."""


def amounts(kind: Request) -> Amounts:
    return Amounts(kind.vcpus, kind.memory_mb)


def after(place: Place, kind: Request) -> Host:
    return packing.taken(place.host, amounts(kind), dict(kind.cards))


class Plain:
    """Base: all hosts, nothing learned, one number a host."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def nodes(self, nodes: Sequence[Node]) -> Sequence[Node]:
        return nodes

    def scores(self, rows: "np.ndarray", open_: "np.ndarray") -> "np.ndarray":  # noqa: ARG002
        return rows[:, 0]

    def learn(self, seen: Sequence[Request], places: Sequence[Place], peaks: Peaks) -> bool:  # noqa: ARG002
        return False


class Sized(Plain):
    """Base: amounts as parts of the largest that any host has."""

    def nodes(self, nodes: Sequence[Node]) -> Sequence[Node]:
        self._largest = (
            max(node.vcpus for node in nodes),
            max(node.memory_mb for node in nodes),
            max(1, *(node.cards for node in nodes)),
        )
        return nodes

    def parts(self, vcpus: float, memory_mb: float, cards: int) -> Row:
        largest = self._largest
        return vcpus / largest[0], memory_mb / largest[1], cards / largest[2]


class BestFit(Sized):
    """The host with the least left afterwards, of CPU, memory and GPUs together."""

    def row(self, place: Place, kind: Request) -> Row:
        then = after(place, kind)
        return (sum(self.parts(*then.left, sum(then.free.values()))),)


class DotProduct(Sized):
    """The host whose free amounts are least like what is asked for (as FGD's authors have it)."""

    def row(self, place: Place, kind: Request) -> Row:
        left = self.parts(*place.host.left, sum(place.host.free.values()))
        asked = self.parts(*amounts(kind), kind.size)
        return (sum(map(operator.mul, left, asked)),)


class Fgd(Plain):
    """Fragmentation Gradient Descent: the host whose expected fragments grow least."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._fragments = Fragments(settings.requests)

    def row(self, place: Place, kind: Request) -> Row:
        return (self._fragments.of(after(place, kind)) - self._fragments.of(place.host),)


class Fragments:
    """FGD's measure: free GPUs of a host that a request of the workload could not use, on average
    over requests. Those that ask for no GPU can use none."""

    def __init__(self, requests: Iterable[Request]) -> None:
        lesson = learning.counted(requests)
        number = sum(kind.times for kind in lesson)
        self._kinds = [
            (kind.vcpus, kind.memory_mb, kind.cards, kind.times / number) for kind in lesson
        ]
        self._known: dict[Any, float] = {}

    def of(self, host: Host) -> float:
        free = sum(host.free.values())
        if not free:
            return 0.0
        key = (tuple(host.free.items()), host.left)
        found = self._known.get(key)
        if found is None:
            served = 0.0
            for vcpus, memory_mb, cards, share in self._kinds:
                if (
                    cards
                    and vcpus <= host.left.vcpus + TINY
                    and memory_mb <= host.left.memory_mb + TINY
                    and all(number <= host.free.get(model, 0) for model, number in cards)
                ):
                    served += share
            found = self._known[key] = free * (1 - served)
        return found


class Reserved(Plain):
    """Base: an ordinary server leaves what is kept for free cards."""

    open_hosts: frozenset[str] = frozenset()

    def refused(self, place: Place, kind: Request) -> bool:
        if kind.cards or place.name in self.open_hosts:
            return False
        keep = reserve.kept(place.host, self.settings.reserves, self.settings.share)
        return reserve.shortfall(place.host, amounts(kind), keep) is not None


class Gpufarm(Reserved):
    """The plugin's: the reserve, and gpufarm_nova.packing with what was learned so far."""

    learns = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        lesson = settings.lesson if self.learns else None
        self._take(lesson)

    def _take(self, lesson: Lesson | None) -> None:
        self._packing = Packing(self.settings.flavors, lesson)
        if lesson is not None:
            self.open_hosts = lesson.open_hosts

    def row(self, place: Place, kind: Request) -> Row | None:
        if self.refused(place, kind):
            return None
        host, then = place.host, after(place, kind)
        return (
            self._packing.plain_loss(
                host, then, dict(kind.cards), is_open=place.name in self.open_hosts
            ),
            *self._packing.scarce_losses(host, then),
            *self._packing.rooms(host),
        )

    def scores(self, rows: "np.ndarray", open_: "np.ndarray") -> "np.ndarray":
        several = (rows.shape[1] - 2) // 2
        totals = rows[open_, 1 + several :].sum(axis=0)
        scarce = self._packing.scarce(totals.tolist()).scarce
        found = rows[:, 0]
        if scarce:
            found = found + rows[:, [1 + place for place in scarce]].sum(axis=1)
        return found.round(9)

    def learn(self, seen: Sequence[Request], places: Sequence[Place], peaks: Peaks) -> bool:
        if not self.learns:
            return False
        hosts = {place.name: place.host for place in places}
        self._take(learning.lesson(seen, hosts, peaks))
        return True


class CapacityLoss(Gpufarm):
    """The reserve, and the simple rule of gpufarm_nova.packing: nothing is ever learned."""

    learns = False


def _nova(name: str) -> Callable[[Settings], Policy]:
    def make(settings: Settings) -> Policy:
        from gpufarm.simulate import nova_policies

        return nova_policies.POLICIES[name](settings)

    return make


POLICIES: dict[str, Callable[[Settings], Policy]] = {
    "nova-default": _nova("nova-default"),
    "nova-tuned": _nova("nova-tuned"),
    "gpu-hosts-closed": _nova("gpu-hosts-closed"),
    "static-share": _nova("static-share"),
    "best-fit": BestFit,
    "dot-product": DotProduct,
    "fgd": Fgd,
    "reserve": _nova("reserve"),
    "capacity-loss": CapacityLoss,
    "gpufarm": Gpufarm,
}
