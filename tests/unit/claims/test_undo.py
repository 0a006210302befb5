"""Undoing a repair by its ledger: what is put back, what is left, and files that are none."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from gpufarm.claims import undo
from gpufarm.claims.steps import EndMigration, SettleServer
from gpufarm.model.claims import Migration, ServerState
from gpufarm.model.errors import LedgerInvalid, RepairStopped
from gpufarm.system.ledger import Ledger, read

MOVES = [
    Migration(
        id=number,
        uuid=uuid,
        server="s",
        status="post-migrating",
        kind="migration",
        source="h",
        target="k",
        updated=0,
    )
    for number, uuid in enumerate("mn", 1)
]
FINDING = {"code": "MIGRATION_STUCK", "host": "h", "address": "0000:05:00.0", "holder": "m"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A cell with both migrations, ended."""
    url = f"sqlite:///{tmp_path / 'cell'}.sqlite"
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE migrations (id INTEGER, uuid TEXT, status TEXT, updated_at TEXT)"
        )
        connection.exec_driver_sql(
            "INSERT INTO migrations (id, uuid, status) "
            "VALUES (1, 'm', 'failed'), (2, 'n', 'failed')"
        )
    return url


def statuses(url: str, **changed: str) -> dict[str, str]:
    with sa.create_engine(url).begin() as connection:
        for uuid, status in changed.items():
            connection.execute(
                sa.text("UPDATE migrations SET status = :status WHERE uuid = :uuid"),
                {"status": status, "uuid": uuid},
            )
        found = connection.exec_driver_sql("SELECT uuid, status FROM migrations").all()
    return {row.uuid: row.status for row in found}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Of a repair that ended both and was killed before it wrote that the second one was."""
    book = Ledger(tmp_path / "ledger", "repair")
    server = ServerState(
        id="s", name="s", status="RESIZE", task="x", host="k", updated=0, launched=True
    )
    book.write(state="begun", finding=FINDING, step=SettleServer(server=server))
    for move, states in zip(MOVES, (("begun", "done"), ("begun",)), strict=True):
        for state in states:
            book.write(state=state, finding=FINDING, step=EndMigration(migration=move), took=None)
    return book.path


def test_what_was_ended_is_put_back_the_last_one_first(url: str, ledger: Path) -> None:
    found = undo.ended(ledger)
    assert [each.migration for each in found] == MOVES[::-1]
    book = Ledger(ledger.parent, "undo")
    assert [undo.undo([url], each, book) for each in found] == [undo.BACK, undo.BACK]
    assert set(statuses(url).values()) == {"post-migrating"}
    assert [entry["migration"]["uuid"] for entry in read(book.path)] == ["n", "m"]
    again = Ledger(ledger.parent, "again")
    assert [undo.undo([url], each, again) for each in found] == [undo.BACK, undo.BACK]
    assert not again.path.exists()


def test_what_changed_since_is_left(url: str, ledger: Path) -> None:
    before = statuses(url, m="confirmed")
    book = Ledger(ledger.parent, "undo")
    said = {each.migration.uuid: undo.undo([url], each, book) for each in undo.ended(ledger)}
    assert said == {"n": undo.BACK, "m": "left: migration 1 is confirmed by now"}
    assert statuses(url) == {**before, "n": "post-migrating"}


def test_nothing_is_put_back_that_cannot_be_written_down(url: str, ledger: Path) -> None:
    (folder := ledger.parent / "file").write_text("")
    with pytest.raises(RepairStopped, match="cannot be written"):
        undo.undo([url], undo.ended(ledger)[0], Ledger(folder, "undo"))
    assert set(statuses(url).values()) == {"failed"}


@pytest.mark.parametrize(
    "text",
    [
        "not JSON\n",
        "[]\n",
        '{"step": {"do": "end-migration"}}\n',
        '{"finding": {}, "step": {"do": "end-migration", "migration": {"id": "1"}}}\n',
        '{"step": "x"}\n',
        '{"state": "undo", "migration": {}}\n',
        '{"finding": 1, "step": {"do": "end-migration"}}\n',
    ],
)
def test_a_file_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(text)
    with pytest.raises(LedgerInvalid, match=r"ledger\.jsonl: no ledger of"):
        undo.ended(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LedgerInvalid, match="No such file"):
        undo.ended(tmp_path / "none")
