"""`gpufarm explain`: why a server of a flavor can or cannot start, host by host."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from gpufarm.cli import compute_logs, scheduler_source
from gpufarm.cli.base import Lister, UsageError

MESSAGE_WIDTH = 46
WIDTH = 100
FULLEST = "nothing; the fullest host comes first"
MOST_LISTED = 3
"""Hosts or holders shown in a table; JSON has all."""
REASON_COLUMNS = ("host", "source", "code", "message")


class Explain(Lister):
    """Say whether a server of FLAVOR can start, and if not, what each host lacks; exit 2 then.

    Of a server in ERROR it says what its fault hides: what kept it off each host is shown as it is
    now. Each reason has its source: Placement, a filter of the scheduler, the quota. Where it can
    start, the hosts that gpufarm's weigher prefers are listed, and what each would lose for later
    servers. As JSON or YAML it is one object with `admitted`, `can_start`, `reasons`, `frees_when`
    and `preferred`.
    """

    examples = """
        # can a server of g1.gpu start, and where does it fail
        gpufarm explain g1.gpu

        # three of them in one zone, for a project, with an image's demands
        gpufarm explain g1.gpu --zone az1 --project lab7 --image ubuntu-24.04 --count 3

        # what hides behind "No valid host was found."
        gpufarm explain train-1

        # and behind "Exhausted all hosts available": what a nova-compute's log says of the cards
        gpufarm explain train-1 --ssh hyper18=root@hyper18
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("subject", metavar="FLAVOR|SERVER", help="name or id")
        parser.add_argument("--image", metavar="IMAGE", help="name or id: its demands count too")
        parser.add_argument("--zone", metavar="ZONE", help="the availability zone it is to run in")
        parser.add_argument("--project", metavar="PROJECT", help="whose quota (default: one's own)")
        parser.add_argument(
            "--count", type=int, default=1, metavar="N", help="how many (default: 1)"
        )
        scheduler_source.add_options(parser)
        compute_logs.add(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.capacity import asking

        if parsed_args.count < 1:
            raise UsageError("--count: one or more servers")
        connection = self.connection()
        with self.progress("reading the cloud", quick=True) as progress:
            wish = asking.Wish(
                subject=parsed_args.subject,
                image=parsed_args.image,
                zone=parsed_args.zone,
                project=parsed_args.project,
                count=parsed_args.count,
                known=scheduler_source.question(connection, parsed_args),
                logs=compute_logs.source(parsed_args, connection),
            )
            found, notes = asking.answer(connection, wish, progress.advance)
        for text in notes:
            self.note(text)
        self.found = not found.admitted
        return found.__struct_fields__, list(msgspec.structs.astuple(found))

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: list[Any]
    ) -> int:
        match parsed_args.formatter:
            case "json" | "yaml":
                shown = [msgspec.to_builtins(value) for value in data]
                self.formatter.emit_one(column_names, shown, self.app.stdout, parsed_args)
                return 0
            case "table":
                self._tables(parsed_args, dict(zip(column_names, data, strict=True)))
                return 0
            case _:
                return super().produce_output(parsed_args, *_reasons(data[2]))

    def _tables(self, parsed_args: argparse.Namespace, found: dict[str, Any]) -> None:
        self.app.stdout.write(_verdict(found["admitted"], found["can_start"]))
        if found["reasons"]:
            super().produce_output(parsed_args, REASON_COLUMNS, _together(found["reasons"]))
        if found["frees_when"]:
            self.app.stdout.write("it can start when:\n")
            self.app.stdout.writelines(f"  {_cure(each)}\n" for each in found["frees_when"])
        if found["preferred"]:
            self.app.stdout.write("where the least is lost for later servers, the best first:\n")
            self.app.stdout.writelines(f"{line}\n" for line in _preferred(found["preferred"]))


def _preferred(hosts: Sequence[Any]) -> list[str]:
    """Hosts with the same loss in one line: Nova's other weighers decide between them."""
    equal: dict[tuple[Any, ...], list[str]] = {}
    for each in hosts:
        equal.setdefault((each.loss, each.why), []).append(each.host)
    lines = [
        f"{', '.join(_few(names).splitlines())}: {'; '.join(why) or FULLEST} (loss {loss:.6g})"
        for (loss, why), names in list(equal.items())[:MOST_LISTED]
    ]
    more = sum(map(len, list(equal.values())[MOST_LISTED:]))
    if more:
        lines.append(f"and {more} more")
    return [
        textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ") for line in lines
    ]


def _reasons(reasons: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    rows = [
        (
            each.host or "-",
            each.source,
            each.code if each.blocks else f"({each.code})",
            each.message,
        )
        for each in reasons
    ]
    return REASON_COLUMNS, rows


def _together(reasons: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Hosts with the same reason in one row: most have none of the cards."""
    hosts: dict[tuple[Any, ...], list[str]] = {}
    for host, *rest in _reasons(reasons)[1]:
        hosts.setdefault(tuple(rest), []).append(host)
    return [
        (_few(names), source, code, "\n".join(textwrap.wrap(message, MESSAGE_WIDTH)))
        for (source, code, message), names in hosts.items()
    ]


def _few(names: list[str]) -> str:
    more = len(names) - MOST_LISTED
    return "\n".join([*names[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])])


def _verdict(admitted: bool, can_start: int | None) -> str:
    if can_start is None:
        known = "how many, only the scheduler can say"
    else:
        known = f"{can_start} can start now"
    return f"{'admitted' if admitted else 'not admitted'}: {known}\n"


def _cure(cure: Any) -> str:
    where = f"on {cure.host}: " if cure.host else ""
    some = f"{cure.number} of " if len(cure.of) > cure.number else ""
    listed = ", ".join(cure.of[:MOST_LISTED]) + (", ..." if len(cure.of) > MOST_LISTED else "")
    of = f": {some}{listed}" if listed and cure.of != (cure.host,) else ""
    return f"{where}{cure.action} ({cure.number} {cure.what}){of}"
