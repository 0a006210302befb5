"""The journal of changes that a host keeps: what was done, and what its agent needs to undo it.

What is decided here: how it is read. The host's agent writes it (see agent/basics.sh): a folder for
each apply, which comes into being whole with all before-images, and in it one for each step.
"""

from typing import Literal

import msgspec

from gpufarm.model.errors import JournalInvalid
from gpufarm.system.agent import Answer

State = Literal["waiting", "begun", "done"]


class JournalStep(msgspec.Struct, frozen=True):
    number: int
    state: State
    kind: str
    name: str


class Entry(msgspec.Struct, frozen=True):
    """One apply. `notes` are what it was told to remember."""

    number: int
    notes: tuple[str, ...]
    steps: tuple[JournalStep, ...]


class Journal(msgspec.Struct, frozen=True):
    """Every apply since the last rollback, oldest first."""

    entries: tuple[Entry, ...] = ()

    @property
    def unfinished(self) -> bool:
        """Whether an apply was interrupted; the next one goes on."""
        last = self.entries[-1:]
        return any(step.state != "done" for entry in last for step in entry.steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the first apply: how it was before any change."""
        return self.entries[0].notes if self.entries else ()


def parse(host: str, answer: Answer) -> Journal:
    """What the agent shows. Raises JournalInvalid for a line that it would not print."""
    entries: list[Entry] = []
    for line in answer.lines:
        match line.split(" ", 4):
            case ["apply", number] if number.isdecimal():
                entries.append(Entry(int(number), (), ()))
            case ["note", *_] if entries:
                notes = (*entries[-1].notes, line.removeprefix("note "))
                entries[-1] = msgspec.structs.replace(entries[-1], notes=notes)
            case ["step", number, ("waiting" | "begun" | "done") as state, kind, name] if (
                entries and number.isdecimal()
            ):
                step = JournalStep(int(number), state, kind, name)
                entries[-1] = msgspec.structs.replace(entries[-1], steps=(*entries[-1].steps, step))
            case _:
                raise JournalInvalid(host, line)
    return Journal(tuple(entries))
