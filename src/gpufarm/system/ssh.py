"""Machines over SSH, by the system's own `ssh`.

What is decided here: a destination is what ssh takes (`user@host`, a name of ssh's configuration,
`ssh://user@host:port`), and everything about how to get there is in ssh's configuration, sharing a
connection between commands too (ControlMaster, ssh_config(5)). Nothing asks questions: a host that
wants a password is not reached. A host is read in one round trip, by a script that its `sh` gets on
standard input.
"""

import re
from pathlib import Path

from gpufarm.model.errors import HostUnreachable
from gpufarm.model.printable import printable
from gpufarm.system import stream
from gpufarm.system.capture import Capture
from gpufarm.system.run import Done, run

CONNECT_SECONDS = 20
READ_SECONDS = 180.0
"""A host of 300 functions takes a second, a virtual host without KVM a hundred times as long."""
FAILED = 255
"""ssh's own exit status where it could not connect (ssh(1))."""
ALIVE_SECONDS, ALIVE_TIMES = 15, 8
"""A host that lost power says no word: it counts as gone after two minutes."""
PART_SECONDS = 10.0
DESTINATION = re.compile(r"(?!-)[^\s\x00-\x1f\x7f]{1,300}")


def words(destination: str, config: Path | None, command: str, *, shared: bool = True) -> list[str]:
    """The command line of ssh.

    Raises HostUnreachable for what cannot be a destination. With `shared=False` it has a connection
    of its own, whatever ssh's configuration says of sharing: one from before a reboot leads
    nowhere, and hangs.
    """
    return [
        *("ssh", "-T"),
        *("-o", "BatchMode=yes"),
        *("-o", f"ConnectTimeout={CONNECT_SECONDS}"),
        *("-o", f"ServerAliveInterval={ALIVE_SECONDS}"),
        *("-o", f"ServerAliveCountMax={ALIVE_TIMES}"),
        *(() if shared else ("-o", "ControlPath=none")),
        *_to(destination, config),
        command,
    ]


def part(destination: str, config: Path | None) -> None:
    """End the connection that commands share, where there is one."""
    run(["ssh", "-O", "exit", *_to(destination, config)], timeout=PART_SECONDS)


def _to(destination: str, config: Path | None) -> list[str]:
    if not DESTINATION.fullmatch(destination):
        raise HostUnreachable(printable(destination), "not a destination of ssh: give [user@]host")
    return [*(("-F", str(config)) if config else ()), "--", destination]


def run_there(
    destination: str,
    command: str,
    *,
    stdin: bytes = b"",
    timeout: float,
    config: Path | None = None,
) -> Done:
    """Run `command`, a constant of the caller's, by the login shell of `destination`.

    Raises HostUnreachable, with ssh's own words, and what `run` raises.
    """
    done = run(words(destination, config, command), timeout=timeout, stdin=stdin)
    if done.status == FAILED:
        raise HostUnreachable(destination, f"ssh: {_last_words(done)}")
    return done


def read(destination: str, config: Path | None = None) -> Capture:
    """All that facts are made of. Raises HostUnreachable, CaptureInvalid, ProgramError."""
    done = run_there(
        destination, "sh -s", stdin=stream.script(), timeout=READ_SECONDS, config=config
    )
    if stream.FIRST not in done.stdout:
        raise HostUnreachable(
            destination,
            f"its sh did not run (exit status {done.status}): {_last_words(done)}",
        )
    return stream.parse(done.stdout, destination)


def _last_words(done: Done) -> str:
    said = [line for line in done.stderr.split(b"\n") if line.strip()]
    return "; ".join(printable(line.strip()) for line in said[-3:]) or "it said nothing"
