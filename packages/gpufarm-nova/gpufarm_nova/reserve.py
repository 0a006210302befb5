"""What a host keeps for its free cards, and whether an ordinary server would take of it.

What is decided here: the size of the reserve, and what is missing for a server that would break it.
Amounts are vCPU after the host's allocation ratio, and MiB.
"""

from __future__ import annotations

import statistics
from typing import Iterable, Mapping, NamedTuple


class Amounts(NamedTuple):
    """vCPU and MiB: of a host, of a server, or kept for one card."""

    vcpus: float
    memory_mb: float


class GpuFlavor(NamedTuple):
    """What one server of a GPU flavor takes; `cards` of one model."""

    vcpus: float
    memory_mb: float
    cards: int


class Host(NamedTuple):
    """A host as the rules see it.

    `cards` counts all that it offers of the models that have a reserve, `free` by model those that
    a server could take now: cards that are cordoned or wait for cleaning are not among them.
    """

    total: Amounts
    left: Amounts
    cards: int
    free: Mapping[str, int]


class Shortfall(NamedTuple):
    """An ordinary server needs `needed` of what ("vcpus" or "memory_mb"); only `available` is left
    of the host beside its reserve."""

    what: str
    needed: float
    available: float


def of_flavors(flavors: Iterable[GpuFlavor]) -> Amounts | None:
    """The reserve for one card that these flavors ask for: the median of what each gives a card."""
    found = list(flavors)
    if not found:
        return None
    return Amounts(
        statistics.median(flavor.vcpus / flavor.cards for flavor in found),
        statistics.median(flavor.memory_mb / flavor.cards for flavor in found),
    )


def capped(wanted: Amounts, host: Host, share: float = 1.0) -> Amounts:
    """The reserve for one card on this host: not more than `share` of the host's total for each of
    its cards, since servers of the average flavor could not take all of its cards otherwise."""
    if not host.cards:
        return Amounts(0, 0)
    return Amounts(
        min(wanted.vcpus, share * host.total.vcpus / host.cards),
        min(wanted.memory_mb, share * host.total.memory_mb / host.cards),
    )


def kept(host: Host, reserves: Mapping[str, Amounts], share: float = 1.0) -> Amounts:
    """What the host keeps for all of its free cards."""
    vcpus = memory_mb = 0.0
    for model, number in host.free.items():
        if number and model in reserves:
            one = capped(reserves[model], host, share)
            vcpus += number * one.vcpus
            memory_mb += number * one.memory_mb
    return Amounts(vcpus, memory_mb)


def shortfall(host: Host, server: Amounts, keep: Amounts) -> Shortfall | None:
    """What an ordinary server would take of the reserve; None where it leaves all of it.

    A server that takes cards is not asked: it draws on the reserve of the cards that it takes.
    """
    for what, needed, left, reserved in zip(Amounts._fields, server, host.left, keep):
        available = left - reserved
        if needed > 0 and needed > available:
            return Shortfall(what, needed, max(0.0, available))
    return None
