"""A plan's steps as the lines that a host's agent reads.

What is decided here: their form, which agent/orders.sh takes apart. Each value is a line, or as
many lines as were announced; a line break in a value would begin another value, and is an error.
"""

from collections.abc import Iterable, Iterator

from gpufarm.model.host_change import (
    BindFunction,
    ReleaseFunction,
    RemoveFunction,
    RestoreFunction,
    RunCommand,
    Step,
    WriteFile,
)

VERSION = "gpufarm-orders 1"
OF_FUNCTIONS: dict[type[Step], str] = {
    ReleaseFunction: "release",
    RemoveFunction: "remove",
    RestoreFunction: "restore",
}


def encode(steps: Iterable[Step], notes: Iterable[str] = ()) -> bytes:
    """The orders; `notes` are what the journal is to remember. Raises ValueError."""
    lines = [VERSION, *(f"note {note}" for note in notes)]
    for step in steps:
        lines += _lines(step)
    for line in lines:
        if "\n" in line or "\0" in line:
            raise ValueError(f"a value with a line break among the orders: {line!r}")
    return "".join(f"{line}\n" for line in (*lines, "end")).encode()


def _lines(step: Step) -> Iterator[str]:
    when = "boot" if step.needs_reboot else "now"
    match step:
        case WriteFile(text=None):
            yield f"absent {step.path}"
        case WriteFile():
            text = (step.text or "").removesuffix("\n").split("\n")
            yield f"file {step.mode:04o} {len(text)} {step.path}"
            yield from text
        case RunCommand():
            parts = (step.alters, step.words, step.undo)
            yield f"run {' '.join(str(len(part)) for part in parts)}"
            yield from (line for part in parts for line in part)
        case BindFunction():
            yield f"bind {step.address} {when} {step.driver}"
        case ReleaseFunction() | RemoveFunction() | RestoreFunction():
            yield f"{OF_FUNCTIONS[type(step)]} {step.address} {when}"
