"""Servers of both kinds asked for at once, of two schedulers: how often the reserve is overdrawn.

Two decisions of the same moment do not see each other, so that the scheduler's reserve may be taken
of; Placement's may not. After each round every card that is free is asked for. GPUFARM_RACE_ROUNDS
is how many rounds (2).
"""

import os
from typing import Any

import pytest
from reserve_lab import GPU, ReserveLab

pytestmark = [pytest.mark.lab, pytest.mark.split]

ROUNDS = int(os.environ.get("GPUFARM_RACE_ROUNDS", "2"))
CARDS = 4
AT_ONCE = [*["r.12"] * 9, GPU, *["r.12"] * 9, GPU]
"""16 of r.12 are all vCPUs of both hosts."""


def stranded(mixed: ReserveLab) -> tuple[int, int]:
    """(cards that were free after a round, how many of them no server could have)."""
    found = mixed.at_once(AT_ONCE)
    used = sum(each["status"] == "ACTIVE" and each["name"] == GPU for each in found)
    mixed.delete(*(each["id"] for each in found if each["status"] != "ACTIVE"))
    free = CARDS - used
    # One after another: at once they may fail at each other's cards.
    return free, free - sum(bool(mixed.start(GPU)) for _ in range(free))


@pytest.mark.parametrize("mode", ["dynamic", {"mode": "hard", "cpu_ratio": 4}], ids=str)
def test_servers_of_both_kinds_at_once(mixed: ReserveLab, mode: Any) -> None:
    mixed.keep(mode)
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(stranded(mixed))
        mixed.clear()
    free, lost = (sum(numbers) for numbers in zip(*rounds, strict=True))
    print(  # noqa: T201
        f"\n{mode}: {ROUNDS} rounds of {len(AT_ONCE)} servers; {lost} of {free} free cards "
        f"stranded, in {sum(bool(each) for _, each in rounds)} rounds"
    )
    assert mode == "dynamic" or lost == 0
    assert mixed.lab.run("claims", "check", "-f", "json").stdout.strip() == "[]"
