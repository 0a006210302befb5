"""`gpufarm simulate`: policies of placement, compared on a trace."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.cli import columns
from gpufarm.cli.base import Lister, UsageError

if TYPE_CHECKING:
    from gpufarm.simulate.experiment import Experiment

SEEDS = (1, 2, 3)
MOST_MORE = 10_000
USUAL = ("nova-default", "nova-tuned", "gpufarm")

SHOWN = {
    "gpus_allocated_pct": "GPUs used",
    "gpus_stranded_pct": "stranded",
    "gpu_servers_refused_pct": "refused",
    "ordinary_vcpu_refused_pct": "refused vCPU",
    "cpu_used_pct": "vCPU used",
    "fragmentation_pct": "fragments",
}
"""On a terminal, with the standard deviations beside them."""

MEANING = (
    "in percent, +- the standard deviation over seeds. stranded: free GPUs without CPU or memory, "
    "which ordinary servers have; refused: GPU servers; refused vCPU: of ordinary servers"
)


class Simulate(Lister):
    """Replay requests for servers on the hosts of a cloud, and compare where they could go.

    The files have the columns of the openb trace; `gpufarm farm trace` writes them for a cloud of
    your own. Requests are shuffled, and sampled again where there are too few. They come one after
    another and none ends; --steady has them end too.
    """

    examples = """
        # what would another placement do for this cloud?
        gpufarm simulate --nodes nodes.csv --requests requests.csv

        # what would a smaller reserve change, and two more hosts like gpu07?
        gpufarm simulate --nodes nodes.csv --requests requests.csv --reserve-share 0.8
        gpufarm simulate --nodes nodes.csv --requests requests.csv --add-hosts 2:gpu07
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpufarm.simulate.policies import POLICIES

        parser = super().get_parser(prog_name)
        parser.add_argument("--nodes", metavar="CSV", type=Path, required=True, help="the hosts")
        parser.add_argument(
            "--requests", metavar="CSV", type=Path, required=True, help="what was asked for"
        )
        parser.add_argument(
            "--policy",
            metavar="NAME",
            action="append",
            choices=tuple(POLICIES),
            help=f"one of {', '.join(POLICIES)}; may be given several times "
            f"(default: {', '.join(USUAL)})",
        )
        parser.add_argument(
            "--seed",
            metavar="NUMBER",
            action="append",
            type=int,
            help="of the order of requests; may be given several times "
            f"(default: {', '.join(map(str, SEEDS))})",
        )
        parser.add_argument(
            "--load",
            metavar="PERCENT",
            type=float,
            default=100.0,
            help="look when so many GPUs were asked for, of all there are (default: 100)",
        )
        parser.add_argument(
            "--steady",
            action="store_true",
            help="servers end too, and --load is how many GPUs are wanted on average",
        )
        parser.add_argument(
            "--shared",
            choices=("exclude", "whole"),
            default="exclude",
            help="requests for a part of a GPU: left out, or given a whole one (%(default)s)",
        )
        parser.add_argument(
            "--cpu-ratio",
            metavar="RATIO",
            type=float,
            default=1.0,
            help="vCPUs for each CPU of the hosts (default: 1.0)",
        )
        parser.add_argument(
            "--reserve",
            metavar="VCPUS:MEMORY_MB",
            type=_amounts,
            help="kept for each free GPU (default: the median of what servers have with one)",
        )
        parser.add_argument(
            "--reserve-share",
            metavar="SHARE",
            type=float,
            default=1.0,
            help="at most this part of the host's fair share, from 0 to 1 (default: 1)",
        )
        parser.add_argument(
            "--add-hosts",
            metavar="N:LIKE",
            action="append",
            default=[],
            type=_more,
            help="so many more hosts like the node of this name; may be given several times",
        )
        parser.add_argument(
            "--lesson",
            metavar="FILE",
            type=Path,
            help="what `gpufarm farm learn` wrote, for gpufarm's policy to begin with",
        )
        parser.add_argument("--scenario", metavar="NAME", help="what to call it in the output")
        parser.add_argument(
            "--plot", metavar="FILE", type=Path, help="also draw it: a PNG or an SVG file"
        )
        parser.add_argument(
            "--jobs", metavar="N", type=int, help="so many processes (default: one for each CPU)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.simulate import experiment, plot

        _check(parsed_args)
        experiment.require()
        if parsed_args.plot:
            plot.check(parsed_args.plot)
        asked = _experiment(parsed_args)
        number = len(asked.policies) * len(asked.seeds)
        with self.progress(f"simulating {asked.scenario}", number) as progress:
            found = experiment.run(asked, progress.advance, parsed_args.jobs)
        if parsed_args.plot:
            plot.draw(parsed_args.plot, {asked.scenario: found})
            self.note(f"wrote {parsed_args.plot}")
        if not columns.for_reader(parsed_args):
            names = tuple(found[0])
            return names, [tuple(map(_value, (row[name] for name in names))) for row in found]
        self.note(MEANING)
        self.note(
            f"no placement could use more than {found[0]['gpus_bound_pct']:.1f} % of the GPUs, "
            f"nor refuse less than {found[-1]['ordinary_vcpu_floor_pct']:.1f} % of ordinary vCPU "
            f"with as many GPUs used as {found[-1]['policy']} has"
        )
        rows = [
            (row["policy"], *(f"{row[name]:.1f} +-{row[f'{name}_sd']:.1f}" for name in SHOWN))
            for row in found
        ]
        return ("policy", *SHOWN.values()), rows


def _check(parsed: argparse.Namespace) -> None:
    for option, value, least, most in (
        ("--load", parsed.load, 0, 1000),
        ("--cpu-ratio", parsed.cpu_ratio, 0, 1000),
        ("--jobs", parsed.jobs, 0, 10000),
    ):
        if value is not None and not least < value <= most:
            raise UsageError(f"{option}: more than {least} and at most {most} is needed")
    if not 0 <= parsed.reserve_share <= 1:
        raise UsageError("--reserve-share: a number from 0 to 1 is needed")
    if len(set(parsed.seed or ())) < len(parsed.seed or ()):
        raise UsageError("--seed: the same number twice")


def _experiment(parsed: argparse.Namespace) -> "Experiment":
    from gpufarm.simulate import experiment, trace

    found = trace.read(parsed.nodes, parsed.requests, shared_as_whole=parsed.shared == "whole")
    for number, like in parsed.add_hosts:
        found = experiment.add_hosts(found, number, like)
    lesson = experiment.read_lesson(parsed.lesson) if parsed.lesson else None
    return experiment.Experiment(
        scenario=parsed.scenario or parsed.requests.stem,
        trace=found,
        settings=experiment.settings(
            found, parsed.reserve, parsed.reserve_share, lesson, parsed.cpu_ratio
        ),
        policies=tuple(dict.fromkeys(parsed.policy or USUAL)),
        seeds=tuple(parsed.seed or SEEDS),
        load=parsed.load,
        cpu_ratio=parsed.cpu_ratio,
        steady=parsed.steady,
    )


def _value(value: Any) -> Any:
    return columns.Lines(value) if isinstance(value, list) else value


def _amounts(text: str) -> Any:
    from gpufarm_nova.reserve import Amounts

    try:
        vcpus, memory_mb = map(float, text.split(":"))
    except ValueError:
        vcpus = -1.0
        memory_mb = 0.0
    if not (0 <= vcpus < float("inf") and 0 <= memory_mb < float("inf")):
        raise argparse.ArgumentTypeError(f"{text!r} is not VCPUS:MEMORY_MB, such as 11.3:48128")
    return Amounts(vcpus, memory_mb)


def _more(text: str) -> tuple[int, str]:
    number, colon, like = text.partition(":")
    if not (colon and like and number.isdecimal() and 0 < int(number) <= MOST_MORE):
        raise argparse.ArgumentTypeError(f"{text!r} is not N:LIKE, such as 2:gpu07")
    return int(number), like
