"""`gpufarm host plan`, `apply`, `verify`, `rollback`: hosts made ready to give cards to VMs.

With --farm the same commands put a farm's settings of Nova on its hosts.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gpufarm.cli import host_source, host_targets
from gpufarm.cli.base import Lister, UsageError

if TYPE_CHECKING:
    from gpufarm.cli.host_work import Work
    from gpufarm.host.fleet import Result
    from gpufarm.host.target import Target
    from gpufarm.model.finding import Finding
    from gpufarm.model.host_change import HostPlan

Table = tuple[Sequence[str], list[tuple[Any, ...]]]
T = TypeVar("T")


class OnHosts(Lister):
    """Base of the commands that work on hosts: a failing one hides and stops no other."""

    spec_required = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        what = parser.add_mutually_exclusive_group(required=self.spec_required)
        what.add_argument(
            "--spec",
            metavar="FILE",
            type=Path,
            help="the host spec: which cards leave their host",
        )
        what.add_argument(
            "--farm",
            metavar="FARM.yaml",
            type=Path,
            help="a farm file: its Nova settings, for what runs on each host, instead of cards",
        )
        if self.spec_required:
            parser.add_argument(
                "--prune",
                action="store_true",
                help="with --farm: without the settings of cards that are not in the farm file",
            )
        host_targets.add(parser)
        return parser

    def stages(
        self, work: "Work", targets: "list[Target]", *, keep_going: bool
    ) -> "list[list[Target]]":
        """The hosts in the order in which they are changed; none where one cannot be read."""
        from gpufarm.cli import host_work
        from gpufarm.host import fleet

        if not work.staged:
            return [targets]
        ranked = self.collect("looking at", len(targets), fleet.each(targets, work.rank))
        if self.failed and not keep_going:
            self.note("no host was changed; --keep-going leaves out those that cannot be read")
            return []
        return host_work.stages(ranked)

    def collect(
        self, doing: str, count: int, results: "Iterable[Result[T]]"
    ) -> "list[tuple[Target, T]]":
        """What came of each host; errors are shown, or raised where there is one host only."""
        seen = 0
        found: list[tuple[Target, T]] = []
        with self.progress(doing, count, quick=count == 1) as progress:
            for result in results:
                seen += 1
                if result.error and count == 1:
                    raise result.error
                if result.error:
                    self.failed = True
                    progress.advance(f"{result.target.name}: failed")
                    self.app.stderr.write(f"error: {result.error}\n")
                elif result.value is not None:
                    progress.advance(f"{result.target.name}: {told(result.value)}")
                    found.append((result.target, result.value))
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

        # what the farm's settings would change on its compute hosts
        gpufarm host plan --farm farm.yaml --inventory farm.yaml

        # from a capture, for a script
        gpufarm host plan --spec cards.yaml --root hyper18.json.gz -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_source.add_root(parser)
        parser.add_argument("--diff", action="store_true", help="show every line of every file")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli import host_work
        from gpufarm.cli.host_changes import table
        from gpufarm.host import fleet

        if parsed_args.root:
            found = [(str(parsed_args.root), self._of_root(parsed_args).steps)]
        else:
            work = host_work.of(parsed_args)
            targets = host_targets.read(parsed_args, work.book)
            planned = self.collect("planning", len(targets), fleet.each(targets, work.plan))
            found = [(target.name, plan.steps) for target, plan in planned]
        if not any(steps for _, steps in found) and not self.failed:
            self.note("nothing to do")
        return table(parsed_args, found, whole=parsed_args.diff)

    def _of_root(self, parsed: argparse.Namespace) -> "HostPlan":
        from gpufarm.host import facts, names
        from gpufarm.host.plan import feasible, plan
        from gpufarm.model import host_spec
        from gpufarm.system.capture import open_root
        from gpufarm.system.machine import Machine

        if parsed.ssh or parsed.inventory:
            raise UsageError("--root is one host: give it without --ssh and --inventory")
        if parsed.farm:
            raise UsageError("--root goes with --spec: a capture has no settings of Nova")
        spec = host_spec.read(parsed.spec)
        root = open_root(parsed.root)
        found = plan(facts.read(root), spec, names.load(root, Machine()))
        return feasible(str(parsed.root), found)


class ApplyHost(OnHosts):
    """Prepare hosts as the spec or the farm file says, and list what was changed.

    A card that a VM or a process uses, the boot VGA, and a card whose IOMMU group others share are
    refused before anything is changed. Before-images of all that is changed are on the host's disk
    before the first change; whatever interrupts it, apply again or roll back.

    With --farm, drop-ins with the farm's settings are put where Nova's services read them, and the
    services that read a changed one are restarted: in waves, computes before the others.
    """

    examples = """
        # this machine; what needs a reboot waits for one
        gpufarm host apply --spec cards.yaml

        # six hosts, two at a time, with the reboot and a check of each afterwards
        gpufarm host apply --spec cards.yaml --inventory hosts.ini --reboot --wave 2

        # Nova's settings of a farm: computes first, then controllers, three hosts at a time
        gpufarm host apply --farm farm.yaml --inventory hosts.ini --wave 3
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_targets.add_waves(
            parser, "reboot each host that changed or waits for it, and verify it afterwards"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli import host_work
        from gpufarm.cli.host_changes import table
        from gpufarm.host import fleet

        work = host_work.of(parsed_args)
        targets = host_targets.read(parsed_args, work.book)
        keep_going = parsed_args.keep_going
        stages = self.stages(work, targets, keep_going=keep_going)
        size = parsed_args.wave if work.waves else len(targets)
        results = fleet.in_waves(stages, size, work.apply, keep_going=keep_going)
        done = self.collect("preparing", sum(map(len, stages)), results)
        for target, applied in done:
            for warning in applied.warnings:
                self.note(f"{target.name}: {warning}")
            if applied.needs_reboot:
                self.note(f"{target.name}: the rest takes effect with a reboot")
        if not any(applied.steps for _, applied in done) and not self.failed:
            self.note("nothing to do")
        return table(parsed_args, [(target.name, applied.steps) for target, applied in done])


class VerifyHost(OnHosts):
    """List what is not as it should be on prepared hosts; exit status 2 where anything is not.

    Facts are read anew: drivers, groups against those before the apply, memory regions, links, the
    IOMMU, /dev/vfio; and the plan has to come out empty. With --farm: the settings, and that every
    service that is enabled runs.
    """

    examples = """
        # did it survive the reboot?
        gpufarm host verify --spec cards.yaml --ssh root@hyper18 && echo ready

        # do services run with what the farm file says?
        gpufarm host verify --farm farm.yaml --inventory hosts.ini
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli import host_work
        from gpufarm.cli.host_columns import CHECK_COLUMNS, check_row
        from gpufarm.host import fleet

        work = host_work.of(parsed_args)
        targets = host_targets.read(parsed_args, work.book)
        checked = self.collect("verifying", len(targets), fleet.each(targets, work.look))
        found: list[tuple[str, Finding]] = [
            (target.name, finding) for target, looked in checked for finding in looked.findings
        ]
        self.found = bool(found)
        if not found and not self.failed:
            self.note("in order")
        return ("host", *CHECK_COLUMNS), [(name, *check_row(each)) for name, each in found]


class RollbackHost(OnHosts):
    """Take back everything that was applied to hosts, and list it; with --farm, the settings.

    Every file gets its old bytes, rights and absence back, and every function its driver. What
    others changed since in a file that a command makes (the boot menu, an initramfs) stays, and the
    command that takes our part out of it runs instead.
    """

    spec_required = False

    examples = """
        # as it was before the first apply
        gpufarm host rollback --spec cards.yaml --ssh root@hyper18

        # a farm's settings only
        gpufarm host rollback --farm farm.yaml --ssh root@hyper18
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_targets.add_waves(parser, "reboot each host on which something was taken back")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        from gpufarm.cli import host_work
        from gpufarm.host import fleet

        work = host_work.to_take_back(parsed_args)
        targets = host_targets.read(parsed_args, work.book)
        keep_going = parsed_args.keep_going
        stages = self.stages(work, targets, keep_going=keep_going)[::-1]
        size = parsed_args.wave if work.waves else len(targets)
        results = fleet.in_waves(stages, size, work.take_back, keep_going=keep_going)
        done = self.collect("taking back", sum(map(len, stages)), results)
        for target, taken in done:
            for warning in taken.warnings:
                self.note(f"{target.name}: {warning}")
        if not any(taken.lines for _, taken in done) and not self.failed:
            self.note("nothing to take back")
        elif not work.staged and not parsed_args.reboot:
            self.note("what the kernel was started with stays until a reboot")
        return ("host", "kind", "name"), [
            (target.name, *line.removeprefix("undone ").split(" ", 1))
            for target, taken in done
            for line in taken.lines
        ]
