"""`gpufarm host plan`, `apply`, `verify`, `rollback`: hosts made ready to give cards to VMs."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gpufarm.cli import host_targets
from gpufarm.cli.base import Lister, UsageError

if TYPE_CHECKING:
    from gpufarm.host.fleet import Result
    from gpufarm.host.ids import Names
    from gpufarm.host.target import Target
    from gpufarm.model.finding import Finding
    from gpufarm.model.host_change import HostPlan
    from gpufarm.model.host_spec import HostSpec

Table = tuple[Sequence[str], list[tuple[Any, ...]]]
T = TypeVar("T")


class OnHosts(Lister):
    """Base of the commands that work on hosts: a failing one hides and stops no other."""

    spec_required = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--spec",
            metavar="FILE",
            type=Path,
            required=self.spec_required,
            help="the host spec: which cards leave their host",
        )
        host_targets.add(parser)
        return parser

    def spec(self, parsed: argparse.Namespace) -> "HostSpec":
        from gpufarm.model import host_spec

        return host_spec.read(parsed.spec)

    def names(self) -> "Names":
        from gpufarm.host import names
        from gpufarm.system.machine import Machine

        return names.load(Machine())

    def collect(
        self, doing: str, count: int, results: "Iterable[Result[T]]"
    ) -> "list[tuple[Target, T]]":
        """What came of each host; errors are shown, or raised where there is one host only."""
        failed, seen = False, 0
        found: list[tuple[Target, T]] = []
        with self.progress(doing, count, quick=count == 1) as progress:
            for result in results:
                seen += 1
                if result.error and count == 1:
                    raise result.error
                failed |= result.error is not None
                if result.error:
                    progress.advance(f"{result.target.name}: failed")
                    self.app.stderr.write(f"error: {result.error}\n")
                elif result.value is not None:
                    progress.advance(f"{result.target.name}: {told(result.value)}")
                    found.append((result.target, result.value))
        self.failed = failed
        if seen < count:
            self.note(
                f"{count - seen} hosts of later waves were left as they are; --keep-going takes "
                "them too"
            )
        return sorted(found, key=lambda pair: pair[0].name)

    failed: bool = False

    def run(self, parsed_args: argparse.Namespace) -> int:
        """1 where a host failed, whatever else was found."""
        status = super().run(parsed_args)
        return 1 if self.failed else status


def told(value: object) -> str:
    """A result in a few words."""
    return str(value) if isinstance(value, str) else getattr(value, "words", "done")


class PlanHost(OnHosts):
    """Show what `host apply` would change on hosts, with reasons; change nothing.

    An empty list when nothing is to do. What cannot be done is an error that says why.
    """

    examples = """
        # this machine
        gpufarm host plan --spec cards.yaml

        # with every line of every file
        gpufarm host plan --spec cards.yaml --ssh root@hyper18 --diff

        # from a capture, for a script
        gpufarm host plan --spec cards.yaml --root hyper18.json.gz -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--root",
            metavar="DIR|CAPTURE",
            type=Path,
            help="a folder with a copy of a host's files, or a capture",
        )
        parser.add_argument("--diff", action="store_true", help="show every line of every file")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli.host_changes import COLUMNS, rows
        from gpufarm.host import fleet

        spec = self.spec(parsed_args)
        if parsed_args.root:
            found = [(str(parsed_args.root), self._of_root(parsed_args, spec).steps)]
        else:
            targets, names = host_targets.read(parsed_args), self.names()
            work = _planner(spec, names)
            planned = self.collect("planning", len(targets), fleet.each(targets, work))
            found = [(target.name, plan.steps) for target, plan in planned]
        if not any(steps for _, steps in found) and not self.failed:
            self.note("nothing to do")
        return COLUMNS, rows(found, whole=parsed_args.diff)

    def _of_root(self, parsed: argparse.Namespace, spec: "HostSpec") -> "HostPlan":
        from gpufarm.host import facts, names
        from gpufarm.system.capture import open_root
        from gpufarm.system.machine import Machine

        if parsed.ssh or parsed.inventory:
            raise UsageError("--root is one host: give it without --ssh and --inventory")
        root = open_root(parsed.root)
        return _feasible(str(parsed.root), facts.read(root), spec, names.load(root, Machine()))


class ApplyHost(OnHosts):
    """Prepare hosts as the spec says, and list what was changed.

    A card that a VM or a process uses, the boot VGA, and a card whose IOMMU group others share are
    refused before anything is changed. Before-images of all that is changed are on the host's disk
    before the first change; whatever interrupts it, apply again or roll back.
    """

    examples = """
        # this machine; what needs a reboot waits for one
        gpufarm host apply --spec cards.yaml

        # six hosts, two at a time, with the reboot and a check of each afterwards
        gpufarm host apply --spec cards.yaml --inventory hosts.ini --reboot --wave 2
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_targets.add_waves(
            parser, "reboot each host that changed or waits for it, and verify it afterwards"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli.host_changes import COLUMNS, rows
        from gpufarm.host import fleet
        from gpufarm.host.apply import prepare
        from gpufarm.host.rollout import prepare_and_reboot

        spec, targets, names = self.spec(parsed_args), host_targets.read(parsed_args), self.names()
        work = prepare_and_reboot if parsed_args.reboot else prepare
        results = fleet.in_waves(
            targets,
            parsed_args.wave if parsed_args.reboot else len(targets),
            lambda target: work(target, spec, names),
            keep_going=parsed_args.keep_going,
        )
        done = self.collect("preparing", len(targets), results)
        for target, applied in done:
            for warning in applied.warnings:
                self.note(f"{target.name}: {warning}")
            if applied.needs_reboot:
                self.note(f"{target.name}: the rest takes effect with a reboot")
        if not any(applied.steps for _, applied in done) and not self.failed:
            self.note("nothing to do")
        return COLUMNS, rows([(target.name, applied.steps) for target, applied in done])


class VerifyHost(OnHosts):
    """List what is not as the spec says on prepared hosts; exit status 2 where anything is not.

    Facts are read anew: drivers, groups against those before the apply, memory regions, links, the
    IOMMU, /dev/vfio; and the plan has to come out empty.
    """

    examples = """
        # did it survive the reboot?
        gpufarm host verify --spec cards.yaml --ssh root@hyper18 && echo ready
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli.host_columns import CHECK_COLUMNS, check_row
        from gpufarm.host import fleet
        from gpufarm.host.rollout import look

        spec, targets, names = self.spec(parsed_args), host_targets.read(parsed_args), self.names()
        results = fleet.each(targets, lambda target: look(target, spec, names))
        checked = self.collect("verifying", len(targets), results)
        found: list[tuple[str, Finding]] = [
            (target.name, finding) for target, looked in checked for finding in looked.findings
        ]
        self.found = bool(found)
        if not found and not self.failed:
            self.note("in order")
        return ("host", *CHECK_COLUMNS), [(name, *check_row(each)) for name, each in found]


class RollbackHost(OnHosts):
    """Take back everything that was applied to hosts, and list it.

    Every file gets its old bytes, rights and absence back, and every function its driver. What
    others changed since in a file that a command makes (the boot menu, an initramfs) stays, and the
    command that takes our part out of it runs instead.
    """

    spec_required = False

    examples = """
        # as it was before the first apply
        gpufarm host rollback --spec cards.yaml --ssh root@hyper18
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_targets.add_waves(parser, "reboot each host on which something was taken back")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.host import fleet
        from gpufarm.host.rollout import take_back

        targets = host_targets.read(parsed_args)
        results = fleet.in_waves(
            targets,
            parsed_args.wave if parsed_args.reboot else len(targets),
            lambda target: take_back(target, reboots=parsed_args.reboot),
            keep_going=parsed_args.keep_going,
        )
        done = self.collect("taking back", len(targets), results)
        for target, taken in done:
            for warning in taken.warnings:
                self.note(f"{target.name}: {warning}")
        if not any(taken.lines for _, taken in done) and not self.failed:
            self.note("nothing to take back")
        elif not parsed_args.reboot:
            self.note("what the kernel was started with stays until a reboot")
        return ("host", "kind", "name"), [
            (target.name, *line.removeprefix("undone ").split(" ", 1))
            for target, taken in done
            for line in taken.lines
        ]


def _planner(spec: "HostSpec", names: "Names") -> Any:
    def work(target: "Target") -> "HostPlan":
        return _feasible(target.name, target.facts(), spec, names)

    return work


def _feasible(name: str, facts: Any, spec: "HostSpec", names: "Names") -> "HostPlan":
    from gpufarm.host.plan import plan
    from gpufarm.model.errors import HostRefused

    found = plan(facts, spec, names)
    if found.refusals:
        raise HostRefused(name, found.refusals)
    return found
