"""What has to change on a host for its cards to be as the host spec says.

What is decided here, from facts and spec and nothing else: the steps and their order, or the
reasons why there are none. First what comes back to the host, then files, then what is built of
them, then what leaves the host, and last the reboot where something waits for it. Whatever of it
was done, the next plan is the rest. Unsafe interrupts and the ACS override are never set.
"""

from collections.abc import Iterator

from gpufarm.host import ours
from gpufarm.host.ids import Names
from gpufarm.host.plan import boot, functions, kernel_line, refusals
from gpufarm.host.plan.choice import Choice, choose
from gpufarm.model.errors import HostRefused
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import FunctionStep, HostPlan, Reboot, Step
from gpufarm.model.host_spec import HostSpec

NO_NAMES = Names()


def feasible(host: str, found: HostPlan) -> HostPlan:
    """`found`; raises HostRefused where it says why `host` is left alone."""
    if found.refusals:
        raise HostRefused(host, found.refusals)
    return found


def plan(facts: HostFacts, spec: HostSpec, names: Names = NO_NAMES) -> HostPlan:
    """Every step, or every refusal; neither where the host is prepared already.

    `names` tells which ids a model of the spec has.
    """
    if facts.source != "machine":
        return HostPlan(refusals=(_not_a_machine(facts),))
    choice, missing = choose(facts, spec, names)
    line = kernel_line.decide(facts, spec)
    refused = (*missing, *refusals.of_choice(facts, choice), *line.refusals)
    if refused:
        return HostPlan(refusals=refused)
    steps = tuple(_steps(facts, choice, line))
    refused = (*boot.refusals(facts, steps), *refusals.of_holders(facts, steps))
    return HostPlan(refusals=refused) if refused else HostPlan(steps)


def _steps(facts: HostFacts, choice: Choice, line: kernel_line.KernelLine) -> Iterator[Step]:
    wanted = ours.texts(choice.given, facts.boot.initramfs)
    yield from functions.returned(facts, choice)
    yield from boot.file_steps(facts, wanted)
    yield from boot.kernel_line_steps(facts, line)
    yield from boot.initramfs_steps(facts, wanted)
    moves: list[FunctionStep] = list(functions.given(facts, choice))
    yield from moves
    if line.before_next_boot or any(each.needs_reboot for each in moves):
        yield Reboot(reason=_why_reboot(line), needs_reboot=True)


def _why_reboot(line: kernel_line.KernelLine) -> str:
    if line.before_next_boot:
        return f"the kernel takes {' '.join(line.before_next_boot)} when it starts"
    return "a driver of the host lets go of its card only when it is not started with it"


def _not_a_machine(facts: HostFacts) -> Finding:
    return Finding(
        code="FACTS_INCOMPLETE",
        severity="error",
        address=None,
        message=f"{facts.origin} says which functions there are, not how the host is set up",
        fix="plan from the machine itself, over SSH, or from a file of `gpufarm host capture`",
        blocks=True,
    )
