"""Which words the kernel command line needs for its IOMMU, and which of them are ours to add.

What is decided here: a word is needed where the IOMMU is off without it, or where it is what turned
the IOMMU on today and the next boot would not have it. A kernel that turns it on by itself needs
none (CONFIG_INTEL_IOMMU_DEFAULT_ON; AMD's is on wherever the firmware describes it). With
intel_iommu=on comes iommu=pt, which leaves DMA of the host's own devices as it was without IOMMU
(Documentation/admin-guide/kernel-parameters.txt).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from gpufarm.host import cmdline, ours
from gpufarm.host.plan.choice import ours_on, refusal
from gpufarm.model.facts import HostFacts, Parameter
from gpufarm.model.finding import Finding
from gpufarm.model.host_spec import HostSpec

INTEL_ON: Final = "intel_iommu=on"
PASSTHROUGH: Final = "iommu=pt"
OURS: Final = (INTEL_ON, PASSTHROUGH)
OFF: Final = (("intel_iommu", "off"), ("amd_iommu", "off"), ("iommu", "off"))


class KernelLine(msgspec.Struct, frozen=True):
    """`words` are ours to add, `before` those that we added already.

    `before_next_boot` are those that the running kernel lacks and cannot do without.
    """

    words: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    before_next_boot: tuple[str, ...] = ()
    refusals: tuple[Finding, ...] = ()


def decide(facts: HostFacts, spec: HostSpec) -> KernelLine:
    """Nothing is needed for a spec without cards, and none of it for pci-stub."""
    before = words_before(facts)
    if not spec.cards:
        return KernelLine(before=before)
    refused = tuple(_refusals(facts))
    if refused:
        return KernelLine(refusals=refused)
    needed = tuple(_needed(facts, spec))
    others = set(_texts(_next(facts))) - set(before)
    running = set(_texts(facts.kernel.cmdline or ()))
    return KernelLine(
        words=tuple(word for word in needed if word not in others),
        before=before,
        before_next_boot=tuple(word for word in needed if word not in running),
    )


def words_before(facts: HostFacts) -> tuple[str, ...]:
    """Those that a file of ours says."""
    found = ours_on(facts)
    return ours.parse_words(found.get(ours.GRUB) or found.get(ours.KERNEL_WORDS))


def iommu_words(parameters: tuple[Parameter, ...]) -> frozenset[str]:
    """The words of a command line that ours could be among."""
    return frozenset(_texts(parameters)).intersection(OURS)


def is_intel(facts: HostFacts) -> bool:
    tables = facts.iommu.firmware_tables or ()
    if tables:
        return "DMAR" in tables
    return facts.cpu.vendor == "GenuineIntel"


def _needed(facts: HostFacts, spec: HostSpec) -> Iterator[str]:
    running = set(_texts(facts.kernel.cmdline or ()))
    off = facts.iommu.active is False
    if off and is_intel(facts):
        yield from OURS
        return
    if INTEL_ON in running:
        yield INTEL_ON
    if PASSTHROUGH in running or spec.iommu_passthrough:
        yield PASSTHROUGH


def _refusals(facts: HostFacts) -> Iterator[Finding]:
    for name, value in OFF:
        if value in cmdline.values(_next(facts), name):
            where = facts.boot.next.path if facts.boot.next else "the running kernel's command line"
            yield refusal(
                "IOMMU_OFF",
                None,
                f"{name}={value} in {where} turns the IOMMU off",
                f"take {name}={value} out of it; what others wrote is theirs to change",
            )
    if facts.iommu.active is not False:
        return
    if facts.iommu.firmware_tables == ():
        yield refusal(
            "IOMMU_OFF",
            None,
            "the firmware describes no IOMMU (no DMAR or IVRS table)",
            "turn on VT-d (Intel) or AMD-Vi/IOMMU in the firmware's setup",
        )
    elif not is_intel(facts):
        yield refusal(
            "IOMMU_OFF",
            None,
            "the kernel did not turn on the IOMMU that the firmware describes",
            "its log says why: `dmesg | grep -i -e AMD-Vi -e IOMMU`",
        )


def _next(facts: HostFacts) -> tuple[Parameter, ...]:
    """What the kernel will be given the next time, as far as that can be known."""
    if facts.boot.next is not None:
        return facts.boot.next.cmdline
    return facts.kernel.cmdline or ()


def _texts(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    for each in parameters:
        yield each.name if each.value is None else f"{each.name}={each.value}"
