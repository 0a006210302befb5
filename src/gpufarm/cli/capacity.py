"""`gpufarm capacity`: cards by model and host, and how many servers of each flavor can start."""

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from gpufarm.cli import scheduler_source
from gpufarm.cli.base import Lister, UsageError

PARTS = ("cards", "flavors")

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


class Capacity(Lister):
    """Show which cards are free, and how many GPU servers can still start.

    As JSON or YAML it is one object with `cards` and `flavors`. CSV and plain values hold one
    table: the cards, or the flavors with --only flavors.
    """

    examples = """
        # a table of the cards, and one of the flavors
        gpufarm capacity

        # for a script: how many servers of each flavor can start
        gpufarm capacity --only flavors -c flavor -c can_start -f csv
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--only", choices=PARTS, help="leave the other part out")
        scheduler_source.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Table]]:
        from gpufarm.capacity import cards, facts, flavors, report

        connection = self.connection()
        with self.progress("reading the cloud", quick=True) as progress:
            question = scheduler_source.question(connection, parsed_args)
            snapshot = facts.read(connection, progress.advance, question)
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
