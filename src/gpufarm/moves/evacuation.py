"""What is to be done next for a server whose host is dead: a pure function of where it stands.

What is decided here: that a server is evacuated only from a state in which Nova takes it and nobody
is at work on it, and when an evacuation is over. Nova makes the server anew on the other host, and
its migration is `done` once the server is there (nova 34, compute/manager.py, rebuild_instance;
compute/resource_tracker.py, finish_evacuation). The dead host's cards stay claimed until its
nova-compute has started again (compute/manager.py, _destroy_evacuated_instances).
"""

from gpufarm.model.claims import Migration
from gpufarm.model.moves import OVER, Move, Standing
from gpufarm.moves.plan import Case, Decision, End, Step, Wait

KIND = "evacuation"
FAILED = frozenset(("cancelled", "error", "failed"))
"""A server ends its task a moment before it is on the other host, and its migration `done`."""
TAKEN = ("ACTIVE", "ERROR", "SHUTOFF")
WHICH = f"and Nova evacuates only servers that are {' or '.join(TAKEN)}"
"""compute/api.py, evacuate"""


def begin(standing: Standing, target: str | None) -> Move:
    """The evacuation that is to be made, or the one that is under way already: not where its server
    was set to ERROR."""
    server, last = standing.server, standing.migration
    after = last.id if last else 0
    given_up = server.status == "ERROR" and server.task is None
    if last is not None and last.kind == KIND and last.status not in OVER and not given_up:
        after = last.id - 1
    return Move(
        server=server.id,
        source=server.host or "",
        target=target,
        running=server.status != "SHUTOFF",
        after=after,
        dead=True,
    )


def decide(case: Case) -> Decision:
    """The next step."""
    server, made = case.server, case.made
    if server.host != case.move.source and server.task is None:
        return _elsewhere(case)
    if made is not None and (server.task is not None or made.status not in FAILED):
        return _under_way(case, made)
    if server.task is not None:
        return _busy(case, server.task)
    if made is not None:
        return End("back", f"its evacuation {made.id} is {made.status}")
    if case.done.started:
        return Wait(f"{server.status}, to be evacuated")
    taken = server.status in TAKEN
    return Step("start") if taken else End("stopped", f"it is {server.status}, {WHICH}")


def _elsewhere(case: Case) -> Decision:
    server = case.server
    if server.status != "ERROR":
        return End("moved")
    return End(
        "stopped",
        f"it is in ERROR on {server.host}: put the cause right there, then `openstack server "
        f"reboot --hard {server.id}`",
    )


def _busy(case: Case, task: str) -> Decision:
    """Without an evacuation: it was asked for just now, or nobody goes on with the task."""
    if case.done.started:
        return Wait(f"{case.server.status} ({task})")
    return End(
        "stopped",
        f"{case.move.source} died in the middle of its {task}: look at it, end that with "
        f"`openstack server set --state active {case.server.id}`, then again",
    )


def _under_way(case: Case, made: Migration) -> Decision:
    target, server = made.target, case.server
    what = f"made anew on {target}" if target else "waiting for the scheduler"
    if target in case.standing.down:
        return End("stopped", f"nova-compute on {target} is down, where it is {what}: start it")
    if case.standing.at - max(server.updated, made.updated) < case.patience:
        return Wait(what)
    return End(
        "stopped",
        f"{what}, without a sign of life: `openstack server set --state error {server.id}` ends "
        "that, then again",
    )
