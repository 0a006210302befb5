"""Taking back what a repair wrote to Nova's database, by the ledger that it kept.

What is decided here: a migration that was ended gets the status back that it had, the last one
first, and only where it still has the one that the repair gave it. What was done through the APIs
is not taken back: Nova may have given the cards to others since.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gpufarm.claims.steps import AnyStep, EndMigration
from gpufarm.cloud import nova_database
from gpufarm.model.claims import Migration
from gpufarm.model.errors import LedgerInvalid, RepairStopped
from gpufarm.system import ledger
from gpufarm.system.ledger import Ledger

BACK = "back"
"""Of a migration that has its status of before again."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair was for."""

    code: str
    host: str
    address: str | None
    holder: str | None


class Ended(Place, frozen=True, kw_only=True):
    """A migration that a repair ended, or was about to end."""

    migration: Migration


class _Entry(msgspec.Struct, frozen=True):
    """A line of the ledger, as `claims.repair` writes it."""

    finding: Place
    step: AnyStep


def ended(path: Path) -> tuple[Ended, ...]:
    """Those in the ledger at `path`, the last one first. Raises LedgerInvalid."""
    try:
        entries = [msgspec.convert(line, _Entry) for line in ledger.read(path)]
    except (OSError, msgspec.MsgspecError) as error:
        raise LedgerInvalid(str(path), str(error)) from error
    found = {
        entry.step.migration.uuid: Ended(
            **msgspec.structs.asdict(entry.finding), migration=entry.step.migration
        )
        for entry in entries
        if isinstance(entry.step, EndMigration)
    }
    return tuple(reversed(found.values()))


def left(urls: Sequence[str], each: Ended) -> str | None:
    """Why its status is not put back; None where it can be. Raises DatabaseError."""
    now = nova_database.migration_status(urls, each.migration)
    if now == each.migration.status:
        return BACK
    if now == nova_database.ENDED:
        return None
    return f"left: migration {each.migration.id} is {now or 'gone'} by now"


def undo(urls: Sequence[str], each: Ended, book: Ledger) -> str:
    """BACK, or why it was left as it is. Raises DatabaseError, RepairStopped."""
    reason = left(urls, each)
    if reason is not None:
        return reason
    try:
        book.write(state="undo", migration=each.migration)
    except OSError as error:
        raise RepairStopped(f"{book.path}: cannot be written: {error.strerror}") from error
    before, status = nova_database.ENDED, each.migration.status
    if nova_database.set_migration_status(urls, each.migration, before, status):
        return BACK
    return f"left: migration {each.migration.id} changed meanwhile"
