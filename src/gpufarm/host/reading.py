"""Reading values out of a root, and remembering what was odd about them."""

from collections.abc import Callable

from gpufarm.host.numbers import whole
from gpufarm.model.facts import Gap
from gpufarm.model.printable import printable
from gpufarm.system.root import Keep, Root

MOST_GAPS = 200
"""More than that says nothing new."""


class Reading:
    """One reading of one machine."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._gaps: list[Gap] = []

    def gap(self, where: str, problem: str) -> None:
        if len(self._gaps) < MOST_GAPS:
            self._gaps.append(Gap(where=printable(where), problem=printable(problem)))

    def gaps(self) -> tuple[Gap, ...]:
        """What could not be read, then what could not be understood."""
        unreadable = sorted(self.root.unreadable)[:MOST_GAPS]
        return (
            *(Gap(where=printable(path), problem="cannot be read") for path in unreadable),
            *self._gaps,
        )

    def line(self, path: str) -> str | None:
        """The only line of a file, None where it is absent or says nothing."""
        text = self.root.text(path)
        return printable(text.strip()) or None if text else None

    def number(self, path: str, take: Callable[[str], int | None] = whole) -> int | None:
        """The number in a file; anything else in it is a gap."""
        line = self.line(path)
        found = take(line) if line is not None else None
        if line is not None and found is None:
            self.gap(path, f"no number: {line[:40]!r}")
        return found

    def files(self, folder: str, suffix: str = "") -> tuple[str, ...]:
        """The paths in `folder` that end so, in the order of their names; no hidden ones."""
        names = self.root.names(folder, suffix=suffix)
        return tuple(f"{folder}/{name}" for name in names if not name.startswith("."))


def lines(wanted: Callable[[str], bool]) -> Keep:
    """Keeps only those lines of a text."""

    def keep(text: str) -> str:
        return "".join(line + "\n" for line in text.split("\n") if line and wanted(line))

    return keep
