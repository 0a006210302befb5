"""`gpufarm claims`: claims on cards that no longer match reality."""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gpufarm.cli import claims_source
from gpufarm.cli.base import Command, Lister, UsageError
from gpufarm.cli.columns import Wrapped, for_reader
from gpufarm.cli.state_folder import state_folder

if TYPE_CHECKING:
    from gpufarm.claims.findings import Finding
    from gpufarm.claims.undo import Ended

COLUMNS = ("code", "host", "address", "holder", "layers", "lying", "repair", "safe")
SHORT = ("host", "address", "finding")
PLACE = ("code", "host", "address", "holder")
PLACE_SHORT = ("host", "address", "code")
FINDING_WIDTH = 62


class Wide(Wrapped):
    width = 44


class Check(Lister):
    """List claims on cards that the host, the hypervisor, Nova and Placement see differently.

    Placement and Nova are asked through their APIs. Nova's table pci_devices, the guests of the
    hypervisors and the hosts are read where the options say how; no finding rests on what was not
    read. Of the lab all of it is read.

    Exit status 2 where something is found. docs/howto/heal-stale-claims.md explains each.
    """

    examples = """
        # every layer, the database with the rights that `gpufarm claims grants` prints
        gpufarm claims check --database nova.url --ssh hyper18=root@hyper18

        # guests as `virsh dumpxml` printed them, a host as it was captured
        gpufarm claims check --domains hyper18=hyper18.xml --capture hyper18=hyper18.json.gz

        # is there anything to repair?
        gpufarm claims check -f value -c code -c host -c address
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        claims_source.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.claims import reading

        patience = claims_source.patience(parsed_args)
        connection = self.connection()
        sources = claims_source.sources(parsed_args, connection)
        with self.progress("reading the layers", quick=True) as progress:
            found = reading.check(connection, sources, patience, progress.advance)
        for text in claims_source.unread(parsed_args, connection):
            self.note(text)
        self.found = bool(found)
        if not found:
            self.note("every claim matches")
        if for_reader(parsed_args):
            return SHORT, [short(each) for each in found]
        return COLUMNS, [row(each) for each in found]


class Repair(Lister):
    """Put right what `claims check` finds and what can be put right safely.

    Done through the APIs of Placement and Nova, one finding after another, each looked for again
    right before. What no API can do needs --allow-database-write. What is not shown to be safe is
    listed and left. Everything that is done stands in a ledger beforehand.

    Exit status 2 where something is left.
    """

    examples = """
        # what would be done
        gpufarm claims repair --dry-run --database nova.url

        # do it
        gpufarm claims repair --database nova.url --ledger /var/lib/gpufarm/claims

        # give migrations that it ended in Nova's database the status that they had
        gpufarm claims repair --undo repair-20261121T034500Z.jsonl --allow-database-write
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        claims_source.add(parser)
        parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
        parser.add_argument(
            "--allow-database-write",
            action="store_true",
            help="end migrations in Nova's database, with the rights of `claims grants --write`",
        )
        parser.add_argument(
            "--undo",
            metavar="LEDGER",
            type=Path,
            help="only take back what the repair that kept this ledger wrote to Nova's database, "
            "where it is still so",
        )
        parser.add_argument(
            "--ledger",
            metavar="DIR",
            type=Path,
            help="where to write down what is done (default: gpufarm/claims in the XDG state home)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.claims import reading
        from gpufarm.claims import repair as repairs
        from gpufarm.system.ledger import Ledger

        if parsed_args.undo:
            return self._undo(parsed_args)
        patience = claims_source.patience(parsed_args)
        connection = self.connection()
        sources = claims_source.sources(parsed_args, connection)
        may_write = parsed_args.allow_database_write
        with self.progress("reading the layers", quick=True) as progress:
            found = reading.check(connection, sources, patience, progress.advance)
        if parsed_args.dry_run:
            planned = [(each, repairs.left(each, database_write=may_write)) for each in found]
            self.found = bool(planned)
            rows = [_outcome(parsed_args, each, why or each.repair) for each, why in planned]
            return _columns(parsed_args, "repair"), rows
        ledger = Ledger(parsed_args.ledger or state_folder("claims"), "repair")
        door = repairs.CloudDoor(connection, sources, patience)
        try:
            with self.progress("repairing", quick=True) as progress:
                told = progress.advance
                done = repairs.repair(door, found, ledger, told, database_write=may_write)
        finally:
            if ledger.path.exists():
                self.note(f"what was done: {ledger.path}")
        self.found = not all(outcome.done for outcome in done)
        rows = [_outcome(parsed_args, each.finding, each.said) for each in done]
        return _columns(parsed_args, "outcome"), rows

    def _undo(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.claims import undo
        from gpufarm.system.ledger import Ledger

        if not (parsed_args.allow_database_write or parsed_args.dry_run):
            raise UsageError("--undo writes to Nova's database: --allow-database-write")
        sources = claims_source.sources(parsed_args, self.connection())
        if sources.databases is None:
            raise UsageError("--undo: name Nova's database (--database)")
        urls = sources.databases
        found = undo.ended(parsed_args.undo)
        if parsed_args.dry_run:
            planned = [(each, undo.left(urls, each)) for each in found]
            said = [(each, why or f"to {each.migration.status}") for each, why in planned]
        else:
            book = Ledger(parsed_args.ledger or state_folder("claims"), "undo")
            said = [(each, undo.undo(urls, each, book)) for each in found]
        if not found:
            self.note("the repair wrote nothing to Nova's database")
        self.found = any(text != undo.BACK for _, text in said)
        rows = [_outcome(parsed_args, each, text) for each, text in said]
        return _columns(parsed_args, "outcome"), rows


class Grants(Command):
    """Print the SQL that gives a database user the rights that `claims` needs, and no others."""

    examples = """
        gpufarm claims grants gpufarm@10.0.0.5 | mysql

        # for `claims repair --allow-database-write` too
        gpufarm claims grants gpufarm_repair@10.0.0.5 --write | mysql
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("user", metavar="USER[@HOST]", help="a user of MySQL or MariaDB")
        parser.add_argument(
            "--write", action="store_true", help="also what --allow-database-write needs"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.cloud import nova_database, placement_database
        from gpufarm.cloud.database import grants

        rights = [
            ("nova", "SELECT", nova_database.READ),
            *([("nova", "UPDATE", nova_database.WRITE)] if parsed_args.write else []),
            ("placement", "SELECT", placement_database.READ),
        ]
        for database, right, tables in rights:
            for line in grants(parsed_args.user, database, right, tables):
                self.app.stdout.write(f"{line}\n")


def _columns(parsed_args: argparse.Namespace, last: str) -> tuple[str, ...]:
    return (*(PLACE_SHORT if for_reader(parsed_args) else PLACE), last)


def _outcome(
    parsed_args: argparse.Namespace, found: "Finding | Ended", said: str
) -> tuple[Any, ...]:
    place = _columns(parsed_args, "")[:-1]
    return (*(getattr(found, column) for column in place), Wide(said))


def row(found: "Finding") -> tuple[Any, ...]:
    """For programs: the columns of the interface."""
    plain = msgspec.to_builtins(found)
    return tuple(plain[column] for column in COLUMNS)


def short(found: "Finding") -> tuple[str, ...]:
    lines = [
        f"{found.code}: {found.lying} is wrong: {found.why}",
        *(
            f"  {layer}: {said}"
            for layer, said in msgspec.structs.asdict(found.layers).items()
            if said is not None
        ),
        f"-> {found.repair}" + ("" if found.safe and found.steps else " (by hand)"),
    ]
    wrapped = (textwrap.fill(line, FINDING_WIDTH, subsequent_indent="  ") for line in lines)
    return found.host, found.address or "-", _plain("\n".join(wrapped))


def _plain(text: str) -> str:
    """Names of servers and guests must not drive the reader's terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
