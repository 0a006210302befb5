"""Carries out a plan on a host, has it reboot, and takes everything back.

What is decided here: that a plan is made right before it is carried out, and made again after it.
What can be interrupted at any point is the host's agent (`gpufarm.system.agent`).
"""

import time
from collections.abc import Callable, Iterator

import msgspec

from gpufarm.host import orders
from gpufarm.host.ids import Names
from gpufarm.host.plan import NO_NAMES, feasible, plan
from gpufarm.host.target import Target
from gpufarm.model.errors import (
    HostHeld,
    HostInterrupted,
    HostNotBack,
    HostUnequal,
    HostUnreachable,
    ProgramTimedOut,
)
from gpufarm.model.facts import HostFacts
from gpufarm.model.host_change import Step, shown
from gpufarm.model.host_spec import HostSpec

POLL_SECONDS = 2.0
BACK_SECONDS = 1800.0
"""Servers with a terabyte of memory test it for many minutes before they boot."""


class Applied(msgspec.Struct, frozen=True):
    """`steps` were carried out; the rest waits for a reboot."""

    steps: tuple[Step, ...]
    needs_reboot: bool
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        done = f"{len(self.steps)} changes" if self.steps else "nothing to do"
        return f"{done}, waits for a reboot" if self.needs_reboot else done


def prepare(target: Target, spec: HostSpec, names: Names = NO_NAMES) -> Applied:
    """Do what can be done without a reboot.

    Raises HostRefused before any change, HostUnequal where a new plan still has something that
    should have been done, and what the target raises.
    """
    facts = target.facts()
    wanted = feasible(target.name, plan(facts, spec, names))
    if not wanted.feasible:
        return Applied((), wanted.needs_reboot)
    answer = target.ask("apply", orders.encode(wanted.feasible, _notes(facts)))
    left = feasible(target.name, plan(target.facts(), spec, names))
    if left.feasible:
        raise HostUnequal(target.name, tuple(shown(each).name for each in left.feasible))
    return Applied(wanted.feasible, left.needs_reboot, answer.warnings)


def _notes(facts: HostFacts) -> Iterator[str]:
    """What `verify` compares with: who was in which group."""
    for group in facts.iommu.groups:
        yield f"group {group.number} {' '.join(group.addresses)}"


def reboot(
    target: Target, *, seconds: float = BACK_SECONDS, wait: Callable[[float], None] = time.sleep
) -> None:
    """Reboot and wait until it is back; HostNotBack after `seconds`."""
    before = target.ask("reboot").lines
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        wait(POLL_SECONDS)
        try:
            if target.ask("boot-id").lines != before:
                return
        except (HostUnreachable, HostInterrupted, ProgramTimedOut):
            continue
    raise HostNotBack(target.name, seconds)


def roll_back(target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Undo every apply since the last rollback; what was undone, and warnings."""
    answer = target.ask("rollback")
    return answer.lines, answer.warnings


def refuse_guests(target: Target) -> None:
    """Raise HostHeld where a VM or process of `target` has a card, which a reboot would end."""
    held = target.facts().holders or ()
    if held:
        uses = [f"{each.paths[0]} {each.pid} {each.guest or each.command}" for each in held]
        raise HostHeld(target.name, tuple(uses))
