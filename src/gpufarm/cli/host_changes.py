"""How the steps of hosts look: whole to a program, short to a reader."""

from collections.abc import Iterable, Sequence
from typing import Any

from gpufarm.cli.columns import Changes, Name, Wrapped
from gpufarm.model.change import FieldChange
from gpufarm.model.host_change import Step, shown

COLUMNS = ("host", "action", "kind", "name", "changes", "reason", "needs_reboot")


class Diff(Changes):
    """Changes of a file: to a reader how many lines come and go."""

    def human_readable(self) -> str:
        lines = [line for each in self._value for line in str(each.to).splitlines()[2:]]
        counts = [sum(line.startswith(sign) for line in lines) for sign in "+-"]
        return f"+{counts[0]} -{counts[1]} lines"


class WholeDiff(Changes):
    def human_readable(self) -> str:
        return "\n".join(str(each.to).rstrip("\n") for each in self._value)


def rows(
    found: Iterable[tuple[str, Sequence[Step]]], *, whole: bool = False
) -> list[tuple[Any, ...]]:
    """One for each step of each host; `whole` with every line of a file's diff."""
    return [(host, *_row(step, whole=whole)) for host, steps in found for step in steps]


def _row(step: Step, *, whole: bool) -> tuple[Any, ...]:
    change = shown(step)
    return (
        change.action,
        change.kind,
        Name(change.name),
        _column(change.kind, change.changes, whole=whole),
        Wrapped(change.reason),
        change.needs_reboot,
    )


def _column(kind: str, changes: tuple[FieldChange, ...], *, whole: bool) -> Changes:
    if kind != "file":
        return Changes(changes)
    return WholeDiff(changes) if whole else Diff(changes)
