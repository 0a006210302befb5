"""The same work on many hosts at once.

What is decided here: that a host that fails hides no other one, and how hosts are taken in waves.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Generic, TypeVar

import msgspec

from gpufarm.host.target import Target
from gpufarm.model.errors import GpufarmError

AT_ONCE = 16
"""Hosts that are worked on at the same time; each is an ssh that mostly waits."""

T = TypeVar("T")


class Result(msgspec.Struct, Generic[T], frozen=True):
    """What came of one host: `value`, or the `error` that ended it."""

    target: Target
    value: T | None
    error: GpufarmError | None = None


def each(targets: Sequence[Target], work: Callable[[Target], T]) -> Iterator[Result[T]]:
    """The result of every host, as they come in."""

    def one(target: Target) -> Result[T]:
        try:
            return Result(target, work(target))
        except GpufarmError as error:
            return Result(target, None, error)

    with ThreadPoolExecutor(max_workers=min(AT_ONCE, max(len(targets), 1))) as pool:
        for done in as_completed([pool.submit(one, target) for target in targets]):
            yield done.result()


def in_waves(
    stages: Sequence[Sequence[Target]],
    size: int,
    work: Callable[[Target], T],
    *,
    keep_going: bool,
) -> Iterator[Result[T]]:
    """The same, `size` hosts at a time, and one stage after the other.

    After a wave with a failure no other one begins, unless asked.
    """
    for targets in stages:
        for start in range(0, len(targets), size):
            failed = False
            for result in each(targets[start : start + size], work):
                failed |= result.error is not None
                yield result
            if failed and not keep_going:
                return
