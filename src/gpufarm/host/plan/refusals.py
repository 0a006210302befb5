"""Why a card that a host spec means is not given away."""

from collections.abc import Iterable, Iterator

from gpufarm.host import drivers
from gpufarm.host.classes import is_bridge
from gpufarm.host.plan.choice import Choice, refusal
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import BindFunction, ReleaseFunction, RemoveFunction, Step


def of_choice(facts: HostFacts, choice: Choice) -> Iterator[Finding]:
    yield from _groups(facts, choice)
    yield from _overrides(facts, choice)
    wanted = {each.driver for each in choice.given if each.driver}
    installed, builtin = facts.kernel.installed, facts.kernel.builtin
    for driver in sorted(wanted):
        module = driver.replace("-", "_")
        if installed is not None and module not in installed | builtin:
            yield refusal(
                "VFIO_MISSING",
                None,
                f"kernel {facts.kernel.release} has no module {driver}",
                "install the kernel's full module package (a cloud kernel leaves it out) and boot "
                "that kernel",
            )


def _groups(facts: HostFacts, choice: Choice) -> Iterator[Finding]:
    """A group goes to a VM as a whole (Documentation/driver-api/vfio.rst)."""
    given = {each.address for each in choice.given}
    known = {each.address: each for each in facts.functions}
    for group in facts.iommu.groups:
        if not given.intersection(group.addresses):
            continue
        others = [
            f"{address} ({known[address].driver})"
            for address in group.addresses
            if address in known
            and address not in given
            and not is_bridge(known[address].class_id)
            and drivers.hinders(known[address].driver)
        ]
        if others:
            yield refusal(
                "GROUP_NOT_VIABLE",
                min(given.intersection(group.addresses)),
                f"IOMMU group {group.number} also holds {', '.join(others)}, which stays with the "
                "host: a VM with the card would not start",
                "put the card into another slot, turn on ACS in the firmware, or give away what "
                "shares the group too",
            )


def _overrides(facts: HostFacts, choice: Choice) -> Iterator[Finding]:
    for each in choice.given:
        kept = facts.boot.overrides.get(each.address)
        if each.driver and kept and kept != each.driver:
            yield refusal(
                "OTHER_OVERRIDE",
                each.address,
                f"driverctl keeps {each.address} on {kept}",
                f"`driverctl unset-override {each.address}`",
            )


def of_holders(facts: HostFacts, steps: Iterable[Step]) -> Iterator[Finding]:
    """Functions that would move while a process has them open."""
    moving = {
        each.address
        for each in steps
        if isinstance(each, BindFunction | ReleaseFunction | RemoveFunction)
        and not each.needs_reboot
    }
    known = {each.address: each for each in facts.functions}
    for address in sorted(moving & known.keys()):
        function = known[address]
        nodes = {f"/dev/vfio/{function.iommu_group}", f"/dev/vfio/devices/{function.vfio_device}"}
        for holder in facts.holders or ():
            if nodes.intersection(holder.paths):
                who = f"VM {holder.guest}" if holder.guest else holder.command
                yield refusal(
                    "CARD_HELD",
                    address,
                    f"{who} (process {holder.pid}) uses {address}",
                    "end it first, or leave this card out of the host spec",
                )
