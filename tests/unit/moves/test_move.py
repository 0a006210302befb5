"""A move from every state, with every failure, ended and begun again at every call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_nova import NAMES, SERVER, ModelNova
from msgspec.structs import replace

from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.errors import CloudUnreachable, NotAdmitted, ServerNotMoved
from gpufarm.model.moves import Move, Standing
from gpufarm.moves.apply import Limits, Moved, carry_out
from gpufarm.moves.plan import Case, Done, End, Step, Wait, begin, decide

LIMITS = Limits(timeout=3600, patience=600)
PLACES = [None, *(name for name in NAMES if name not in {"verify", "done"})]


MOVE = Move(server=SERVER, source="a", target=None, running=True, after=0)


def nothing() -> None:
    """Admitted."""


def run(nova: ModelNova, move: Move | None = None, target: str | None = None) -> Moved:
    if move is None:
        standing = nova.look(SERVER)
        assert standing
        move = begin(standing, target)
    return carry_out(nova, move, LIMITS, lambda _: None, nothing)


def ends(nova: ModelNova, move: Move | None = None) -> str:
    try:
        return f"moved to {run(nova, move).host}"
    except ServerNotMoved as error:
        early = " and healed too early" if "too early" in error.problem else ""
        return f"back={error.back}{early}"


def test_a_move() -> None:
    nova = ModelNova()
    assert run(nova).host == "b"
    assert [call for call in nova.calls if call != "look"] == ["migrate", "confirm", "heal"]
    assert nova.runs


@pytest.mark.parametrize("status", ["ACTIVE", "SHUTOFF"])
@pytest.mark.parametrize("fails", PLACES)
def test_what_ran_runs_again(status: str, fails: str | None) -> None:
    nova = ModelNova(status=status, fails=fails)
    where = ends(nova)
    assert nova.server.task is None
    assert where == ("back=True" if fails in {"prep", "migrating"} else "moved to b")
    assert nova.server.host == ("a" if fails in {"prep", "migrating"} else "b")
    if status == "ACTIVE":
        assert nova.runs
        assert nova.server.status == "ACTIVE"


def test_it_is_started_once_the_other_host_has_freed_its_cards() -> None:
    nova = ModelNova(fails="finish")
    nova.frees_at = 60.0
    assert run(nova).host == "b"
    assert nova.runs


def test_it_is_not_started_while_the_other_host_keeps_them() -> None:
    nova = ModelNova(fails="finish")
    nova.frees_at = 1e9
    with pytest.raises(ServerNotMoved, match="reboot --hard"):
        run(nova)
    assert "restart" not in nova.calls


def test_a_confirmation_that_failed_restarts_nothing() -> None:
    nova = ModelNova(fails="confirm")
    moved = run(nova)
    assert "restart" not in nova.calls
    assert "boom" in moved.notes[0]


@pytest.mark.parametrize("hangs", PLACES)
def test_what_hangs_is_healed(hangs: str | None) -> None:
    nova = ModelNova(hangs=hangs)
    where = ends(nova)
    assert nova.server.status == "ACTIVE"
    assert where == ("back=True" if hangs in {"prep", "migrating"} else "moved to b")
    if hangs not in {"prep", "migrating"}:
        assert nova.runs
    assert nova.clock < LIMITS.timeout


def test_what_was_copied_by_then_is_named() -> None:
    with pytest.raises(ServerNotMoved, match=f"stays on b: .* {SERVER} among .*, if there is one"):
        run(ModelNova(hangs="migrating"))


def test_what_was_copied_by_then_is_named_where_nova_could_not_start_it_again() -> None:
    """Seen with Nova 34: the source was started anew, and set the server to ERROR."""
    nova = ModelNova()
    nova.migrate(MOVE)
    nova._enter("migrating")
    nova._set(status="ERROR", task=None)
    with pytest.raises(ServerNotMoved, match=r"back on a, ACTIVE: .* stays on b: ") as stopped:
        run(nova)
    assert stopped.value.back
    assert nova.runs


@pytest.mark.parametrize(
    "fault",
    [KeyboardInterrupt(), CloudUnreachable("no answer")],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("fails", PLACES)
@pytest.mark.parametrize("recorded", [True, False])
def test_ended_at_any_call_the_next_run_goes_on(
    fault: BaseException, fails: str | None, recorded: bool
) -> None:
    whole = ModelNova(fails=fails)
    expected = ends(whole)
    for number in range(1, len(whole.calls)):
        nova = ModelNova(fails=fails)
        nova.raises = {number: fault}
        standing = nova.look(SERVER)
        assert standing
        move = begin(standing, None)
        with pytest.raises(type(fault)):
            run(nova, move)
        begun = nova.migration is not None
        if recorded or (begun and nova.server.status not in {"ACTIVE", "SHUTOFF"}):
            assert ends(nova, move if recorded else None) == expected
            assert nova.server.status == "ACTIVE"
            assert nova.migration
            assert nova.migration.id == 1, "it was moved once"


def test_refused_before_anything_is_asked() -> None:
    nova = ModelNova()

    def refuse() -> None:
        raise NotAdmitted("f", "all in use")

    with pytest.raises(NotAdmitted):
        carry_out(nova, MOVE, LIMITS, lambda _: None, refuse)
    assert nova.calls == ["look"]


def test_a_compute_that_is_down_is_named() -> None:
    nova = ModelNova(hangs="migrating")
    nova.down = frozenset({"a"})
    with pytest.raises(ServerNotMoved, match="nova-compute on a is down") as stopped:
        run(nova)
    assert not stopped.value.back


def test_a_source_that_was_started_anew_before_it_read_what_it_was_to_do() -> None:
    """Seen with Nova 34: ERROR with a task, the migration in error, and the guest runs."""
    nova = ModelNova()
    nova.migrate(MOVE)
    nova._fail("migrating")
    nova._set(task="resize_migrating")
    with pytest.raises(ServerNotMoved, match="back on a, ACTIVE: boom") as stopped:
        run(nova)
    assert stopped.value.back
    assert "restart" not in nova.calls


def test_the_time_is_over_and_it_goes_on() -> None:
    nova = ModelNova(hangs="finish")
    with pytest.raises(ServerNotMoved, match="run this again"):
        carry_out(nova, MOVE, Limits(timeout=60, patience=600), lambda _: None, nothing)
    assert run(nova, MOVE).host == "b"


def test_a_resize_of_its_user_is_left_alone() -> None:
    nova = ModelNova()
    nova.migrate(MOVE)
    assert nova.migration
    nova.migration = replace(nova.migration, kind="resize")
    with pytest.raises(ServerNotMoved, match="waits for its user"):
        run(nova)


def test_it_waits_on_another_host_than_was_asked_for() -> None:
    nova = ModelNova()
    nova.migrate(MOVE)
    nova._enter("verify")
    with pytest.raises(ServerNotMoved, match="resize revert"):
        run(nova, target="c")
    assert run(nova, target="b").host == "b"


def test_it_is_there_already() -> None:
    nova = ModelNova()
    assert run(nova, target="a").host == "a"
    assert "migrate" not in nova.calls


@pytest.mark.parametrize("status", ["PAUSED", "SHELVED_OFFLOADED", "RESCUE", "UNKNOWN"])
def test_what_nova_does_not_move(status: str) -> None:
    nova = ModelNova(status=status)
    with pytest.raises(ServerNotMoved, match=status):
        run(nova)
    assert "migrate" not in nova.calls


WORDS = st.sampled_from(
    ["ACTIVE", "SHUTOFF", "ERROR", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "PAUSED", "odd"]
)
TASKS = st.sampled_from(
    [
        *(None, "resize_prep", "resize_migrating", "resize_migrated", "resize_finish", "deleting"),
        *("reboot_pending_hard", "odd"),
    ]
)
STATES = st.sampled_from(
    [
        *("pre-migrating", "migrating", "post-migrating", "finished", "confirming", "confirmed"),
        *("reverting", "reverted", "error", "failed", "accepted", "odd"),
    ]
)
HOSTS = st.sampled_from(["a", "b", "c"])
SERVERS = st.builds(
    ServerState,
    id=st.just(SERVER),
    name=st.just("t"),
    status=WORDS,
    task=TASKS,
    host=st.none() | HOSTS,
    updated=st.floats(0, 1000),
    launched=st.booleans(),
)
MIGRATIONS = st.none() | st.builds(
    Migration,
    id=st.integers(1, 9),
    uuid=st.just("m"),
    server=st.just(SERVER),
    status=STATES,
    kind=st.sampled_from(["migration", "resize", "live-migration", "evacuation"]),
    source=st.none() | HOSTS,
    target=st.none() | HOSTS,
    updated=st.floats(0, 1000),
)
STANDINGS = st.builds(
    Standing,
    server=SERVERS,
    migration=MIGRATIONS,
    down=st.frozensets(HOSTS),
    at=st.floats(0, 2000),
)
DONE = st.builds(
    Done,
    started=st.booleans(),
    confirmed=st.booleans(),
    restarted=st.booleans(),
    settled=st.booleans(),
    healed=st.booleans(),
)


@given(STANDINGS, DONE, st.none() | HOSTS, st.integers(0, 9))
def test_every_state_has_a_decision(
    standing: Standing, done: Done, target: str | None, after: int
) -> None:
    move = Move(server=SERVER, source="a", target=target, running=True, after=after)
    decision = decide(Case(move, standing, done, 600))
    match decision:
        case Step("start"):
            assert not done.started
            assert standing.server.task is None
            assert standing.server.host != target
        case Step("confirm"):
            assert not done.confirmed
            assert standing.migration
            assert standing.migration.status == "finished"
        case Step("restart" | "settle" as what):
            assert not getattr(done, {"restart": "restarted", "settle": "settled"}[what])
            assert standing.server.task != "reboot_pending_hard", "it would end that"
        case Step("heal"):
            assert not done.healed
        case Wait(what) | End(_, what):
            assert what or isinstance(decision, End)


@given(STANDINGS, st.none() | HOSTS)
def test_a_new_run_knows_what_is_under_way(standing: Standing, target: str | None) -> None:
    move = begin(standing, target)
    last = standing.migration
    assert move.target == target
    if last is not None and standing.server.status == "VERIFY_RESIZE" and last.kind == "migration":
        assert move.after < last.id
