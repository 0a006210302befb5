"""Whether a host is as it was prepared to be.

What is decided here: from facts, the plan that they still lead to, and what the journal remembers
of the time before. Codes of `host check` mean the same here.
"""

from collections.abc import Iterable, Iterator

from gpufarm.host.cards import cards
from gpufarm.host.findings import check
from gpufarm.host.ids import Names
from gpufarm.host.plan import NO_NAMES, plan
from gpufarm.host.plan.choice import Choice, choose, refusal
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import BindFunction, Reboot, RemoveFunction, Step, shown
from gpufarm.model.host_spec import HostSpec

OF_CARDS = frozenset(
    ("GROUP_NOT_VIABLE", "FUNCTION_LEFT_BEHIND", "BAR_UNASSIGNED", "LINK_DEGRADED", "DEVICE_DEAD")
)
OF_HOST = frozenset(("IOMMU_OFF", "NOIOMMU_MODE", "VFIO_MISSING"))


def verify(
    facts: HostFacts, spec: HostSpec, notes: Iterable[str] = (), names: Names = NO_NAMES
) -> tuple[Finding, ...]:
    """Everything that is not as it should be; empty when all is well.

    `notes` are those of the journal's first apply.
    """
    found = plan(facts, spec, names)
    choice, _ = choose(facts, spec, names)
    return (
        *found.refusals,
        *(each for step in found.steps for each in _left(step)),
        *_groups(facts, choice, notes),
        *_nodes(facts, choice),
        *_checked(facts, choice, {each.code for each in found.refusals}),
    )


def _left(step: Step) -> Iterator[Finding]:
    if isinstance(step, BindFunction):
        yield refusal(
            "FUNCTION_NOT_BOUND",
            step.address,
            f"{step.address} is with {step.was or 'no driver'} instead of {step.driver}: "
            f"{step.reason}",
            "reboot the host" if step.needs_reboot else "`gpufarm host apply`",
        )
    elif isinstance(step, RemoveFunction):
        yield refusal(
            "FUNCTION_NOT_REMOVED",
            step.address,
            f"{step.address} is on the bus",
            "reboot the host" if step.needs_reboot else "`gpufarm host apply`",
        )
    elif isinstance(step, Reboot):
        yield refusal("REBOOT_PENDING", None, f"a reboot is due: {step.reason}", "reboot the host")
    else:
        change = shown(step)
        yield refusal(
            "NOT_APPLIED",
            None,
            f"{change.kind} {change.name}: {change.reason}",
            "`gpufarm host apply`",
        )


def _groups(facts: HostFacts, choice: Choice, notes: Iterable[str]) -> Iterator[Finding]:
    """Who shares a group with a given function now and did not before, or the other way round.

    The kernel gives out new numbers at each boot, so that only members are compared.
    """
    before = [frozenset(note.split()[2:]) for note in notes if note.startswith("group ")]
    removed = {each.address for each in choice.given if each.driver is None}
    seen: set[frozenset[str]] = set()
    for given in choice.given:
        was = next((group for group in before if given.address in group), None)
        now = _group_of(facts, given.address)
        if was is None or now is None or now in seen or was - removed == now - removed:
            continue
        seen.add(now)
        yield refusal(
            "GROUP_CHANGED",
            given.address,
            f"the IOMMU group of {given.address} was {', '.join(sorted(was))} and is "
            f"{', '.join(sorted(now))}",
            "see what changed in the slots or in the firmware; then roll back and apply again",
        )


def _group_of(facts: HostFacts, address: str) -> frozenset[str] | None:
    for group in facts.iommu.groups:
        if address in group.addresses:
            return frozenset(group.addresses)
    return None


def _nodes(facts: HostFacts, choice: Choice) -> Iterator[Finding]:
    """vfio-pci makes a node for the group of each function that it has."""
    known = {each.address: each for each in facts.functions}
    bound = [known[each.address] for each in choice.given if each.address in known]
    for function in bound:
        if function.driver == "vfio-pci" and function.iommu_group not in facts.vfio_groups:
            yield refusal(
                "VFIO_NODE_MISSING",
                function.address,
                f"there is no /dev/vfio/{function.iommu_group} although vfio-pci has "
                f"{function.address}",
                "see the kernel's log (dmesg) and whether udev runs",
            )


def _checked(facts: HostFacts, choice: Choice, said: set[str]) -> Iterator[Finding]:
    """What `host check` finds about the cards that were given away."""
    ours = {each.address for card in choice.cards for each in card.functions}
    for finding in check(facts, cards(facts)):
        of_ours = finding.address in ours and finding.code in OF_CARDS
        if (of_ours or finding.code in OF_HOST) and finding.code not in said:
            yield finding
