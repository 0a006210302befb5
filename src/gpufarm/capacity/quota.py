"""How many servers a project's quota still lets start.

What is decided here: Nova's own three limits, which it checks before anything else
(nova/compute/utils.py, check_num_instances_quota; nova/limit/local.py and placement.py).
"""

from gpufarm.capacity.obstacle import Obstacle
from gpufarm.capacity.rooms import Need
from gpufarm.model.cloud import Limit

SOURCE = "quota"


def most(limits: tuple[Limit, ...], wanted: Need) -> int | None:
    """How many such servers the quota lets start; None where it sets no limit."""
    return min(
        (
            max(0, limit.limit - limit.used) // amount
            for limit in limits
            if limit.limit >= 0 and (amount := _amount(limit.name, wanted))
        ),
        default=None,
    )


def obstacles(limits: tuple[Limit, ...], wanted: Need, servers: int = 1) -> tuple[Obstacle, ...]:
    """What keeps `servers` more such servers of the project from starting."""
    return tuple(
        Obstacle("QUOTA", limit.name, needed, max(0, limit.limit - limit.used), SOURCE)
        for limit in limits
        if limit.limit >= 0
        and (needed := servers * _amount(limit.name, wanted)) > limit.limit - limit.used
        and needed
    )


def _amount(name: str, wanted: Need) -> int:
    """What one server counts for under the limit of that name."""
    counted = {"instances": 1, "cores": wanted.vcpus, "ram": wanted.memory_mb}
    return counted.get(name, 0)
