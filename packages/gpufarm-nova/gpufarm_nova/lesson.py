"""What was learned from the requests of a cloud: gpufarm writes the file, the scheduler reads it.

What is decided here: what the file holds, and which file is taken. It is a JSON object:

    {"version": 1, "made": "2026-11-21T07:00:00Z", "scarcer": "vcpus",
     "requests": [{"cards": {"k40c": 1}, "vcpus": 2, "memory_mb": 4096, "times": 17}, ...],
     "open_hosts": ["gpu07", ...]}

`requests` says which servers were asked for and how often, those without cards and those that were
refused among them. On `open_hosts` ordinary servers may take what is kept for free cards elsewhere,
since the cloud has more cards than were ever asked for.
"""

from __future__ import annotations

import json
import math
from typing import Any, Iterable, NamedTuple, Tuple

from gpufarm_nova.reserve import Amounts

VERSION = 1
SCARCER = Amounts._fields
MOST_BYTES = 16 << 20
MOST_REQUESTS = 100_000
LARGEST = 1e12

Cards = Tuple[Tuple[str, int], ...]
"""Numbers of cards by model, in the order of the models' names."""


class Request(NamedTuple):
    """A kind of server: how often it was asked for, and what one takes."""

    cards: Cards
    vcpus: float
    memory_mb: float
    times: int = 1

    @property
    def size(self) -> int:
        """In cards."""
        return sum(number for _, number in self.cards)


class Lesson(NamedTuple):
    """`scarcer` is the one of vcpus and memory_mb that runs out first in this cloud."""

    requests: tuple[Request, ...]
    scarcer: str = "vcpus"
    open_hosts: frozenset[str] = frozenset()
    made: str = ""


class Broken(NamedTuple):
    """Why a text is no lesson."""

    problem: str


def of(requests: Iterable[Request], total: Amounts, **rest: Any) -> Lesson:
    """The lesson of `requests`, in a cloud of hosts that have `total` together."""
    times: dict[tuple[Cards, float, float], int] = {}
    for kind in requests:
        times[kind[:3]] = times.get(kind[:3], 0) + kind.times
    found = tuple(Request(*kind, number) for kind, number in sorted(times.items()))
    vcpus = sum(kind.times * kind.vcpus for kind in found)
    memory_mb = sum(kind.times * kind.memory_mb for kind in found)
    scarcer = "memory_mb" if memory_mb * total.vcpus > vcpus * total.memory_mb else "vcpus"
    return Lesson(found, scarcer, **rest)


def dumps(lesson: Lesson) -> str:
    """The text of the file; the same lesson gives the same text."""
    requests = [{**kind._asdict(), "cards": dict(kind.cards)} for kind in lesson.requests]
    content = {
        "version": VERSION,
        "made": lesson.made,
        "scarcer": lesson.scarcer,
        "requests": requests,
        "open_hosts": sorted(lesson.open_hosts),
    }
    return json.dumps(content, indent=1) + "\n"


def loads(text: str) -> Lesson | Broken:
    """What `dumps` wrote, and nothing else: unknown keys, another version, numbers that no server
    has are all Broken."""
    if len(text) > MOST_BYTES:
        return Broken("it is larger than any lesson")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Broken(f"it is not JSON: {error}")
    if not isinstance(content, dict):
        return Broken("it holds no object")
    if type(content.get("version")) is not int or content["version"] != VERSION:
        return Broken(f"its version is not {VERSION}: write it anew")
    try:
        return _lesson(**content)
    except (TypeError, ValueError, KeyError) as error:
        return Broken(str(error))


def _lesson(version: int, made: str, scarcer: str, requests: Any, open_hosts: Any) -> Lesson:  # noqa: ARG001
    if scarcer not in SCARCER:
        raise ValueError(f"scarcer: {scarcer!r} is neither of {SCARCER}")
    if not isinstance(made, str):
        raise TypeError("made: a text is needed")
    if not isinstance(requests, list) or len(requests) > MOST_REQUESTS:
        raise TypeError(f"requests: a list is needed, of {MOST_REQUESTS} at most")
    if not isinstance(open_hosts, list) or not all(isinstance(name, str) for name in open_hosts):
        raise TypeError("open_hosts: a list of names is needed")
    if not all(isinstance(each, dict) for each in requests):
        raise TypeError("requests: objects are needed")
    kinds = tuple(_request(place, **each) for place, each in enumerate(requests))
    return Lesson(kinds, scarcer, frozenset(open_hosts), made)


def _request(place: int, cards: Any, vcpus: Any, memory_mb: Any, times: Any) -> Request:
    where = f"requests[{place}]"
    if not isinstance(cards, dict):
        raise TypeError(f"{where}: cards: an object is needed")
    for number in (times, *cards.values()):
        if type(number) is not int or not 0 < number < LARGEST:
            raise ValueError(f"{where}: {number!r} is no number from 1 on")
    for amount in (vcpus, memory_mb):
        if type(amount) not in (int, float) or not 0 <= amount < LARGEST or math.isnan(amount):
            raise ValueError(f"{where}: {amount!r} is no amount")
    return Request(tuple(sorted(cards.items())), vcpus, memory_mb, times)
