"""Putting claims right: which findings, in which order, and each step carried out.

What is decided here: only what is safe is done, one finding after another, and each is looked for
again right before its first step. A step expects what the finding saw; where it finds something
else, the finding is left as it is and the next one begun. Every step is in the ledger before it is
taken. Whatever ends a repair in the middle, the next `claims check` sees what is left.
"""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gpufarm.claims import reading
from gpufarm.claims.findings import Finding
from gpufarm.claims.reading import Sources
from gpufarm.claims.steps import (
    DeleteServer,
    EndMigration,
    FailServer,
    GiveBack,
    Release,
    RemoveProviders,
    SettleServer,
    Step,
    needs_database,
)
from gpufarm.cloud import allocations, compute, nova_database
from gpufarm.model.claims import ServerState
from gpufarm.model.errors import CloudConflict, NotInCloud, RepairStopped
from gpufarm.system.ledger import Ledger

if TYPE_CHECKING:
    from openstack.connection import Connection

DONE = "done"


class Outcome(msgspec.Struct, frozen=True):
    """`said` is DONE, or why the finding was left as it is."""

    finding: Finding
    said: str

    @property
    def done(self) -> bool:
        return self.said == DONE


class Door(Protocol):
    """What the steps go through."""

    def still(self, finding: Finding) -> bool: ...
    def server(self, server_id: str) -> ServerState | None: ...
    def set_state(self, server_id: str, state: str) -> None: ...
    def delete(self, server_id: str) -> None: ...
    def release(self, step: Release) -> Any: ...
    def give_back(self, step: GiveBack) -> Any: ...
    def end_migration(self, step: EndMigration) -> bool: ...
    def remove_provider(self, uuid: str) -> None: ...


def left(finding: Finding, *, database_write: bool) -> str | None:
    """Why `claims repair` does not touch it; None where it does."""
    if not finding.steps:
        return "by hand: " + finding.repair
    if not finding.safe:
        return "not shown to be safe: look at it, or give the layers that were not read"
    if needs_database(finding.steps) and not database_write:
        return "it takes a write to Nova's database: --allow-database-write"
    return None


def repair(
    door: Door,
    found: tuple[Finding, ...],
    ledger: Ledger,
    told: Callable[[str], None],
    *,
    database_write: bool,
) -> tuple[Outcome, ...]:
    """What became of each. Raises RepairStopped where the cloud or the database fails."""
    outcomes: list[Outcome] = []
    for finding in found:
        reason = left(finding, database_write=database_write)
        if reason is None:
            told(f"{finding.code} {finding.host} {finding.address or ''}")
            reason = _one(door, finding, ledger)
        outcomes.append(Outcome(finding, reason))
    return tuple(outcomes)


def _one(door: Door, finding: Finding, ledger: Ledger) -> str:
    try:
        if not door.still(finding):
            return "it changed meanwhile, or went away with an earlier repair"
        for step in finding.steps:
            ledger.write(state="begun", finding=_named(finding), step=step)
            took = _take(door, step)
            ledger.write(state="done", finding=_named(finding), step=step, took=took)
    except (CloudConflict, NotInCloud) as error:
        return f"left in the middle, since it changed: {error}"
    except OSError as error:
        raise RepairStopped(f"{ledger.path}: cannot be written: {error.strerror}") from error
    return DONE


def _named(finding: Finding) -> dict[str, Any]:
    return {
        key: getattr(finding, key) for key in ("code", "host", "address", "holder", "lying", "why")
    }


def _take(door: Door, step: Step) -> Any:
    """Carry out one step; returns what undoing it would need. CloudConflict where it cannot be."""
    match step:
        case Release():
            return door.release(step)
        case GiveBack():
            return door.give_back(step)
        case FailServer() | SettleServer():
            _expect(door, step.server)
            door.set_state(step.server.id, "error" if isinstance(step, FailServer) else "active")
        case DeleteServer():
            _delete(door, step.server)
        case EndMigration():
            if not door.end_migration(step):
                raise CloudConflict(f"migration {step.migration.uuid} has another status by now")
        case RemoveProviders():
            for uuid in step.uuids:
                door.remove_provider(uuid)
    return None


def _expect(door: Door, seen: ServerState) -> None:
    """Raise CloudConflict unless the server is as it was."""
    if door.server(seen.id) != seen:
        raise CloudConflict(f"server {seen.id} is not as it was")


def _delete(door: Door, seen: ServerState) -> None:
    """One that was just set to ERROR has no task any more."""
    now = door.server(seen.id)
    if now is None:
        return
    if now.launched or now.status != "ERROR" or now.task or now.host != seen.host:
        raise CloudConflict(f"server {seen.id} is not as it was")
    with contextlib.suppress(NotInCloud):
        door.delete(seen.id)


class CloudDoor:
    """The cloud and its databases."""

    def __init__(self, connection: "Connection", sources: Sources, patience: float) -> None:
        self._connection = connection
        self._sources = sources
        self._patience = patience

    def still(self, finding: Finding) -> bool:
        return reading.look_again(self._connection, self._sources, self._patience, finding)

    def server(self, server_id: str) -> ServerState | None:
        return compute.states_of(self._connection, [server_id]).get(server_id)

    def set_state(self, server_id: str, state: str) -> None:
        compute.set_state(self._connection, server_id, state)

    def delete(self, server_id: str) -> None:
        compute.delete_server(self._connection, server_id)

    def release(self, step: Release) -> Any:
        return allocations.release(
            self._connection, step.consumer, step.held, everything=step.everything
        )

    def give_back(self, step: GiveBack) -> Any:
        return allocations.give_back(self._connection, step.migration, step.server, step.held)

    def end_migration(self, step: EndMigration) -> bool:
        urls = self._sources.databases or ()
        before = step.migration.status
        return nova_database.set_migration_status(urls, step.migration, before, nova_database.ENDED)

    def remove_provider(self, uuid: str) -> None:
        allocations.remove_provider(self._connection, uuid)
