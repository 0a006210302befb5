"""What changes a host: one text of POSIX sh, the same on this machine and on one behind SSH.

What is decided here: how it is started and how its answers are read. Its command line is a
constant; whatever differs is on its standard input. The journal that makes it possible to go on or
go back after any interruption lies on the host itself, and `gpufarm.system.journal` reads it.
"""

import functools
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import msgspec

from gpufarm.model.errors import HostHeld, HostInterrupted, HostNotChanged, HostUnreachable
from gpufarm.model.printable import printable
from gpufarm.system import ssh
from gpufarm.system.run import Done, run

Verb = Literal["apply", "rollback", "show", "reboot", "boot-id", "services"]
Book = Literal["prepare", "settings"]
"""The journals: of what makes a host ready to give its cards away, and of services' settings. Each
is taken back without the other."""
Runner = Callable[[str, bytes], Done]
"""Runs the agent with a verb and its orders; `here` and `there` make them."""

BESIDE_SHARED: Final = frozenset(("reboot", "boot-id"))
"""Verbs that do not share a connection, which would end or hang with the host."""
PARTS = ("basics", "orders", "functions", "files", "steps", "services", "verbs")
FIRST = b"gpufarm-agent 1"
"""Said before anything else: a login shell may have said something before it."""
SECONDS = 3600.0
"""Building the initramfs of several kernels takes minutes, without KVM a quarter of an hour."""


class Answer(msgspec.Struct, frozen=True):
    """`lines` are what it did, `warnings` what did not go as it should have."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


@functools.cache
def text() -> str:
    """The whole script; `main` comes last, so that a part of it does nothing."""
    folder = files("gpufarm.system") / "agent"
    parts = [(folder / f"{part}.sh").read_text(encoding="utf-8") for part in PARTS]
    return "\n".join((*parts, "main\n"))


def here(root: str = "", script: str | None = None, book: Book = "prepare") -> Runner:
    """On this machine. A test names a folder for / and a script with other doors to the kernel."""

    def start(verb: str, orders: bytes) -> Done:
        words = ("sh", "-c", script or text(), "gpufarm", root, verb, book)
        return run(words, timeout=SECONDS, stdin=orders)

    return start


def there(
    destination: str,
    config: Path | None = None,
    script: str | None = None,
    book: Book = "prepare",
) -> Runner:
    """On the machine that ssh knows as `destination`, whose login shell sees one constant."""

    def start(verb: str, orders: bytes) -> Done:
        command = f"exec sh -c {shlex.quote(script or text())} gpufarm '' {verb} {book}"
        words = ssh.words(destination, config, command, shared=verb not in BESIDE_SHARED)
        done = run(words, timeout=SECONDS, stdin=orders)
        # Its status is that too where a signal ended what ran there.
        if done.status == ssh.FAILED and FIRST not in done.stdout.split(b"\n"):
            raise HostUnreachable(destination, f"ssh: {_last_words(done) or 'it said nothing'}")
        if verb == "reboot":
            ssh.part(destination, config)
        return done

    return start


def ask(runner: Runner, host: str, verb: Verb, orders: bytes = b"") -> Answer:
    """Have it do `verb` and return what it says.

    Raises HostHeld, HostNotChanged with its reason, HostInterrupted where it did not get to its
    end, and what the runner raises.
    """
    done = runner(verb, orders)
    lines = done.stdout.split(b"\n")
    begin = lines.index(FIRST) + 1 if FIRST in lines else len(lines)
    heard = [printable(line) for line in lines[begin:] if line]
    if not heard or heard[-1] != "end":
        raise HostInterrupted(host, verb, done.status, _last_words(done))
    warnings = tuple(_after("warning ", heard))
    held = tuple(_after("held ", heard))
    if held:
        raise HostHeld(host, held)
    for problem in _after("failed ", heard):
        raise HostNotChanged(host, problem, warnings)
    other = tuple(line for line in heard[:-1] if not line.startswith("warning "))
    return Answer(other, warnings)


def _last_words(done: Done) -> str:
    said = [printable(line) for line in done.stderr.split(b"\n") if line.strip()]
    return "; ".join(said[-3:])


def _after(word: str, lines: list[str]) -> list[str]:
    return [line.removeprefix(word) for line in lines if line.startswith(word)]
