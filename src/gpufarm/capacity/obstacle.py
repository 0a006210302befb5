"""What keeps a server off a host: one reason, by its code, with its numbers and who gives it."""

from typing import Literal

import msgspec

Code = Literal[
    "NO_FREE_CARD",
    "CORDONED",
    "CARD_LEAKED",
    "NOT_ENOUGH_VCPU",
    "NOT_ENOUGH_MEMORY",
    "NOT_ENOUGH_DISK",
    "RESERVED_FOR_GPU",
    "RESERVE_USED",
    "TRAIT",
    "AGGREGATE",
    "ZONE",
    "PROJECT",
    "IMAGE",
    "HOST_DOWN",
    "HOST_DISABLED",
    "CAPABILITIES",
    "NUMA",
    "TOO_MANY_SERVERS",
    "QUOTA",
    "ALIAS_UNKNOWN",
    "FILTER_UNKNOWN",
    "CANDIDATE_LIMIT",
    "PLACEMENT",
    "HINTS",
    "LIVE_MIGRATION",
    "FAULT",
]
"""RESERVED_FOR_GPU: an ordinary server would take what is kept for free cards. RESERVE_USED: a
server with cards finds less than it draws of a hard reserve."""

LIMITS: dict[Code, str] = {
    "NO_FREE_CARD": "gpu",
    "CORDONED": "gpu",
    "CARD_LEAKED": "gpu",
    "NOT_ENOUGH_VCPU": "vcpu",
    "NOT_ENOUGH_MEMORY": "memory",
    "NOT_ENOUGH_DISK": "disk",
    "RESERVED_FOR_GPU": "reserve",
    "RESERVE_USED": "reserve",
    "TRAIT": "traits",
    "AGGREGATE": "aggregate",
    "ZONE": "aggregate",
    "PROJECT": "aggregate",
    "IMAGE": "aggregate",
    "HOST_DOWN": "host state",
    "HOST_DISABLED": "host state",
    "CAPABILITIES": "capabilities",
    "NUMA": "numa",
    "TOO_MANY_SERVERS": "servers of a host",
    "QUOTA": "quota",
    "CANDIDATE_LIMIT": "candidate limit",
}
"""What `capacity` prints under limited_by."""

PLACEMENT = "placement"
NOVA = "nova"
CLAIM = "nova-compute"
"""Sources; the others are a filter's name, and `quota`."""

UNKNOWN = "unknown"
"""Under `available` where no source tells."""


class Obstacle(msgspec.Struct, frozen=True):
    """`needed` and `available` are amounts, or a property and the values that the host has.

    `source` is who refuses. One that does not block is a doubt: who decides cannot be asked.
    """

    code: Code
    what: str
    needed: int | str
    available: int | str
    source: str = PLACEMENT
    blocks: bool = True
