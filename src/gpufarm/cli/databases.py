"""Where URLs of databases come from: a file that is its owner's alone, or the environment."""

import argparse
import os
import stat
from pathlib import Path

from gpufarm.model.errors import DatabaseError

NOVA = "GPUFARM_NOVA_DATABASE"
PLACEMENT = "GPUFARM_PLACEMENT_DATABASE"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def add_placement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--placement-database",
        metavar="FILE",
        type=Path,
        help="a file with rights 0600 that holds the URL of Placement's database: all allocations "
        f"in one look, for clouds of thousands of cards (env: {PLACEMENT}, the URL itself)",
    )


def placement(parsed: argparse.Namespace) -> str | None:
    """The URL of Placement's database, where one is named. Raises DatabaseError."""
    found = read(parsed.placement_database, PLACEMENT) or ()
    if len(found) > 1:
        raise DatabaseError("Placement has one database, and several URLs are named")
    return found[0] if found else None


def read(path: Path | None, variable: str) -> tuple[str, ...] | None:
    """The URLs in the file at `path`, or else in the environment. Raises DatabaseError."""
    if path:
        return _lines(path)
    named = os.environ.get(variable)
    return tuple(named.split()) if named else None


def _lines(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8") as stream:
            rights = os.fstat(stream.fileno()).st_mode
            if rights & OTHERS:
                raise DatabaseError(f"{path}: others can read it: chmod 600 {path}")
            lines = [line.strip() for line in stream.read(1 << 16).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError(f"{path}: cannot be read: {error}") from error
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise DatabaseError(f"{path}: no URL in it: mysql+pymysql://USER:PASSWORD@HOST/DATABASE")
    return found
