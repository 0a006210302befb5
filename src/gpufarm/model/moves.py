"""Moving a server to another host: what is to be done, and where it stands."""

import msgspec

from gpufarm.model.claims import Migration, ServerState

OVER = frozenset(("cancelled", "completed", "confirmed", "done", "error", "failed", "reverted"))
"""States of a migration with which Nova does not go on (nova/db/main/api.py,
migration_get_in_progress_and_error_by_host_and_node, and `error`)."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the values below."""


class Move(Value, frozen=True):
    """What began: `server` is an id, `target` the host that was asked for, if one was.

    `running` says whether it ran before, `after` is the number of its newest migration before
    this one, 0 without any. `live`: it is moved while it runs. `dead`: its host is, and it is made
    anew on another one.
    """

    server: str
    source: str
    target: str | None
    running: bool
    after: int
    live: bool = False
    dead: bool = False


class Standing(Value, frozen=True):
    """One reading of a server: its newest migration, whatever became of that, and the
    nova-computes that are down. `at` is when it was read, seconds since 1970."""

    server: ServerState
    migration: Migration | None
    down: frozenset[str]
    at: float
