"""The lesson for gpufarm_nova, of requests and hosts.

What is decided here: which of the requests count, and on how many hosts ordinary servers may take
what is kept for cards that, going by the past, nobody will ask for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from gpufarm_nova import lesson as lessons
from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.reserve import Amounts, Host

LAST = 4000
"""So many requests are looked at, the newest ones."""

MARGIN = 0.06
"""Of all cards: kept ready above the most that were ever asked for at once."""


def lesson(
    requests: Sequence[Request],
    hosts: Mapping[str, Host],
    peaks: Mapping[str, float] | None = None,
    made: str = "",
) -> Lesson:
    """`requests` in the order in which they came; `peaks` by model: the most cards that were wanted
    at once. Without it the reserve holds on all hosts."""
    total = Amounts(
        sum(host.total.vcpus for host in hosts.values()),
        sum(host.total.memory_mb for host in hosts.values()),
    )
    opened = open_hosts(hosts, peaks) if peaks is not None else frozenset()
    return lessons.of(requests[-LAST:], total, open_hosts=opened, made=made)


def now() -> str:
    """The time, as a lesson names it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(requests: Iterable[Request]) -> tuple[Request, ...]:
    """Each kind once, with how often it was asked for."""
    return lessons.of(requests, Amounts(1, 1)).requests


def open_hosts(hosts: Mapping[str, Host], peaks: Mapping[str, float]) -> frozenset[str]:
    """Hosts whose free cards need no reserve: those with the fewest cards first, by name, so that
    hosts for servers with many cards stay as they are, and a higher peak closes the last ones."""
    spare: dict[str, float] = {}
    for host in hosts.values():
        for model in host.free:
            spare[model] = spare.get(model, 0.0) + host.cards
    for model, cards in spare.items():
        spare[model] = cards * (1 - MARGIN) - peaks.get(model, cards)
    found = []
    for name, host in sorted(hosts.items(), key=lambda pair: (pair[1].cards, pair[0])):
        models = list(host.free)
        if models and all(spare[model] >= host.cards for model in models):
            found.append(name)
            for model in models:
                spare[model] -= host.cards
    return frozenset(found)
