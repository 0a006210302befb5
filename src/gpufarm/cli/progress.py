"""Progress of a long step: a bar or a spinner on a terminal, plain lines elsewhere."""

import contextlib
from collections.abc import Iterator
from typing import IO, Protocol


class Progress(Protocol):
    def advance(self, text: str) -> None:
        """One step is done, or another began; `text` says which."""


class _Silent:
    def advance(self, text: str) -> None:
        """Nothing is shown."""


class _Lines:
    def __init__(self, stream: IO[str], total: int | None) -> None:
        self._stream = stream
        self._total = total
        self._done = 0

    def advance(self, text: str) -> None:
        self._done += 1
        count = f"[{self._done}/{self._total}] " if self._total else ""
        self._stream.write(f"{count}{text}\n")
        self._stream.flush()


@contextlib.contextmanager
def show(
    stream: IO[str], description: str, total: int | None, *, quiet: bool
) -> Iterator[Progress]:
    """Progress on `stream`, gone again from a terminal when the block ends."""
    if quiet:
        yield _Silent()
    elif not stream.isatty():
        yield _Lines(stream, total)
    else:
        with _bar(stream, description, total) as bar:
            yield bar


@contextlib.contextmanager
def _bar(stream: IO[str], description: str, total: int | None) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns.append(BarColumn(bar_width=24))
    with RichProgress(
        *columns, TimeElapsedColumn(), console=Console(file=stream), transient=True
    ) as progress:
        task = progress.add_task(escape(description), total=total)

        class Bar:
            def advance(self, text: str) -> None:
                progress.update(task, advance=1, description=escape(f"{description}: {text}"))

        yield Bar()
