"""From where a command reads a host: this machine, a folder or capture, lspci text, or SSH."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpufarm.cli.base import UsageError
from gpufarm.model.errors import CaptureInvalid

if TYPE_CHECKING:
    from gpufarm.host.ids import Names
    from gpufarm.model.facts import HostFacts
    from gpufarm.system.root import Root


def add_root(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR|CAPTURE",
        type=Path,
        required=required,
        help="a folder with a copy of a host's files (sys, proc, etc, ...), or a capture",
    )


def add_ssh(parser: argparse.ArgumentParser, group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument(
        "--ssh",
        metavar="DEST",
        help="a host over SSH, as ssh takes it: [user@]host, a name of your ssh configuration, or "
        "ssh://[user@]host:port; it needs nothing but a POSIX shell",
    )
    parser.add_argument(
        "--ssh-config",
        metavar="FILE",
        type=Path,
        help="ssh's configuration file (default: your own)",
    )


def add(parser: argparse.ArgumentParser) -> None:
    """The options of a command that reads one host and changes nothing."""
    group = parser.add_mutually_exclusive_group()
    add_root(group)
    group.add_argument(
        "--lspci",
        metavar="FILE",
        help="what lspci -nn, -nnk or -vvnnk printed there; - for standard input",
    )
    add_ssh(parser, group)


def root(parsed: argparse.Namespace) -> "Root":
    """The root that --root or --ssh name, or this machine. Raises HostError."""
    from gpufarm.system.capture import Captured, open_root
    from gpufarm.system.machine import Machine

    if parsed.ssh_config and not parsed.ssh:
        raise UsageError("--ssh-config goes with --ssh")
    if parsed.ssh:
        from gpufarm.system import ssh

        return Captured(ssh.read(parsed.ssh, parsed.ssh_config), parsed.ssh)
    return open_root(parsed.root) if parsed.root else Machine()


def read(parsed: argparse.Namespace) -> "tuple[HostFacts, Names]":
    """The facts of the host that the options name, and names for its cards.

    Raises HostError, also for a text in which no line is one of lspci.
    """
    from gpufarm.host import facts, lspci, names
    from gpufarm.system.machine import Machine

    if parsed.lspci:
        known = names.load(Machine())
        read = lspci.parse(_text(parsed.lspci), known, _origin(parsed.lspci))
        if read.gaps and not read.functions:
            raise CaptureInvalid(read.gaps[0].where, read.gaps[0].problem)
        return read, known
    found = root(parsed)
    return facts.read(found), names.load(found, Machine())


def _origin(file: str) -> str:
    return "standard input" if file == "-" else file


def _text(file: str) -> str:
    from gpufarm.host.lspci import MOST_BYTES
    from gpufarm.model.printable import decoded

    try:
        if file == "-":
            return decoded(sys.stdin.buffer.read(MOST_BYTES))
        with Path(file).open("rb") as stream:
            return decoded(stream.read(MOST_BYTES))
    except OSError as error:
        raise CaptureInvalid(file, f"cannot be read: {error.strerror}") from error
