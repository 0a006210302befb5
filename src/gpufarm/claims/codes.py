"""What can be wrong with a claim; docs/reference/claims.md explains each."""

ALLOCATION_LEFT_BEHIND = "ALLOCATION_LEFT_BEHIND"
MIGRATION_STUCK = "MIGRATION_STUCK"
BUILD_STUCK = "BUILD_STUCK"
ROW_LEFT_BEHIND = "ROW_LEFT_BEHIND"
CARD_GONE = "CARD_GONE"
NOT_OFFERED = "NOT_OFFERED"
CONSUMER_UNKNOWN = "CONSUMER_UNKNOWN"
IN_USE_UNKNOWN = "IN_USE_UNKNOWN"
NOT_IN_GUEST = "NOT_IN_GUEST"
NOT_BOUND_TO_VFIO = "NOT_BOUND_TO_VFIO"
CLAIMED_TWICE = "CLAIMED_TWICE"
ALLOCATION_MISSING = "ALLOCATION_MISSING"
HOST_GONE = "HOST_GONE"

CODES: dict[str, str] = {
    ALLOCATION_LEFT_BEHIND: "Placement holds a card for a server that has none or another",
    MIGRATION_STUCK: "a migration ended in the middle and holds cards of both sides",
    BUILD_STUCK: "a server that was never built holds a card",
    ROW_LEFT_BEHIND: "Nova's table has a card for a server that is gone or elsewhere",
    CARD_GONE: "a card that the host no longer has",
    NOT_OFFERED: "a card in use that the settings of its host no longer offer",
    CONSUMER_UNKNOWN: "Placement holds a card for something that does not exist",
    IN_USE_UNKNOWN: "a guest has a card, and Nova does not know",
    NOT_IN_GUEST: "a server runs without a card that Nova has for it",
    NOT_BOUND_TO_VFIO: "a free card that another driver of the host has",
    CLAIMED_TWICE: "two servers have one card",
    ALLOCATION_MISSING: "a server has a card that Placement counts as free",
    HOST_GONE: "cards of a host that Nova no longer knows",
}
