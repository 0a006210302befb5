"""Nova as far as a move goes: its states in their order, what fails, what hangs, and time."""

from typing import Any

from msgspec.structs import replace

from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.moves import Move, Standing

SERVER = "11111111-2222-3333-4444-555555555555"
PHASES = (
    # what to call it, status, task, of the migration, which side the server is on
    ("prep", "RESIZE", "resize_prep", "pre-migrating", "source"),
    ("migrating", "RESIZE", "resize_migrating", "migrating", "source"),
    ("finish", "RESIZE", "resize_finish", "post-migrating", "target"),
    ("verify", "VERIFY_RESIZE", None, "finished", "target"),
    ("confirm", "VERIFY_RESIZE", None, "confirming", "target"),
    ("done", "ACTIVE", None, "confirmed", "target"),
)
NAMES = [phase[0] for phase in PHASES]
SIDES = {"source": "a", "target": "b"}


class OneServer:
    """A server on host a, what was called, and time; `raises` has an error for the call of that
    number."""

    def __init__(
        self, *, status: str = "ACTIVE", fails: str | None = None, hangs: str | None = None
    ) -> None:
        self.clock = 0.0
        self.server = ServerState(
            id=SERVER, name="t", status=status, task=None, host="a", updated=0.0, launched=True
        )
        self.before = status
        self.migration: Migration | None = None
        self.fails, self.hangs = fails, hangs
        self.down: frozenset[str] = frozenset()
        self.calls: list[str] = []
        self.raises: dict[int, BaseException] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        error = self.raises.pop(len(self.calls) - 1, None)
        if error:
            raise error

    def _set(self, **changed: Any) -> None:
        self.server = replace(self.server, updated=self.clock, **changed)

    def look(self, _: str) -> Standing:
        self._call("look")
        return Standing(server=self.server, migration=self.migration, down=self.down, at=self.clock)

    def why(self, _: str) -> str:
        return "boom"

    def now(self) -> float:
        return self.clock


class ModelNova(OneServer):
    """`fails` and `hangs` name phases; a hung one goes on when healed."""

    def __init__(
        self, *, status: str = "ACTIVE", fails: str | None = None, hangs: str | None = None
    ) -> None:
        super().__init__(status=status, fails=fails, hangs=hangs)
        self.runs = status == "ACTIVE"
        self.frees_at = 0.0
        """When nova-compute frees what it keeps of the server on the other host."""
        self.gives_back_at = 0.0
        """When what a move that failed holds in Placement is given back."""

    # The door

    def migrate(self, _: Move) -> None:
        self._call("migrate")
        number = self.migration.id + 1 if self.migration else 1
        self.migration = Migration(
            id=number,
            uuid=f"m{number}",
            server=SERVER,
            status="",
            kind="migration",
            source="a",
            target="b",
            updated=self.clock,
        )
        self._enter("prep")

    def confirm(self, _: str) -> None:
        self._call("confirm")
        assert self.migration
        assert self.migration.status == "finished", "Nova confirms once"
        self._enter("confirm")

    def restart(self, _: str) -> None:
        self._call("restart")
        assert self.clock >= self.frees_at, "KeyError"
        self._set(task="reboot_pending_hard")

    def settle(self, _: str) -> None:
        self._call("settle")
        self._set(status="ACTIVE", task=None)

    def heal(self, _: Move, __: str) -> tuple[str, ...]:
        """As `claims repair` ends a migration that hangs."""
        self._call("heal")
        if self.migration and self.hangs and self._phase() == self.hangs:
            self.hangs = None
            self._set(status="ACTIVE", task=None)
            self.migration = replace(self.migration, status="failed")
        elif self.migration and self.server.status == "ERROR" and self.server.task is None:
            self.migration = replace(self.migration, status="failed")
        return ("healed too early",) if self.clock < self.gives_back_at else ()

    def kept(self, _: str, __: str) -> bool:
        return self.clock < self.frees_at

    def pause(self, seconds: float) -> None:
        self.clock += seconds
        if self.server.task == "reboot_pending_hard":
            self.runs = True
            self._set(status="ACTIVE", task=None)
        phase = self._phase()
        if phase in {None, "verify", "done"} or phase == self.hangs:
            return
        if phase == self.fails:
            self._fail(phase)
        else:
            self._enter(NAMES[NAMES.index(str(phase)) + 1])

    # Inside

    def _phase(self) -> str | None:
        for name, _, task, status, _ in PHASES:
            if self.migration and (self.migration.status, self.server.task) == (status, task):
                return name
        return None

    def _enter(self, name: str) -> None:
        _, status, task, migrating, side = PHASES[NAMES.index(name)]
        assert self.migration
        self.migration = replace(self.migration, status=migrating, updated=self.clock)
        if name in {"migrating", "finish"}:
            self.runs = False
        if name == "verify":
            self.runs = self.before == "ACTIVE"
        self._set(status=self.before if name == "done" else status, task=task, host=SIDES[side])

    def _fail(self, phase: str) -> None:
        assert self.migration
        self.migration = replace(self.migration, status="error", updated=self.clock)
        self.gives_back_at = self.clock + 1.0
        status = self.before if phase == "prep" else "ERROR"
        self._set(status=status, task=None)
