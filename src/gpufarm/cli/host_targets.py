"""Which hosts a command works on: this one, some over SSH, or those of an inventory."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gpufarm.cli.base import UsageError
from gpufarm.model.errors import InventoryInvalid

if TYPE_CHECKING:
    from gpufarm.host.inventory import Destination
    from gpufarm.host.target import Target
    from gpufarm.system.agent import Book


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ssh",
        metavar="DEST",
        action="append",
        default=[],
        help="a host over SSH, as root, as ssh takes it (repeatable); it needs nothing but a POSIX "
        "shell. Without --ssh and --inventory: this machine",
    )
    parser.add_argument(
        "--inventory",
        metavar="FILE",
        type=Path,
        help="hosts over SSH: a plain list, an inventory of Ansible (INI or YAML), or a farm file",
    )
    parser.add_argument(
        "--ssh-config",
        metavar="FILE",
        type=Path,
        help="ssh's configuration file (default: your own)",
    )


def add_waves(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--reboot", action="store_true", help=what)
    parser.add_argument(
        "--wave",
        metavar="N",
        type=_count,
        default=1,
        help="hosts that reboot, or restart services, at the same time (default: %(default)s); "
        "after a wave with a failure no other one begins",
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="begin the next wave after a failure too"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hosts")
    return int(text)


def read(parsed: argparse.Namespace, book: "Book") -> "list[Target]":
    """The hosts that the options name, each once, with the journal `book`.

    Raises InventoryInvalid, UsageError.
    """
    from gpufarm.host.inventory import Destination
    from gpufarm.host.target import Here, There

    found: dict[str, Destination] = {dest: Destination(dest, dest) for dest in parsed.ssh}
    if parsed.inventory:
        found |= {each.name: each for each in _inventory(parsed.inventory)}
    if not found:
        if parsed.ssh_config:
            raise UsageError("--ssh-config goes with --ssh or --inventory")
        if getattr(parsed, "reboot", False):
            raise UsageError("--reboot goes with --ssh or --inventory: nobody would wait for this")
        return [Here(book)]
    return [
        There(each.ssh, parsed.ssh_config, name=each.name, book=book) for each in found.values()
    ]


def _inventory(path: Path) -> "tuple[Destination, ...]":
    from gpufarm.host import inventory

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryInvalid(str(path), f"cannot be read: {error}") from error
    return inventory.parse(text, str(path))
