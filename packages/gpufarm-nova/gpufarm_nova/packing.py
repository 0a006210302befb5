"""Where a server costs later ones the least.

What is decided here: how much each host loses by taking a server. Which hosts could take it is
decided elsewhere: by Nova's filters and by `reserve`.

Two rules. The simple one, `Rooms`, needs nothing but the GPU flavors: a host loses the servers that
would start on it now and would not start there afterwards, counted in cards. The learned one,
`Waste`, knows which servers are asked for and how often: a host loses the vCPUs that nobody will be
able to use once it is filled with such servers. With both, a server for which few whole hosts are
left (eight cards at once) keeps its rooms, and among equals the fullest host is taken.
"""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, NamedTuple, Protocol, Sequence

from gpufarm_nova.lesson import Cards, Lesson, Request
from gpufarm_nova.reserve import Amounts, Host
from gpufarm_nova.waste import Waste

FITTING = 1e-3
"""What an empty host loses beside a full one: decides between equals only."""

COPIES = 6.0
"""Rooms for several cards are scarce where there are fewer than so many times what may come."""

SCARCE_COST = 10.0
"""In vCPU for each card: what it costs to lose a scarce room."""

CARD_COST = 0.1
"""In vCPU for each card that stays free beside a new GPU server: hosts with cards in use fill up
first, since servers end everywhere and whole hosts would be rare otherwise."""

OPEN_COST = 1000.0
"""In vCPU: what a GPU server costs a host that is open to ordinary ones. It goes there last."""

MOST_KEPT = 200_000
"""Entries of each table of answers; it begins anew where there would be more."""

DIGITS = 9
"""Losses that differ by less are equal."""

TINY = 1e-6
"""What subtraction of floats may lose of a vCPU."""

Free = Mapping[str, int]


class Flavor(NamedTuple):
    """A GPU flavor: how many cards of which models, and vCPU and MiB beside them."""

    name: str
    cards: Cards
    vcpus: float
    memory_mb: float

    @property
    def size(self) -> int:
        return sum(number for _, number in self.cards)


class Supply(NamedTuple):
    """What all hosts tell about one request: places of the several-card kinds that are scarce."""

    scarce: tuple[int, ...]


class Several(NamedTuple):
    """A kind of server with several cards; `share` is how many are asked for with each card that
    is."""

    name: str
    cards: Cards
    vcpus: float
    memory_mb: float
    share: float


class Worth(Protocol):
    """What a rule knows."""

    def of(self, host: Host) -> float:
        """What later servers can make of what is left of `host`; higher is better."""

    def why(self, before: Host, after: Host) -> tuple[str, ...]:
        """What is lost between the two, in words; empty for nothing."""


class Packing:
    """The rule for one cloud. Remembers what it worked out; may be asked from several threads."""

    def __init__(self, flavors: Iterable[Flavor], lesson: Lesson | None = None) -> None:
        known = tuple(flavor for flavor in flavors if flavor.size)
        self._learned = lesson is not None and any(kind.cards for kind in lesson.requests)
        if lesson and self._learned:
            lesson = _with_unseen(lesson, known)
            self._worth: Worth = Waste(lesson)
            self._several = several(lesson, known)
        else:
            self._worth = Rooms(known)
            self._several = ()
        self._room_costs = [SCARCE_COST * _size(kind.cards) for kind in self._several]
        self._rooms: dict[tuple[Cards, Amounts], tuple[int, ...]] = {}

    def supply(self, hosts: Iterable[Host]) -> Supply:
        """To be worked out once for each request, over all hosts that were looked at."""
        return self.scarce([sum(column) for column in zip(*map(self.rooms, hosts))])

    def rooms(self, host: Host) -> tuple[int, ...]:
        """How many servers of each several-card kind would start on `host`, and its free cards."""
        key = (_key(host.free), host.left)
        found = self._rooms.get(key)
        if found is None:
            fits = [_fits(kind, host) for kind in self._several]
            found = (*fits, sum(host.free.values()))
            _keep(self._rooms, key, found)
        return found

    def scarce(self, totals: Sequence[float]) -> Supply:
        """From the sum of `rooms` over hosts."""
        if not self._learned or not totals:
            return Supply(())
        *rooms, free = totals
        found = []
        for place, (kind, room) in enumerate(zip(self._several, rooms)):
            coming = kind.share * free
            if room < COPIES * (coming + 3 * math.sqrt(coming)):
                found.append(place)
        return Supply(tuple(found))

    def loss(
        self, host: Host, server: Amounts, cards: Free, supply: Supply, *, is_open: bool = False
    ) -> float:
        """What `host` loses by taking a server that takes `cards`; less is better. `is_open`: it is
        one of the lesson's `open_hosts`."""
        after = taken(host, server, cards)
        lost = self.plain_loss(host, after, cards, is_open=is_open)
        if supply.scarce:
            costs = self.scarce_losses(host, after)
            lost += sum(costs[place] for place in supply.scarce)
        return lost

    def plain_loss(self, host: Host, after: Host, cards: Free, *, is_open: bool = False) -> float:
        """Without what is scarce."""
        if is_open and any(cards.values()):
            return OPEN_COST + FITTING * idle(after)
        if is_open:
            # Its free cards are given up.
            host, after = host._replace(free={}), after._replace(free={})
        lost = self._worth.of(host) - self._worth.of(after) + FITTING * idle(after)
        if self._learned and any(cards.values()):
            lost += CARD_COST * sum(after.free.values())
        return lost

    def scarce_losses(self, host: Host, after: Host) -> tuple[float, ...]:
        """For each several-card kind: what is lost with its rooms, if they are scarce."""
        each = zip(self._room_costs, self.rooms(host), self.rooms(after))
        return tuple([cost * (now - then) for cost, now, then in each])

    def why(
        self, host: Host, server: Amounts, cards: Free, supply: Supply, *, is_open: bool = False
    ) -> tuple[str, ...]:
        """The loss in words; empty where only how full the host is makes a difference."""
        after = taken(host, server, cards)
        if is_open and any(cards.values()):
            return ("its cards are the last to be used: ordinary servers may take what they need",)
        rooms = zip(self._several, self.rooms(host), self.rooms(after))
        scarce = [
            f"{now - then} of the few rooms for {kind.name}"
            for place, (kind, now, then) in enumerate(rooms)
            if place in supply.scarce and now > then
        ]
        free = sum(after.free.values()) if self._learned and any(cards.values()) else 0
        beside = [f"cards left free beside it: {free}"] if free else []
        return (*scarce, *self._worth.why(host, after), *beside)


class Rooms:
    """The simple rule: rooms for GPU flavors, in cards."""

    def __init__(self, flavors: Sequence[Flavor]) -> None:
        self._flavors = flavors
        self._known: dict[tuple[Cards, Amounts], float] = {}

    def of(self, host: Host) -> float:
        key = (_key(host.free), host.left)
        found = self._known.get(key)
        if found is None:
            found = float(sum(kind.size * _fits(kind, host) for kind in self._flavors))
            _keep(self._known, key, found)
        return found

    def why(self, before: Host, after: Host) -> tuple[str, ...]:
        pairs = [(kind.name, _fits(kind, before), _fits(kind, after)) for kind in self._flavors]
        return tuple(
            f"{now - then} of {now} rooms for {name}" for name, now, then in pairs if now > then
        )


def several(lesson: Lesson, flavors: Iterable[Flavor]) -> tuple[Several, ...]:
    """The kinds of servers with several cards, by the names of their flavors."""
    names = {flavor[1:]: flavor.name for flavor in flavors}
    asked = sum(kind.size * kind.times for kind in lesson.requests)
    return tuple(
        Several(names.get(kind[:3], "a server of several cards"), *kind[:3], kind.times / asked)
        for kind in lesson.requests
        if kind.size > 1
    )


def _with_unseen(lesson: Lesson, flavors: Iterable[Flavor]) -> Lesson:
    """A flavor that nobody asked for yet counts as asked for once."""
    seen = {kind[:3] for kind in lesson.requests}
    new = [Request(*flavor[1:]) for flavor in flavors if flavor[1:] not in seen]
    return lesson._replace(requests=(*lesson.requests, *new))


def taken(host: Host, server: Amounts, cards: Free) -> Host:
    """`host` after it took a server."""
    left = Amounts(host.left.vcpus - server.vcpus, host.left.memory_mb - server.memory_mb)
    if not cards:
        return host._replace(left=left)
    free = {model: number - cards.get(model, 0) for model, number in host.free.items()}
    return host._replace(left=left, free=free)


def idle(host: Host) -> float:
    """From 0 for a full host to 3: the parts of its vCPU, memory and cards that nobody has."""
    parts = 0.0
    for left, total in (*zip(host.left, host.total), (sum(host.free.values()), host.cards)):
        if left > 0 and total:
            parts += left / total
    return parts


def _fits(kind: Flavor | Several, host: Host) -> int:
    fits = min(host.free.get(model, 0) // number for model, number in kind.cards)
    for needed, left in ((kind.vcpus, host.left.vcpus), (kind.memory_mb, host.left.memory_mb)):
        if needed > 0 and fits > 0:
            fits = min(fits, int((left + TINY) // needed))
    return max(0, fits)


def _key(free: Free) -> Cards:
    return tuple(sorted(free.items()))


def _size(cards: Cards) -> int:
    return sum(number for _, number in cards)


def _keep(table: dict[Any, Any], key: Any, value: Any) -> None:
    if len(table) >= MOST_KEPT:
        table.clear()
    table[key] = value
