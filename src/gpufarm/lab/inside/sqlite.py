"""An SQLAlchemy engine plugin that lets several processes work on one SQLite file.

oslo.db begins every transaction deferred. A transaction that read first and then writes, while
another process wrote in between, fails at once with SQLITE_BUSY_SNAPSHOT, whatever the timeout.
Here reads before the first write run in autocommit, and the first write begins the transaction
with BEGIN IMMEDIATE, which waits for the timeout. (https://www.sqlite.org/rescode.html,
SQLITE_BUSY_SNAPSHOT)
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, CreateEnginePlugin, Engine
from sqlalchemy.pool import QueuePool

_READS = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN")
_OPEN = "gpufarm_in_transaction"
_BEGUN = "gpufarm_begun"


class ImmediateWrites(CreateEnginePlugin):
    """Chosen by `plugin=gpufarm_lab` in the database's URL."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        # oslo.db opens a SQLite file anew for every session (NullPool), and each new connection
        # reads the schema again: a sixth of the time in which a nova-compute starts.
        kwargs.update(poolclass=QueuePool, pool_size=5, max_overflow=50)

    def update_url(self, url: URL) -> URL:
        return url

    def engine_created(self, engine: Engine) -> None:
        event.listen(engine, "begin", _begin)
        event.listen(engine, "before_cursor_execute", _before_execute)
        event.listen(engine, "commit", _end)
        event.listen(engine, "rollback", _end)


def _begin(connection: Connection) -> None:
    # oslo.db's own listener sends BEGIN unless this says that one is under way.
    connection.info["in_transaction"] = True
    connection.info[_OPEN] = True
    connection.info[_BEGUN] = False


def _before_execute(
    connection: Connection, cursor: Any, statement: str, _parameters: Any, _context: Any, _many: Any
) -> None:
    info = connection.info
    if not info.get(_OPEN) or info.get(_BEGUN):
        return
    if not statement.lstrip(" \n(").upper().startswith(_READS):
        info[_BEGUN] = True
        cursor.connection.execute("BEGIN IMMEDIATE")


def _end(connection: Connection) -> None:
    connection.info.pop(_OPEN, None)
    connection.info.pop(_BEGUN, None)
