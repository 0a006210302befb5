"""How many servers a project's quota still lets start.

What is decided here: what one server counts for under Nova's own three limits, which it checks
before anything else (nova/compute/utils.py, check_num_instances_quota), and under Keystone's, of
which there may be one for each resource class (nova/limit/placement.py, _get_deltas; those of cards
since Nova 34).
"""

from gpufarm.capacity import request
from gpufarm.capacity.obstacle import Obstacle
from gpufarm.capacity.rooms import Need
from gpufarm.model.cloud import Limit

SOURCE = "quota"


def most(limits: tuple[Limit, ...], wanted: Need) -> int | None:
    """How many such servers the quota lets start; None where it sets no limit."""
    counted = _amounts(wanted)
    return min(
        (
            max(0, limit.limit - limit.used) // amount
            for limit in limits
            if limit.limit >= 0 and (amount := counted.get(limit.name, 0))
        ),
        default=None,
    )


def obstacles(limits: tuple[Limit, ...], wanted: Need, servers: int = 1) -> tuple[Obstacle, ...]:
    """What keeps `servers` more such servers of the project from starting."""
    counted = _amounts(wanted)
    return tuple(
        Obstacle("QUOTA", limit.name, needed, max(0, limit.limit - limit.used), SOURCE)
        for limit in limits
        if limit.limit >= 0
        and (needed := servers * counted.get(limit.name, 0)) > limit.limit - limit.used
        and needed
    )


def under_keystone(wanted: Need) -> dict[str, int]:
    """{limit: what one server counts for}."""
    classes = {f"class:{name}": amount for name, amount in request.total(wanted).items()}
    return {"servers": 1, **classes}


def _amounts(wanted: Need) -> dict[str, int]:
    """The same, and under Nova's own limits: a cloud has one kind or the other."""
    own = {"instances": 1, "cores": wanted.vcpus, "ram": wanted.memory_mb}
    return own | under_keystone(wanted)
