"""Carrying a move through: look, decide, take one step, and look again.

What is decided here: how long is waited, and that every step is taken once. Whatever ends this in
the middle, the next run finds the server where it stands and goes on.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.errors import ServerNotMoved
from gpufarm.model.moves import Move, Standing
from gpufarm.moves import evacuation, plan
from gpufarm.moves.plan import OFF, Case, Done, End, Step

FIRST_WAIT = 0.5
LONGEST_WAIT = 5.0
SETTLING_SECONDS = 2.0
"""Nova gives back what a move that failed holds in Placement a moment after the server's task has
ended (nova 34, compute/manager.py, resize_instance); until then its rows look right."""
FREED_SECONDS = 180.0
"""Three reports of nova-compute (update_resources_interval, by default a minute)."""

Told = Callable[[str], None]


class Limits(msgspec.Struct, frozen=True):
    """Seconds: how long is waited in all, and after which a task counts as given up."""

    timeout: float
    patience: float


class Moved(msgspec.Struct, frozen=True):
    """A server that is on another host. `notes` are what is to be known of how, `left` what still
    has to be put right."""

    host: str
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Door(Protocol):
    """What the steps go through; the first argument is a server's id. Each raises CloudError."""

    def look(self, server: str, /) -> Standing | None: ...
    def migrate(self, move: Move, /) -> None: ...
    def confirm(self, server: str, /) -> None: ...
    def restart(self, server: str, /) -> None: ...
    def settle(self, server: str, /) -> None: ...
    def why(self, server: str, /) -> str: ...
    def heal(self, move: Move, host: str, /) -> tuple[str, ...]: ...
    def kept(self, server: str, host: str, /) -> bool: ...
    def now(self) -> float: ...
    def pause(self, seconds: float, /) -> None: ...


def carry_out(
    door: Door, move: Move, limits: Limits, told: Told, admit: Callable[[], None]
) -> Moved:
    """The server on another host, its claims healed. `admit` is asked right before Nova is; what it
    raises, NotAdmitted, ends the move before it began.

    Raises ServerNotMoved, CloudError.
    """
    return _Carrier(door, move, limits, told, admit).run()


class _Carrier:
    """One run: what it has done, and why the move failed, if it did."""

    def __init__(
        self, door: Door, move: Move, limits: Limits, told: Told, admit: Callable[[], None]
    ) -> None:
        self._door = door
        self._move = move
        self._limits = limits
        self._told = told
        self._admit = admit
        self._decide = evacuation.decide if move.dead else plan.decide
        self._done = Done()
        self._reason = ""
        self._left: tuple[str, ...] = ()
        self._off: Migration | None = None

    def run(self) -> Moved:
        deadline, wait, last = self._door.now() + self._limits.timeout, FIRST_WAIT, ""
        while True:
            standing = self._door.look(self._move.server)
            if standing is None:
                raise ServerNotMoved(self._move.server, "it is gone: somebody deleted it")
            decision = self._decide(Case(self._move, standing, self._done, self._limits.patience))
            name = standing.server.name
            if isinstance(decision, End):
                return self._end(standing.server, decision)
            if isinstance(decision, Step):
                self._take(decision, standing)
                continue
            if decision.what != last:
                self._told(f"{name}: {decision.what}")
                last, wait = decision.what, FIRST_WAIT
            left = deadline - self._door.now()
            if left <= 0:
                seconds = f"{self._limits.timeout:g} seconds"
                raise ServerNotMoved(
                    name, f"still {last} after {seconds}: it goes on; run this again"
                )
            self._door.pause(min(wait, left))
            wait = min(wait * 1.3, LONGEST_WAIT)

    def _take(self, step: Step, standing: Standing) -> None:
        door, server, name = self._door, self._move.server, standing.server.name
        host = standing.server.host or self._move.source
        match step.do:
            case "start":
                self._admit()
                self._told(f"{name}: leaving {host}")
                door.migrate(self._move)
                self._done = replace(self._done, started=True)
            case "confirm":
                self._told(f"{name}: on {host}, confirming")
                door.confirm(server)
                self._done = replace(self._done, confirmed=True)
            case "restart":
                self._reason = self._reason or door.why(server)
                self._off = _off(standing) or self._off
                self._restart(name, host)
                self._done = replace(self._done, restarted=True)
            case "settle":
                self._reason = door.why(server)
                door.settle(server)
                self._done = replace(self._done, settled=True)
            case "heal":
                self._told(f"{name}: healing the claims of a move that hangs")
                off = _off(standing)
                self._off = off or self._off
                self._left = door.heal(self._move, host)
                self._reason = "a nova-compute died in the middle of it"
                self._done = replace(self._done, healed=True, off=off is not None)

    def _restart(self, name: str, host: str) -> None:
        """Start it once Nova's table has its cards on this host alone: libvirt's driver fails with
        a KeyError before (nova 34, objects/instance.py, get_pci_devices, with the requests of one
        host and the devices of both)."""
        door, server = self._door, self._move.server
        left = door.heal(self._move, host)
        deadline = door.now() + FREED_SECONDS
        while door.kept(server, host):
            if door.now() >= deadline:
                raise ServerNotMoved(
                    name,
                    f"it is on {host}, and is not started there while Nova's table has cards of "
                    f"another host for it ({self._reason}): {'; '.join(left)}; then `openstack "
                    f"server reboot --hard {server}`",
                )
            self._told(f"{name}: waiting until the other host has freed its cards")
            door.pause(LONGEST_WAIT)
        self._told(f"{name}: starting it on {host}")
        door.restart(server)

    def _end(self, server: ServerState, end: End) -> Moved:
        host = server.host or self._move.source
        if self._move.dead and end.how != "stopped":
            return self._evacuated(server, end)
        if end.how == "stopped":
            said = "; ".join(filter(None, (end.said, self._reason, *self._left)))
            raise ServerNotMoved(server.name, said)
        clean = end.cleaned and end.how == "moved"
        if not clean:
            self._door.pause(SETTLING_SECONDS)
        left = self._door.heal(self._move, host)
        if clean:
            return Moved(host=host, left=left)
        why = self._reason or self._door.why(server.id) or end.said
        if end.how == "back":
            back = f"it is back on {host}, {server.status}: {why}"
            said = "; ".join((back, *self._copied(), *left))
            raise ServerNotMoved(server.name, said, back=True)
        source = self._move.source
        note = (
            f"the move failed on the way ({why}), and {server.name} goes on on {host}; Nova did "
            f"not clean up on {source}: with libvirt, `virsh undefine {server.id}` there if it has "
            f"that, and remove the folder {server.id}_resize among its instances"
        )
        return Moved(host=host, notes=(note,), left=left)

    def _copied(self) -> tuple[str, ...]:
        """What may lie on the target of a move that nobody went on with."""
        if self._off is None:
            return ()
        said = (
            f"what was copied by then stays on {self._off.target}: with libvirt, remove the folder "
            f"{self._move.server} among its instances there, if there is one"
        )
        return (said,)

    def _evacuated(self, server: ServerState, end: End) -> Moved:
        """What the dead host still has claimed is healed by its nova-compute when that starts."""
        if end.how == "moved":
            host = server.host or ""
            return Moved(host=host, left=self._door.heal(self._move, host))
        why = self._door.why(server.id) or end.said
        said = f"it is still on {server.host}, which is dead, {server.status}: {why}"
        raise ServerNotMoved(server.name, said, back=True)


def _off(standing: Standing) -> Migration | None:
    """Its migration, where that stopped while the guest was off: some of its disk may be copied."""
    last = standing.migration
    return last if last is not None and last.status in OFF else None
