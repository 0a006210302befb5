"""An evacuation from every state, failed, ended and begun again at every call."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_nova import SERVER, OneServer
from msgspec.structs import replace

from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.errors import CloudUnreachable, ServerNotMoved
from gpufarm.model.moves import Move, Standing
from gpufarm.moves import evacuation
from gpufarm.moves.apply import Limits, Moved, carry_out
from gpufarm.moves.plan import Case, Done, End, Step, Wait

LIMITS = Limits(timeout=3600, patience=600)
STEPS = ("accepted", "pre-migrating", "done")


class DeadHost(OneServer):
    """Nova as far as an evacuation of the server on host a goes; `fails` and `hangs` name the
    state of the migration from which it goes no further."""

    def __init__(
        self, *, status: str = "ACTIVE", fails: str | None = None, hangs: str | None = None
    ) -> None:
        super().__init__(status=status, fails=fails, hangs=hangs)
        self.down = frozenset({"a"})

    def migrate(self, move: Move) -> None:
        self._call("migrate")
        assert move.dead
        assert self.server.host == "a"
        assert self.server.task is None, "Nova is at work on it"
        self.migration = Migration(
            id=self.migration.id + 1 if self.migration else 1,
            uuid="m",
            server=SERVER,
            status="accepted",
            kind=evacuation.KIND,
            source="a",
            target=None,
            updated=self.clock,
        )
        self._set(status="REBUILD", task="rebuilding")

    def pause(self, seconds: float) -> None:
        self.clock += seconds
        last = self.migration
        if last is None or last.status not in STEPS[:2] or last.status == self.hangs:
            return
        if last.status == self.fails:
            self.migration = replace(last, status="failed", updated=self.clock)
            self._set(status="ERROR", task=None)
            return
        if last.status == "pre-migrating" and self.server.task:
            self._set(status="ACTIVE", task=None)  # a moment before it is on the other host
            return
        step = STEPS[STEPS.index(last.status) + 1]
        self.migration = replace(last, status=step, target="b", updated=self.clock)
        if step == "done":
            status = "SHUTOFF" if self.before == "SHUTOFF" else "ACTIVE"
            self._set(status=status, task=None, host="b")

    def _never(self, *_: Any) -> Any:
        raise AssertionError("none of this is done for a server of a dead host")

    confirm = restart = settle = kept = _never

    def heal(self, _: Move, host: str) -> tuple[str, ...]:
        assert host == "b", "nothing on the dead host can be healed"
        return ()


def run(nova: DeadHost) -> Moved:
    """As a new run does: nothing of an evacuation is kept between two."""
    move = evacuation.begin(nova.look(SERVER), "b")
    return carry_out(nova, move, LIMITS, lambda _: None, lambda: None)


@pytest.mark.parametrize("status", evacuation.TAKEN)
def test_a_server_is_evacuated(status: str) -> None:
    nova = DeadHost(status=status)
    assert run(nova).host == "b"
    assert nova.calls.count("migrate") == 1
    assert nova.server.status == ("SHUTOFF" if status == "SHUTOFF" else "ACTIVE")


@pytest.mark.parametrize("fails", STEPS[:2])
def test_one_that_failed_says_why_and_is_tried_anew_by_the_next_run(fails: str) -> None:
    nova = DeadHost(fails=fails)
    with pytest.raises(ServerNotMoved, match="still on a, which is dead, ERROR: boom") as stopped:
        run(nova)
    assert stopped.value.back
    nova.fails = None
    assert run(nova).host == "b"
    assert nova.calls.count("migrate") == 2


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), CloudUnreachable("no answer")])
def test_ended_at_any_call_the_next_run_goes_on(fault: BaseException) -> None:
    whole = DeadHost()
    run(whole)
    for number in range(1, len(whole.calls)):
        nova = DeadHost()
        nova.raises = {number: fault}
        with pytest.raises(type(fault)):
            run(nova)
        if nova.server.host == "a":
            assert run(nova).host == "b"
        assert nova.migration
        assert nova.migration.id == 1, "it was evacuated once"


@pytest.mark.parametrize("hangs", STEPS[:2])
def test_one_that_hangs_is_named_with_what_to_do(hangs: str) -> None:
    nova = DeadHost(hangs=hangs)
    with pytest.raises(ServerNotMoved, match="without a sign of life") as stopped:
        run(nova)
    assert f"set --state error {SERVER}" in str(stopped.value)
    assert nova.clock >= LIMITS.patience
    nova.hangs = None
    nova._set(status="ERROR", task=None)
    assert run(nova).host == "b"


def test_a_target_that_dies_too_is_named() -> None:
    nova = DeadHost(hangs="pre-migrating")
    nova.down = frozenset({"a", "b"})
    with pytest.raises(ServerNotMoved, match="nova-compute on b is down"):
        run(nova)


@pytest.mark.parametrize("task", ["resize_migrating", "deleting", "rebooting"])
def test_a_task_that_died_with_the_host_is_left_alone(task: str) -> None:
    nova = DeadHost()
    nova._set(task=task)
    with pytest.raises(ServerNotMoved, match=f"in the middle of its {task}"):
        run(nova)
    assert "migrate" not in nova.calls


@pytest.mark.parametrize("status", ["VERIFY_RESIZE", "PAUSED", "SHELVED_OFFLOADED", "UNKNOWN"])
def test_what_nova_does_not_evacuate(status: str) -> None:
    nova = DeadHost(status=status)
    with pytest.raises(ServerNotMoved, match=status):
        run(nova)
    assert "migrate" not in nova.calls


MIGRATIONS = st.builds(
    Migration,
    id=st.integers(1, 3),
    uuid=st.just("m"),
    server=st.just(SERVER),
    status=st.sampled_from((*STEPS, "failed", "error", "completed", "finished", "migrating")),
    kind=st.sampled_from(("evacuation", "migration", "resize", "live-migration")),
    source=st.sampled_from(("a", "b")),
    target=st.sampled_from(("a", "b", None)),
    updated=st.floats(0, 1000),
)
SERVERS = st.builds(
    ServerState,
    id=st.just(SERVER),
    name=st.just("t"),
    status=st.sampled_from((*evacuation.TAKEN, "REBUILD", "VERIFY_RESIZE", "RESIZE", "PAUSED")),
    task=st.sampled_from((None, "rebuilding", "rebuild_spawning", "resize_migrating", "deleting")),
    host=st.sampled_from(("a", "b")),
    updated=st.floats(0, 1000),
    launched=st.just(True),
)


@given(SERVERS, st.none() | MIGRATIONS, st.sets(st.sampled_from(("a", "b"))), st.booleans())
def test_only_a_server_that_sits_still_on_its_host_is_evacuated(
    server: ServerState, migration: Migration | None, down: set[str], started: bool
) -> None:
    standing = Standing(server=server, migration=migration, down=frozenset(down), at=1000.0)
    move = evacuation.begin(standing, None)
    decision = evacuation.decide(Case(move, standing, Done(started=started), 600.0))
    assert isinstance(decision, Wait | Step | End)
    if isinstance(decision, Step):
        assert decision.do == "start"
        assert not started
        assert (server.task, server.status in evacuation.TAKEN) == (None, True)
        assert migration is None or migration.id <= move.after
