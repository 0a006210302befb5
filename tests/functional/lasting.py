"""What many tests share, ended after the last of them.

pytest's package scope lasts until the session ends where folders of tests are no Python packages,
and each idle lab or virtual host takes some of the processors from the tests that follow.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

Wanted = Callable[[pytest.Item], bool]

_shared: list[tuple[Wanted, Callable[[], object]]] = []


def end_after(wanted: Wanted, end: Callable[[], object]) -> None:
    """Call `end` once the next test is none that it is `wanted` for."""
    _shared.append((wanted, end))


def inside(folder: Path) -> Wanted:
    """Wanted for the tests in that folder."""
    return lambda item: item.path.is_relative_to(folder)


def end_before(following: pytest.Item | None) -> None:
    """End what the test that follows, if one does, has no use for; the newest first."""
    for each in [*reversed(_shared)]:
        wanted, end = each
        if following is None or not wanted(following):
            _shared.remove(each)
            end()
