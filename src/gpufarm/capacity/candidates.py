"""Placement's list of candidates, which it cuts where it gets long.

What is decided here: when hosts that a filter then refuses may fill the list, so that one that
would take the server is not looked at. Which part of a longer list is kept is undefined: Placement
keeps a set (placement/objects/allocation_candidate.py, _merge_candidates), so it has to be asked.
"""

from collections.abc import Iterable
from math import perm, prod
from typing import Literal

from gpufarm.capacity.filters import of_filters
from gpufarm.capacity.obstacles import Rules, obstacles, of_placement
from gpufarm.capacity.rooms import Need, Room
from gpufarm.model.cloud import Candidates

Hidden = Literal["none", "some", "all"]


def crowded(found: Iterable[Room], wanted: Need, by: Rules) -> bool:
    """Whether hosts that are offered and refused may fill the list while another would do."""
    taken, fits = 0, False
    for room in found:
        if any(of_placement(room, wanted, by)):
            continue
        if any(each.blocks for each in of_filters(room, wanted, by.scheduler)):
            taken += ways(room, wanted)
        else:
            fits = True
    return fits and taken >= by.scheduler.max_candidates


def hidden(found: Iterable[Room], wanted: Need, by: Rules, answer: Candidates | None) -> Hidden:
    """How many of the hosts that would take a server are not on the list; without one, `none`."""
    if answer is None or answer.ways < by.scheduler.max_candidates:
        return "none"
    fitting = [room for room in found if not obstacles(room, wanted, by)]
    listed = [room for room in fitting if room.root in answer.roots]
    return "none" if len(listed) == len(fitting) else "some" if listed else "all"


def ways(room: Room, wanted: Need) -> int:
    """To choose the cards on the host, one group for each; the VFs of a PF counted as if they were
    apart, which may be too many."""
    return prod(perm(room.cards.get(name, 0), number) for name, number in wanted.cards.items())
