"""`gpufarm farm`: the OpenStack side of a GPU farm, from one file."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.cli.base import Command, Lister, UsageError

if TYPE_CHECKING:
    from gpufarm.cli.farm_target import Target
    from gpufarm.model.change import Change
    from gpufarm.model.farm import Farm

COLUMNS = ("action", "kind", "name", "changes", "reason")

HOW_TO_RENDER = (
    "Nova's settings cannot be read through the API: `gpufarm host plan --farm {0} --inventory "
    "FILE` compares those on hosts, `gpufarm farm render {0} --layout plain|kolla|osa -o DIR` "
    "writes what this farm needs"
)

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


class FarmLister(Lister):
    """Base of the commands that compare a farm file with a cloud."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("farm", metavar="FARM.yaml", type=Path, help="the farm file")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="also remove what carries this farm's mark and is no longer in its file",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="also replace (delete and create anew) what OpenStack cannot change in place",
        )
        return parser

    @contextlib.contextmanager
    def target(
        self, parsed_args: argparse.Namespace, *, to_change: bool = False
    ) -> Iterator["Target"]:
        """The farm and the cloud, both read; raises what `plan` raises, before any change."""
        from gpufarm.cli import farm_target

        with self.progress("reading the farm file", quick=True) as progress:
            farm, files = farm_target.load(parsed_args.farm, progress.advance)
        connection = self.connection()
        lab = farm_target.find_lab(connection)
        if lab is None:
            self.note(HOW_TO_RENDER.format(parsed_args.farm))
        with farm_target.alone(lab if to_change else None):
            with self.progress("reading the cloud", quick=True) as progress:
                progress.advance(f"comparing {parsed_args.farm} with the cloud")
                found = farm_target.look(farm, files, connection, lab)
            yield found

    def tell_unneeded(self, found: "Target", parsed_args: argparse.Namespace) -> None:
        unneeded = [] if parsed_args.prune else found.unneeded()
        if unneeded:
            listed = ", ".join(f"{change.kind} {change.name}" for change in unneeded)
            self.note(f"no longer in the farm file, and kept without --prune: {listed}")

    def tell_steps(self, by_hand: "Sequence[Change]") -> None:
        """What gpufarm leaves to people, in order."""
        for change in by_hand:
            self.note(f"{change.name} is {change.reason}. The way off it, by hand:")
            for step in change.changes:
                self.note(f"  {step.field}: {step.to}")


class PlanFarm(FarmLister):
    """Show what `farm apply` would change; change nothing.

    What an object is called decides which one is meant. One that carries the farm's mark is the
    farm's, one that carries no mark is taken over, one with another farm's mark is an error.
    """

    examples = """
        # what would be done
        gpufarm farm plan farm.yaml

        # the same for a script; an empty list when nothing is to do
        gpufarm farm plan farm.yaml -f json
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        with self.target(parsed_args) as found:
            changes = found.plan(prune=parsed_args.prune)
            self.tell_unneeded(found, parsed_args)
            self.tell_steps(found.second_computes())
        if not parsed_args.replace and any(change.action == "replace" for change in changes):
            self.note("`farm apply` refuses the replacements unless it gets --replace")
        if not changes:
            self.note("nothing to do")
        return _table(changes)


class Apply(FarmLister):
    """Make the cloud as the farm file says, and list what was changed.

    Whatever interrupts it, the next apply goes on from there. It ends when a new plan is empty.
    """

    examples = """
        # do it
        gpufarm farm apply farm.yaml

        # with a flavor of another size, and without what left the file
        gpufarm farm apply farm.yaml --replace --prune
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        with self.target(parsed_args, to_change=True) as found:
            changes = self._apply(found, parsed_args)
            self.tell_unneeded(found, parsed_args)
        if not changes:
            self.note("nothing to do")
        return _table(changes)

    def _apply(self, found: "Target", parsed_args: argparse.Namespace) -> tuple["Change", ...]:
        from gpufarm.catalog.apply import apply
        from gpufarm.catalog.plan import refuse_replacements

        planned = found.plan(prune=parsed_args.prune)
        if not parsed_args.replace:
            refuse_replacements(planned)
        settings = found.settings_changes(prune=parsed_args.prune)
        with self.progress(f"applying farm {found.farm.name}") as progress:
            found.put_settings(progress.advance, prune=parsed_args.prune)
            done = apply(
                found.farm,
                found.door,
                found.files,
                prune=parsed_args.prune,
                replace=parsed_args.replace,
                told=progress.advance,
            )
        return (*settings, *done)


class Check(FarmLister):
    """List every drift from the farm file; exit status 2 where there is one.

    Drift is what `farm apply` with the same options would change. Where the hosts' hardware cannot
    be seen, a card that its hosts do not report to Placement is drift too. So is a second
    nova-compute on one machine, with the steps off it.
    """

    examples = """
        # is all as the file says?
        gpufarm farm check farm.yaml && echo in order
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        with self.target(parsed_args) as found:
            by_hand = found.second_computes()
            changes = (*found.plan(prune=parsed_args.prune), *found.unreported(), *by_hand)
            self.tell_unneeded(found, parsed_args)
            self.tell_steps(by_hand)
        self.found = bool(changes)
        if not changes:
            self.note("in order")
        return _table(changes)


class Render(Command):
    """Write the Nova and Placement settings that a farm needs, for other deployment tools.

    plain: drop-in files by role. kolla: what kolla-ansible reads below /etc/kolla. osa: what
    openstack-ansible reads below /etc/openstack_deploy.
    """

    examples = """
        # look at them
        gpufarm farm render farm.yaml

        # for kolla-ansible
        gpufarm farm render farm.yaml --layout kolla -o /etc/kolla

        # with a hard reserve, which depends on what the hosts are
        gpufarm farm render farm.yaml --hosts hosts/
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpufarm.nova.layouts import LAYOUTS

        parser = super().get_parser(prog_name)
        parser.add_argument("farm", metavar="FARM.yaml", type=Path, help="the farm file")
        parser.add_argument(
            "--layout", choices=tuple(LAYOUTS), default="plain", help="for which tool (%(default)s)"
        )
        parser.add_argument(
            "-o", "--output", metavar="DIR", type=Path, help="write files there; otherwise print"
        )
        parser.add_argument(
            "--host",
            metavar="HOST",
            action="append",
            default=[],
            help="a compute host to write settings for (repeatable; by default those that the "
            "farm file names, where some card is not on every host)",
        )
        parser.add_argument(
            "--hosts",
            metavar="PATH",
            type=Path,
            action="append",
            default=[],
            help="host files, for a hard reserve: a file, or a folder of them (repeatable)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.catalog import fitness
        from gpufarm.lab import hardware as host_files
        from gpufarm.model import farm as model
        from gpufarm.model import hardware
        from gpufarm.nova import layouts

        farm = model.read(parsed_args.farm)
        hosts = _host_names(parsed_args.host) or _own_hosts(farm)
        known = host_files.read(parsed_args.hosts)
        if known:
            fitness.check_hardware(farm, known)
        machines = hardware.machines(farm, known)
        rendered = layouts.files(farm, parsed_args.layout, hosts, machines)
        if parsed_args.output:
            self._write(parsed_args.output, rendered)
        else:
            texts = [f"# ==> {path} <==\n{text}" for path, text in rendered.items()]
            self.app.stdout.write("\n".join(texts))

    def _write(self, folder: Path, rendered: dict[str, str]) -> None:
        from gpufarm.system import files

        for name, text in rendered.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            written = files.write_if_changed(path, text)
            self.note(f"{'wrote' if written else 'unchanged'} {path}")


class Schema(Command):
    """Print the JSON Schema of the farm file, of a simulated host's file, or of the host spec."""

    examples = """
        # for an editor or a linter
        gpufarm farm schema > farm.schema.json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--of",
            choices=("farm", "host", "host-spec"),
            default="farm",
            help="of which file (%(default)s)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        import json

        from gpufarm.model import schema

        kinds = {"farm": schema.farm, "host": schema.host, "host-spec": schema.host_spec}
        self.app.stdout.write(json.dumps(kinds[parsed_args.of](), indent=2) + "\n")


def _table(changes: Sequence["Change"]) -> Table:
    from gpufarm.cli.columns import row

    return COLUMNS, [row(change) for change in changes]


def _own_hosts(farm: "Farm") -> tuple[str, ...]:
    from gpufarm.model.farm import named_hosts
    from gpufarm.nova.layouts import bound_to_hosts

    return tuple(sorted(named_hosts(farm))) if bound_to_hosts(farm) else ()


def _host_names(given: list[str]) -> tuple[str, ...]:
    """They become parts of paths, so that not everything may be one."""
    import msgspec

    from gpufarm.model.farm import ComputeName

    try:
        return tuple(msgspec.convert(given, list[ComputeName]))
    except msgspec.ValidationError as error:
        raise UsageError(f"--host {' '.join(given)!r}: not the name of a host") from error
