"""A way into OpenStack's own databases, for what no API tells, or tells one row at a time.

What is decided here: the rights that it takes, and that an answer is not waited for without end.
SQLAlchemy is imported here only: it comes with the extra `database`, and with the lab.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gpufarm.model.errors import DatabaseError

CONNECT_SECONDS = 5

Columns = Mapping[str, tuple[str, ...]]
"""{table: columns}"""


def grants(user: str, database: str, right: str, tables: Columns) -> tuple[str, ...]:
    """SQL that gives `user` (NAME or NAME@HOST) that right on them, for MySQL and MariaDB.

    Raises DatabaseError for a name that would have to be quoted.
    """
    name, _, host = user.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", name) or not re.fullmatch(r"[\w.%:-]{0,255}", host):
        raise DatabaseError(f"{user!r} is no plain user name: letters, digits, _; then @HOST")
    account = f"'{name}'@'{host or '%'}'"
    return tuple(
        f"GRANT {right} ({', '.join(columns)}) ON {database}.{table} TO {account};"
        for table, columns in tables.items()
    )


@contextlib.contextmanager
def connect(url: str) -> Iterator[Any]:
    """A transaction, committed at the end of the block. Raises DatabaseError without a password."""
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    except ImportError as error:
        raise DatabaseError(
            "SQLAlchemy is not installed: pip install 'gpufarm[database]'"
        ) from error
    try:
        where = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "the URL of the database is none: mysql+pymysql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    shown = where.render_as_string(hide_password=True).partition("?")[0]
    try:
        engine = create_engine(where, **_limits(where.get_backend_name()))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise DatabaseError(f"{shown}: {_reason(error)}") from error


def _limits(backend: str) -> dict[str, Any]:
    if backend != "mysql":
        return {}
    # A statement that hangs is given up as one that nobody answers.
    seconds = {"connect_timeout": CONNECT_SECONDS, "read_timeout": 60, "write_timeout": 60}
    return {"connect_args": seconds}


def _reason(error: Exception) -> str:
    """The driver's own words in one line, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]
