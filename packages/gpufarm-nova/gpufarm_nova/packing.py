"""Where a server costs later ones the least.

What is decided here: how much each host loses by taking a server. Which hosts could take it is
decided elsewhere: by Nova's filters and by `reserve`.

The simple rule needs nothing but the flavors: a host loses the servers of GPU flavors that would
start on it now and would not start there afterwards, counted in their cards. Among equals the
fullest host is taken, so that whole hosts stay free.
"""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple, Tuple

from gpufarm_nova.reserve import Amounts, Host

FITTING = 1e-3
"""What an empty host is worth beside a host that is full, in cards: decides between equals only."""

MOST_KEPT = 200_000
"""States of hosts whose room is remembered: some 50 MB."""

Cards = Tuple[Tuple[str, int], ...]


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
    """What all hosts of a cloud tell about one request; the simple rule asks for nothing."""


class Packing:
    """The rule for the flavors of one cloud. Remembers what it worked out, and is not changed by
    it; may be asked from several threads."""

    def __init__(self, flavors: Iterable[Flavor]) -> None:
        self._flavors = tuple(flavor for flavor in flavors if flavor.size)
        self._known: dict[tuple[Cards, Amounts], tuple[int, ...]] = {}

    def supply(self, hosts: Iterable[Host]) -> Supply:  # noqa: ARG002
        """To be worked out once for each request, over all hosts that were looked at."""
        return Supply()

    def loss(self, host: Host, server: Amounts, cards: Mapping[str, int], supply: Supply) -> float:  # noqa: ARG002
        """What `host` loses by taking a server that takes `cards`, in cards; less is better."""
        after = taken(host, server, cards)
        pairs = zip(self._flavors, self._room(host), self._room(after))
        lost = sum(flavor.size * (before - then) for flavor, before, then in pairs)
        return lost + FITTING * idle(after)

    def why(
        self,
        host: Host,
        server: Amounts,
        cards: Mapping[str, int],
        supply: Supply,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """The same in words: what could start on `host` now and not after the server."""
        after = taken(host, server, cards)
        pairs = zip(self._flavors, self._room(host), self._room(after))
        lost = [
            f"room for {before - then} of {before} servers of {flavor.name}"
            for flavor, before, then in pairs
            if before > then
        ]
        return tuple(lost) or ("no room for any GPU flavor",)

    def _room(self, host: Host) -> tuple[int, ...]:
        """How many servers of each flavor would start on `host`, if they were the only ones."""
        key = (tuple(sorted(host.free.items())), host.left)
        found = self._known.get(key)
        if found is None:
            found = tuple(_fits(flavor, host) for flavor in self._flavors)
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = found
        return found


def taken(host: Host, server: Amounts, cards: Mapping[str, int]) -> Host:
    """`host` after it took a server."""
    left = Amounts(host.left.vcpus - server.vcpus, host.left.memory_mb - server.memory_mb)
    if not cards:
        return host._replace(left=left)
    free = {model: number - cards.get(model, 0) for model, number in host.free.items()}
    return host._replace(left=left, free=free)


def idle(host: Host) -> float:
    """From 0 for a full host to 3: the parts of its vCPU, memory and cards that nobody has."""
    pairs = [
        (host.left.vcpus, host.total.vcpus),
        (host.left.memory_mb, host.total.memory_mb),
        (sum(host.free.values()), host.cards),
    ]
    return sum(max(0.0, left / total) for left, total in pairs if total)


def _fits(flavor: Flavor, host: Host) -> int:
    fits = min(host.free.get(model, 0) // number for model, number in flavor.cards)
    for needed, left in ((flavor.vcpus, host.left.vcpus), (flavor.memory_mb, host.left.memory_mb)):
        if needed > 0 and fits > 0:
            fits = min(fits, int(left // needed))
    return max(0, fits)
