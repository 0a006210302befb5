"""`gpufarm host rehearse`: a plan tried out on a virtual host before the real one is touched."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gpufarm.cli import host_source
from gpufarm.cli.base import Lister
from gpufarm.cli.columns import Name, Wrapped
from gpufarm.cli.lab import add_state, state_folder
from gpufarm.model.errors import GpufarmError, NoVirtualHost
from gpufarm.model.host_change import shown

if TYPE_CHECKING:
    from gpufarm.host.cards import Card
    from gpufarm.host.ids import Names
    from gpufarm.host.rehearsal import Unlike
    from gpufarm.host.target import Target
    from gpufarm.lab.virthost.guest import Guest
    from gpufarm.lab.virthost.likeness import Likeness
    from gpufarm.model.facts import HostFacts
    from gpufarm.model.finding import Finding
    from gpufarm.model.host_change import HostPlan
    from gpufarm.model.host_spec import HostSpec

Step = Literal[
    "plan", "start", "apply", "reboot", "verify", "rollback", "verify as before", "not rehearsed"
]
Outcome = Literal["done", "found", "failed", "differs"]


class Row(msgspec.Struct, frozen=True):
    step: Step
    outcome: Outcome
    name: str
    detail: str


class Detail(Wrapped):
    width = 44


class Original(msgspec.Struct, frozen=True):
    """What is rehearsed: the captured host, and what is to become of it."""

    facts: "HostFacts"
    spec: "HostSpec"
    names: "Names"
    plan: "HostPlan"
    given: tuple["Card", ...]
    staying: tuple["Card", ...]


class Rehearse(Lister):
    """Try out `host apply` on a virtual host that is made like a captured real one.

    It gets the same cards by their ids, and as near as QEMU can the same addresses, IOMMU, groups,
    resets and memory regions. There the plan is applied, the host rebooted, verified, everything
    taken back and compared with before. What could not be rehearsed is listed last. Exit status 2
    where verify found something. The virtual host is ended in any case.
    """

    examples = """
    # before hyper18 is touched
    gpufarm host capture --ssh root@hyper18 -o hyper18.json.gz
    gpufarm host rehearse --root hyper18.json.gz --spec cards.yaml
    """

    failed: bool = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        host_source.add_root(parser, required=True)
        parser.add_argument(
            "--spec",
            metavar="FILE",
            type=Path,
            required=True,
            help="the host spec: which cards leave the host",
        )
        add_state(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        original = _read(parsed_args.root, parsed_args.spec)
        with self.progress("rehearsing") as progress, _ended_by_signals():
            rehearsal = Rehearsal(original, state_folder(parsed_args), progress.advance)
            try:
                rehearsal.run()
            except GpufarmError as error:
                rehearsal.tell("failed", error.code, str(error))
                self.failed = True
                self.app.stderr.write(f"error: {error}\n")
        self.found = any(row.outcome == "found" for row in rehearsal.rows)
        return Row.__struct_fields__, [
            (row.step, row.outcome, Name(row.name), Detail(row.detail)) for row in rehearsal.rows
        ]

    def run(self, parsed_args: argparse.Namespace) -> int:
        """1 where it did not get to its end, whatever was found before."""
        status = super().run(parsed_args)
        return 1 if self.failed else status


def _read(root_path: Path, spec_path: Path) -> Original:
    """Raises HostRefused where there is nothing to rehearse, CaptureInvalid, DocumentError."""
    from gpufarm.host import facts, names
    from gpufarm.host.cards import cards
    from gpufarm.host.plan import feasible, plan
    from gpufarm.host.plan.choice import choose
    from gpufarm.model import host_spec
    from gpufarm.system.capture import open_root
    from gpufarm.system.machine import Machine

    spec, root = host_spec.read(spec_path), open_root(root_path)
    found, known = facts.read(root), names.load(root, Machine())
    planned = feasible(str(root_path), plan(found, spec, known))
    given = choose(found, spec, known)[0].cards
    addresses = {card.address for card in given}
    staying = tuple(
        card for card in cards(found) if card.kind == "gpu" and card.address not in addresses
    )
    return Original(found, spec, known, planned, given, staying)


class Rehearsal:
    """`rows` say what happened, also where `run` ends with an error."""

    def __init__(self, original: Original, folder: Path, told: Callable[[str], None]) -> None:
        self.rows: list[Row] = []
        self._step: Step = "plan"
        self._original = original
        self._folder = folder
        self._told = told

    def run(self) -> None:
        """Raises GpufarmError where a step cannot be done."""
        from gpufarm.host.target import There

        like = self._likeness()
        self._begin("plan", f"{len(self._original.plan.steps)} changes of the real host")
        self.tell("done", self._original.facts.origin, self._original.plan.words)
        self._begin("start", f"a virtual host with {len(like.machine.cards)} cards")
        with self._virtual_host(like) as guest:
            self._rehearse(There(guest.name, guest.config), like)

    def tell(self, outcome: Outcome, name: str, detail: str) -> None:
        self.rows.append(Row(self._step, outcome, name, detail))

    def _begin(self, step: Step, words: str) -> None:
        self._step = step
        self._told(f"{step}: {words}")

    def _likeness(self) -> "Likeness":
        from gpufarm.lab.virthost import likeness

        chosen = [likeness.Original(card.functions) for card in self._original.given]
        others = [
            likeness.Original(card.functions, bool(card.peers)) for card in self._original.staying
        ]
        return likeness.of(f"rehearsal-{os.getpid()}", self._original.facts, [*chosen, *others])

    @contextlib.contextmanager
    def _virtual_host(self, like: "Likeness") -> "Iterator[Guest]":
        from gpufarm.lab.virthost import host

        try:
            yield host.up(self._folder, like.machine, lambda text: self._told(f"start: {text}"))
        finally:
            with contextlib.suppress(NoVirtualHost):
                host.down(self._folder, like.machine.name)

    def _rehearse(self, target: "Target", like: "Likeness") -> None:
        """The very steps of `host apply --reboot`, `verify` and `rollback --reboot`."""
        from gpufarm.host import rehearsal
        from gpufarm.host.apply import prepare, reboot
        from gpufarm.host.plan import plan
        from gpufarm.host.rollout import look, take_back

        original, places = self._original, like.places
        spec, names = rehearsal.translate(original.spec, places), original.names
        before = target.facts()
        for real, there in places.items():
            self.tell("done", real, f"rehearsed by {there}")
        planned = plan(before, spec, names)

        self._begin("apply", planned.words)
        for step in prepare(target, spec, names).steps:
            change = shown(step)
            self.tell("done", f"{change.kind} {change.name}", change.reason)
        self._begin("reboot", "with everything applied")
        reboot(target)
        self.tell("done", target.name, "came back")
        self._begin("verify", "facts read anew")
        self._findings(look(target, spec, names).findings)
        self._begin("rollback", "and reboot")
        for line in take_back(target, reboots=True).lines:
            self.tell("done", line.removeprefix("undone "), "as it was")
        self._begin("verify as before", "facts read anew")
        self._findings(rehearsal.as_before(before, target.facts()))

        self._step = "not rehearsed"
        cards = [card.address for card in (*original.given, *original.staying)]
        self._unlike(rehearsal.left_out(cards, places))
        self._unlike(rehearsal.unlike(original.facts, before, places))
        self._unlike(rehearsal.steps_missing(original.plan, planned, places))

    def _findings(self, findings: "tuple[Finding, ...]") -> None:
        for each in findings:
            self.tell("found", each.code, each.message)
        if not findings:
            self.tell("done", "in order", "")

    def _unlike(self, differences: "tuple[Unlike, ...]") -> None:
        for each in differences:
            self.tell("differs", each.name, f"{each.real}; rehearsed with {each.rehearsed}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A terminal that is closed, or a `kill`, ends the virtual host as Ctrl-C does."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    watched = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, leave) for number in watched]
    try:
        yield
    finally:
        for number, handler in zip(watched, before, strict=True):
            signal.signal(number, handler)
