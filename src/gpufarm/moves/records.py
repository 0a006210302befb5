"""What a move began with, kept until it ends, so that the next run goes on with it.

What is decided here: a file for each server on the machine that runs the command. The cloud shows
where a server stands, and not where it came from once a move is confirmed.
"""

from pathlib import Path
from uuid import UUID

import msgspec

from gpufarm.model.moves import Move
from gpufarm.system import files


def _path(folder: Path, server: str) -> Path:
    """Raises ValueError for an id that is none."""
    return folder / f"{UUID(server)}.json"


def read(folder: Path, server: str) -> Move | None:
    """None where no move of it was interrupted; a file that cannot be read counts as none."""
    try:
        return msgspec.json.decode(_path(folder, server).read_bytes(), type=Move)
    except (FileNotFoundError, ValueError):
        return None


def every(folder: Path) -> list[Move]:
    """Every move that was interrupted, by the server's id."""
    names = sorted(path.stem for path in folder.glob("*.json"))
    return [move for name in names if (move := read(folder, name)) is not None]


def put(folder: Path, move: Move) -> None:
    """Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write(_path(folder, move.server), msgspec.json.encode(move), files.SECRET)


def drop(folder: Path, server: str) -> None:
    _path(folder, server).unlink(missing_ok=True)
