"""`gpufarm capacity`: cards by model and host, and how many servers of each flavor can start."""

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gpufarm.cli import databases, scheduler_source
from gpufarm.cli.base import Lister, UsageError
from gpufarm.model.errors import CloudUnreachable

if TYPE_CHECKING:
    from openstack.connection import Connection

PARTS = ("cards", "flavors")

WATCH_SECONDS = 5.0
CLEAR = "\x1b[H\x1b[2J"
"""ECMA-48: cursor to the first place, and the screen is empty."""

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


class Capacity(Lister):
    """Show which cards are free, and how many GPU servers can still start.

    As JSON or YAML it is one object with `cards` and `flavors`. CSV and plain values hold one
    table: the cards, or the flavors with --only flavors.
    """

    examples = """
        # a table of the cards, and one of the flavors
        gpufarm capacity

        # keep an eye on it
        gpufarm capacity --watch 10

        # for a script: how many servers of each flavor can start
        gpufarm capacity --only flavors -c flavor -c can_start -f csv
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--only", choices=PARTS, help="leave the other part out")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=WATCH_SECONDS,
            metavar="SECONDS",
            help="show it again and again, every so many seconds (default: 5), until Ctrl-C",
        )
        scheduler_source.add_options(parser)
        databases.add_placement(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Table]]:
        watch = parsed_args.watch
        if watch is not None and watch <= 0:
            raise UsageError("--watch: more than 0 seconds are needed")
        connection = self.connection()
        while watch is not None:
            self._show_once(connection, parsed_args)
            time.sleep(watch)
        return self._read(connection, parsed_args)

    def _show_once(self, connection: "Connection", parsed_args: argparse.Namespace) -> None:
        """In the place of what was shown before, on a terminal; a cloud that does not answer for a
        moment ends nothing."""
        columns, stream = list(parsed_args.columns), self.app.stdout
        try:
            shown = self._read(connection, parsed_args)
        except CloudUnreachable as error:
            self.note(str(error))
            return
        if stream.isatty():
            stream.write(CLEAR)
        self.produce_output(parsed_args, *shown)
        stream.write("\n")
        stream.flush()
        # Producing takes them off.
        parsed_args.columns = columns

    def _read(
        self, connection: "Connection", parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[Table]]:
        from gpufarm.capacity import cards, facts, flavors, report

        with self.progress("reading the cloud", quick=True) as progress:
            question = msgspec.structs.replace(
                scheduler_source.question(connection, parsed_args),
                placement_database=databases.placement(parsed_args),
            )
            read = facts.read(connection, progress.advance, question)
            wishes = flavors.needs(read).values()
            snapshot = facts.with_candidates(connection, read, wishes, progress.advance)
        for text in report.notes(snapshot):
            self.note(text)
        rows = report.parts(snapshot)
        headings = (cards.CardRow, flavors.FlavorRow)
        names = [name for name in PARTS if parsed_args.only in (None, name)]
        return names, [
            (heading.__struct_fields__, [msgspec.structs.astuple(row) for row in part])
            for name, heading, part in zip(PARTS, headings, rows, strict=True)
            if name in names
        ]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: list[Table]
    ) -> int:
        wanted = tuple(parsed_args.columns)
        tables = [_narrow(table, wanted) for table in data]
        known = {column for columns, _ in data for column in columns}
        if unknown := sorted(set(wanted) - known):
            raise UsageError(f"no column {unknown[0]}; there are: {', '.join(sorted(known))}")
        parsed_args.columns = []
        match parsed_args.formatter:
            case "json" | "yaml":
                objects = [
                    [dict(zip(columns, row, strict=True)) for row in rows]
                    for columns, rows in tables
                ]
                self.formatter.emit_one(column_names, objects, self.app.stdout, parsed_args)
            case "table":
                for columns, rows in tables:
                    if columns and (rows or parsed_args.print_empty):
                        super().produce_output(parsed_args, columns, rows)
            case _:
                super().produce_output(parsed_args, *tables[0])
        return 0


def _narrow(table: Table, wanted: tuple[str, ...]) -> Table:
    """Only the columns in `wanted`; all of them where it is empty."""
    columns, rows = table
    kept = [place for place, column in enumerate(columns) if not wanted or column in wanted]
    return (
        tuple(columns[place] for place in kept),
        [tuple(row[place] for place in kept) for row in rows],
    )
