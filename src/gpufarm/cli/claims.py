"""`gpufarm claims`: claims on cards that no longer match reality."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gpufarm.cli import claims_source
from gpufarm.cli.base import Command, Lister

if TYPE_CHECKING:
    from gpufarm.claims.findings import Finding

COLUMNS = ("code", "host", "address", "holder", "layers", "lying", "repair", "safe")
SHORT = ("host", "address", "finding")
FINDING_WIDTH = 62


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
        if parsed_args.formatter == "table" and not parsed_args.columns:
            return SHORT, [short(each) for each in found]
        return COLUMNS, [row(each) for each in found]


class Grants(Command):
    """Print the SQL that gives a database user the rights that `claims` needs, and no others."""

    auth_required = False

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
        from gpufarm.cloud import nova_database

        for line in nova_database.grants(parsed_args.user, write=parsed_args.write):
            self.app.stdout.write(f"{line}\n")


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
