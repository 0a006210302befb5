"""What can be wrong with a claim; docs/reference/claims.md explains each."""

import msgspec


class Code(msgspec.Struct, frozen=True):
    means: str


ALLOCATION_LEFT_BEHIND = "ALLOCATION_LEFT_BEHIND"
MIGRATION_STUCK = "MIGRATION_STUCK"
BUILD_STUCK = "BUILD_STUCK"
ROW_LEFT_BEHIND = "ROW_LEFT_BEHIND"
CARD_GONE = "CARD_GONE"
CONSUMER_UNKNOWN = "CONSUMER_UNKNOWN"
IN_USE_UNKNOWN = "IN_USE_UNKNOWN"
NOT_BOUND_TO_VFIO = "NOT_BOUND_TO_VFIO"
CLAIMED_TWICE = "CLAIMED_TWICE"
ALLOCATION_MISSING = "ALLOCATION_MISSING"
HOST_GONE = "HOST_GONE"

CODES = {
    ALLOCATION_LEFT_BEHIND: Code("Placement holds a card for a server that has none or another"),
    MIGRATION_STUCK: Code("a migration ended in the middle and holds cards of both sides"),
    BUILD_STUCK: Code("a server that was never built holds a card"),
    ROW_LEFT_BEHIND: Code("Nova's table has a card for a server that is gone or elsewhere"),
    CARD_GONE: Code("a card that the host no longer has"),
    CONSUMER_UNKNOWN: Code("Placement holds a card for something that does not exist"),
    IN_USE_UNKNOWN: Code("a guest has a card, and Nova does not know"),
    NOT_BOUND_TO_VFIO: Code("a free card that another driver of the host has"),
    CLAIMED_TWICE: Code("two servers have one card"),
    ALLOCATION_MISSING: Code("a server has a card that Placement counts as free"),
    HOST_GONE: Code("cards of a host that Nova no longer knows"),
}
