"""`gpufarm host`: the cards of a host, and whether they can be given to VMs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpufarm.cli import host_columns as shown
from gpufarm.cli import host_source
from gpufarm.cli.base import Command, Lister
from gpufarm.cli.columns import for_reader

Table = tuple[Sequence[str], list[tuple[Any, ...]]]


class Scan(Lister):
    """List the cards of a host, with what keeps each from being given to a VM.

    A card is all functions of its slot. Displays of management controllers (kind bmc) and those
    inside of processors (integrated) are listed and never offered. A table has the columns that
    fit; JSON, YAML and CSV have all.
    """

    examples = """
        # the cards of this machine
        gpufarm host scan

        # of another one, by what lspci prints there
        ssh hyper18 lspci -nnk | gpufarm host scan --lspci -

        # those that can be given away now, for a script
        gpufarm host scan --ssh root@hyper18 -f json | jq -r '.[] | select(.ready) | .address'
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_source.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.host import report

        facts, names = host_source.read(parsed_args)
        for gap in facts.gaps if facts.source == "lspci" else ():
            self.note(f"{gap.where}: {gap.problem}")
        rows = report.scan(facts, names)
        if not rows:
            self.note(f"no card among the {len(facts.functions)} PCI functions of {facts.origin}")
        if for_reader(parsed_args):
            return shown.SCAN_SHORT, [shown.short_scan_row(row) for row in rows]
        columns = report.CardRow.__struct_fields__
        return columns, [shown.scan_row(row, columns) for row in rows]


class Check(Lister):
    """List what keeps the cards of a host from being given to VMs, and what to do about it.

    Exit status 2 where something is an error or a warning; what is worth knowing (info) alone
    leaves it 0. docs/reference/findings.md explains each code.
    """

    examples = """
        # is this machine ready?
        gpufarm host check && echo ready

        # a bug report, looked at somewhere else
        gpufarm host check --root hyper18.json.gz

        # only the codes and addresses
        gpufarm host check --ssh root@hyper18 -f value -c code -c address
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_source.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.host.cards import cards
        from gpufarm.host.findings import check

        facts, _ = host_source.read(parsed_args)
        found = check(facts, cards(facts))
        self.found = any(each.severity != "info" for each in found)
        if not found:
            self.note(f"{facts.origin}: in order")
        if for_reader(parsed_args):
            return shown.CHECK_SHORT, [shown.short_check_row(each) for each in found]
        return shown.CHECK_COLUMNS, [shown.check_row(each) for each in found]


class Capture(Command):
    """Write everything that the other host commands read of a host into one file.

    Every --root takes the file: it is a bug report, a test's fixture, and what to rehearse on.
    Secrets are blotted out. A FILE that ends in .json is written uncompressed.
    """

    examples = """
        # this machine
        gpufarm host capture -o hyper18.json.gz

        # another one, in one round trip
        gpufarm host capture --ssh root@hyper18 -o hyper18.json.gz
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_mutually_exclusive_group()
        host_source.add_root(group)
        host_source.add_ssh(parser, group)
        parser.add_argument(
            "-o", "--output", metavar="FILE", type=Path, required=True, help="the file to write"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.host import facts
        from gpufarm.system import capture, files

        found = facts.capture(host_source.root(parsed_args))
        data = capture.encode(found, readable=parsed_args.output.suffix == ".json")
        files.write(parsed_args.output, data, files.SECRET)
        blotted = capture.blot(found).blotted
        if blotted:
            self.note(f"secrets blotted out in {', '.join(blotted)}")
        self.note(f"wrote {parsed_args.output} ({len(data)} bytes)")
