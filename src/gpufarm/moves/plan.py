"""What is to be done next for a server that moves: a pure function of where it stands.

What is decided here: the next step from every state in which Nova, a nova-compute that died, or an
interrupted gpufarm may have left the server. Nova ends a server's task after it has settled the
migration and the allocations (nova 34, conductor/tasks/migrate.py, rollback; compute/manager.py,
errors_out_migration_ctxt inside _error_out_instance_on_exception), so that a migration under way of
a server without a task is one that nobody goes on with.
"""

from typing import Literal

import msgspec

from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.moves import OVER, Move, Standing

WAITS = "VERIFY_RESIZE"
COLD = frozenset(("migration", "resize"))
OFF = frozenset(("migrating", "post-migrating"))
"""States of a migration in which the source has turned the guest off, and the target has not turned
it on."""


class Wait(msgspec.Struct, frozen=True):
    """Nova is at work; `what` says at what."""

    what: str


class Step(msgspec.Struct, frozen=True):
    """`start` the move, `confirm` it, `restart` the server with a hard reboot, `settle` one that
    runs and is in ERROR, or `heal` the claims of a move that nobody goes on with."""

    do: Literal["start", "confirm", "restart", "settle", "heal"]


class End(msgspec.Struct, frozen=True):
    """`moved`, `back` where it was, or `stopped` in between. `said` is what is to be done, or why.

    `cleaned`: Nova has confirmed the move, so that the source is clean.
    """

    how: Literal["moved", "back", "stopped"]
    said: str = ""
    cleaned: bool = True


Decision = Wait | Step | End


class Done(msgspec.Struct, frozen=True):
    """Which steps this run has taken already: none is taken twice."""

    started: bool = False
    confirmed: bool = False
    restarted: bool = False
    settled: bool = False
    healed: bool = False
    off: bool = False
    """Whether the guest was off when the move was found to hang."""


class Case(msgspec.Struct, frozen=True):
    """What a decision is made on; a task without a sign of life for `patience` seconds is given
    up."""

    move: Move
    standing: Standing
    done: Done
    patience: float

    @property
    def server(self) -> ServerState:
        return self.standing.server

    @property
    def over(self) -> bool:
        """Whether Nova has given the move up, or ended it."""
        return self.made is not None and self.made.status in OVER

    @property
    def made(self) -> Migration | None:
        """The migration of this move, once Nova has made it."""
        last = self.standing.migration
        return last if last is not None and last.id > self.move.after else None


def begin(standing: Standing, target: str | None) -> Move:
    """The move that is to be made, or the one that is under way already."""
    server, last = standing.server, standing.migration
    if last is not None and _under_way(server, last):
        return Move(
            server=server.id,
            source=last.source or server.host or "",
            target=target,
            running=True,
            after=last.id - 1,
        )
    return Move(
        server=server.id,
        source=server.host or "",
        target=target,
        running=server.status != "SHUTOFF",
        after=last.id if last else 0,
    )


def _under_way(server: ServerState, last: Migration) -> bool:
    if last.kind not in COLD:
        return False
    return last.status not in OVER or server.status in {WAITS, "RESIZE", "ERROR"}


def decide(case: Case) -> Decision:
    """The next step."""
    made, server = case.made, case.server
    if made is not None and made.kind == "resize":
        return End(
            "stopped",
            "its resize to another flavor waits for its user: `openstack server resize confirm` "
            f"or `openstack server resize revert {server.id}`, then again",
        )
    if server.task is not None:
        return _busy(case, server.task)
    match server.status:
        case "VERIFY_RESIZE":
            return _waiting(case)
        case "ERROR":
            return _failed(case)
        case "ACTIVE" | "SHUTOFF":
            return _settled(case)
    return End(
        "stopped", f"it is {server.status}, and Nova moves only servers that are ACTIVE or SHUTOFF"
    )


def _busy(case: Case, task: str) -> Decision:
    if task == "deleting":
        return End("stopped", "it is being deleted")
    if not task.startswith("resize_"):
        return Wait(f"{case.server.status} ({task})")
    if case.server.status == "ERROR" and case.over and not case.done.settled:
        # A source that was started anew in resize_prep, and then read what it was to do: it fails
        # before it touches the guest (compute/manager.py, _init_instance, _resize_instance).
        return Step("settle")
    if task == "resize_migrating":
        return _of_compute(case, case.move.source, task)
    return _of_compute(case, case.made.target if case.made else None, task)


def _of_compute(case: Case, who: str | None, what: str) -> Decision:
    """Wait for that nova-compute, unless it is down or shows no sign of life."""
    if who in case.standing.down:
        return End("stopped", f"nova-compute on {who} is down in {what}: start it, then again")
    where = what + (f" on {who}" if who else "")
    made = case.made
    if made is None or case.standing.at - max(case.server.updated, made.updated) < case.patience:
        return Wait(where)
    return _heal(case, f"{where} shows no sign of life")


def _heal(case: Case, what: str) -> Decision:
    return End("stopped", what) if case.done.healed else Step("heal")


def _waiting(case: Case) -> Decision:
    made, server = case.made, case.server
    if made is None:
        return End("stopped", "an earlier move of it waits to be confirmed or reverted")
    if made.status == "confirming" or case.done.confirmed:
        return _of_compute(case, made.source, "cleaning up")
    if made.status != "finished":
        return Wait(f"its migration, which is {made.status}")
    if case.move.target not in {None, server.host}:
        return End(
            "stopped",
            f"it has been moved to {server.host} and waits to be confirmed: `openstack server "
            f"resize revert {server.id}` takes it back to {made.source}, `gpufarm server migrate "
            f"{server.id}` without --to confirms it",
        )
    if made.source in case.standing.down:
        return End(
            "stopped",
            f"it runs on {server.host}, and nova-compute on {made.source} is down, which has to "
            "clean up: start it, then again",
        )
    return Step("confirm")


def _failed(case: Case) -> Decision:
    server = case.server
    if case.made is None:
        return End("stopped", f"it is in ERROR: `gpufarm explain {server.id}` may say why")
    if case.done.confirmed and not case.done.settled:
        return Step("settle")
    if case.done.restarted:
        return End(
            "stopped",
            f"it is in ERROR on {server.host}, also after a hard reboot: put the cause right, then "
            f"`openstack server reboot --hard {server.id}`",
        )
    return Step("restart")


def _settled(case: Case) -> Decision:
    made, move, done, host = case.made, case.move, case.done, case.server.host
    away = host != move.source
    if made is None:
        if away or host == move.target:
            return End("moved")
        return End("back") if done.started else Step("start")
    if made.status not in OVER:
        hangs = f"its migration {made.id} is {made.status}, and nobody goes on with it"
        # One of a server that runs ends after the server's task.
        return _heal(case, hangs) if made.kind in COLD else Wait(f"its {made.status} migration")
    # A server that was taken out of a task that hung was set ACTIVE, whether it runs or not.
    off = done.off or case.server.status == "SHUTOFF"
    clean = made.status in {"confirmed", "completed"}
    if move.running and off and not done.restarted and not clean:
        return Step("restart")
    if away:
        return End("moved", cleaned=clean)
    return End("back", f"migration {made.id} is {made.status}")
