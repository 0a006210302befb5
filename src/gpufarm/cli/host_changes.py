"""How the steps of hosts look: whole to a program, short to a reader."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from gpufarm.cli.columns import Changes, Wrapped, for_reader
from gpufarm.model.change import FieldChange
from gpufarm.model.host_change import Step, shown

COLUMNS = ("host", "action", "kind", "name", "changes", "reason", "needs_reboot")
SHORT = ("host", "kind", "name", "changes", "reason", "needs_reboot")

Table = tuple[Sequence[str], list[tuple[Any, ...]]]


class Host(Wrapped):
    width = 12


class Name(Wrapped):
    width = 18


class Reason(Wrapped):
    width = 14


class Fields(Changes):
    width = 18


class Diff(Changes):
    """Changes of a file: to a reader how many lines come and go."""

    def human_readable(self) -> str:
        lines = [line for each in self._value for line in str(each.to).splitlines()[2:]]
        counts = [sum(line.startswith(sign) for line in lines) for sign in "+-"]
        return f"+{counts[0]} -{counts[1]} lines"


class WholeDiff(Changes):
    def human_readable(self) -> str:
        return "\n".join(str(each.to).rstrip("\n") for each in self._value)


def table(
    parsed: argparse.Namespace,
    found: Iterable[tuple[str, Sequence[Step]]],
    *,
    whole: bool = False,
) -> Table:
    """One row for each step of each host; `whole` with every line of a file's diff.

    For a reader it is 100 columns wide, and the kind tells the action.
    """
    columns = SHORT if for_reader(parsed) else COLUMNS
    rows = [_row(host, step, whole=whole) for host, steps in found for step in steps]
    return columns, [tuple(row[column] for column in columns) for row in rows]


def _row(host: str, step: Step, *, whole: bool) -> dict[str, Any]:
    change = shown(step)
    return {
        "host": Host(host),
        "action": change.action,
        "kind": change.kind,
        "name": Name(change.name),
        "changes": _column(change.kind, change.changes, whole=whole),
        "reason": Reason(change.reason),
        "needs_reboot": change.needs_reboot,
    }


def _column(kind: str, changes: tuple[FieldChange, ...], *, whole: bool) -> Changes:
    if kind != "file":
        return Fields(changes)
    return WholeDiff(changes) if whole else Diff(changes)
