"""How values look: whole to a program, short and wrapped to a reader."""

import argparse
import json
import textwrap
from typing import Any

import msgspec
from cliff.columns import FormattableColumn

from gpufarm.model.change import Change, FieldChange

# With borders and the two narrow columns these fill 100 columns.
NAME_WIDTH = 20
CHANGES_WIDTH = 28
REASON_WIDTH = 16
LONGEST_SHOWN = 60


def for_reader(parsed: argparse.Namespace) -> bool:
    """Whether the table is the one for people: a program, or who names columns, gets all."""
    return parsed.formatter == "table" and not parsed.columns


class Wrapped(FormattableColumn):
    """A text; on a terminal no wider than its column."""

    width = REASON_WIDTH

    def human_readable(self) -> str:
        return textwrap.fill(_plain(str(self._value)), self.width)

    def machine_readable(self) -> str:
        return str(self._value)


class Name(Wrapped):
    width = NAME_WIDTH


class Lines(FormattableColumn):
    """A list: as it is to a program, one line each to a reader."""

    def human_readable(self) -> str:
        return "\n".join(_plain(str(each)) for each in self._value)

    def machine_readable(self) -> list[Any]:
        return list(self._value)


class Changes(FormattableColumn):
    """The fields of a change: a list of objects to a program, one line a field to a reader."""

    width = CHANGES_WIDTH

    def human_readable(self) -> str:
        return "\n".join(
            textwrap.fill(_plain(_line(field)), self.width, subsequent_indent="  ")
            for field in self._value
        )

    def machine_readable(self) -> Any:
        return msgspec.to_builtins(self._value)


def row(change: Change) -> tuple[Any, ...]:
    return (
        change.action,
        change.kind,
        Name(change.name),
        Changes(change.changes),
        Wrapped(change.reason),
    )


def _line(field: FieldChange) -> str:
    name = field.field.removeprefix("properties.")
    if field.from_ is None:
        return f"{name}: {_short(field.to)}"
    if field.to is None:
        return f"{name}: {_short(field.from_)} -> nothing"
    return f"{name}: {_short(field.from_)} -> {_short(field.to)}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(str(each) for each in value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _plain(text: str) -> str:
    """What another tool may have put into a name must not drive the reader's terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)
