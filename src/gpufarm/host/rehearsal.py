"""What a rehearsal on another host says about a host, and what it does not.

What is decided here: the spec in the other host's addresses, how the two differ as far as their
facts and plans say, and whether a host is as it was before.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec

from gpufarm.host import ours
from gpufarm.host.classes import is_bridge
from gpufarm.host.plan.choice import ours_on, refusal
from gpufarm.model.facts import HostFacts, Parameter, PciFunction
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import FunctionStep, HostPlan, Step, shown
from gpufarm.model.host_spec import HostSpec
from gpufarm.model.pci import slot

Places = Mapping[str, str]
"""{address of a function: address of the one that stands for it}"""

UNITS = {10: "K", 20: "M", 30: "G"}
"""{exponent of two: suffix}"""


class Unlike(msgspec.Struct, frozen=True):
    """What differs: there, and where it was rehearsed."""

    name: str
    real: str
    rehearsed: str


def translate(spec: HostSpec, places: Places) -> HostSpec:
    """`spec` with the addresses of the other host; without cards that nothing there stands for."""
    slots = {slot(real): slot(there) for real, there in places.items()}
    cards = []
    for choice in spec.cards:
        if choice.address is None:
            cards.append(choice)
        elif slot(choice.address) in slots:
            address = f"{slots[slot(choice.address)]}.0"
            cards.append(msgspec.structs.replace(choice, address=address))
    return msgspec.structs.replace(spec, cards=tuple(cards))


def unlike(real: HostFacts, there: HostFacts, places: Places) -> tuple[Unlike, ...]:
    """Every difference that decides how a host is prepared."""
    known = {each.address: each for each in there.functions}
    pairs = [
        (each, known[places[each.address]])
        for each in real.functions
        if places.get(each.address) in known
    ]
    return (
        *_differing("system", _system(real), _system(there)),
        *_differing("machine", _machine(real), _machine(there)),
        *_differing("kernel", real.kernel.release, there.kernel.release),
        *_differing("boot loader", real.boot.loader, there.boot.loader),
        *_differing("initramfs", real.boot.initramfs, there.boot.initramfs),
        *_differing("IOMMU", _tables(real), _tables(there)),
        *(each for pair in pairs for each in _functions(*pair)),
        *_groups(real, there, places),
    )


def left_out(cards: Iterable[str], places: Places) -> tuple[Unlike, ...]:
    """Of the addresses of cards those that nothing stands for."""
    return tuple(Unlike(each, "a card", "nothing") for each in cards if each not in places)


def steps_missing(real: HostPlan, there: HostPlan, places: Places) -> tuple[Unlike, ...]:
    """Steps of the real host's plan that the other one's does not have."""
    rehearsed = {_step(each) for each in there.steps}
    return tuple(
        Unlike(_step(each), each.reason, "no such step")
        for each in real.steps
        if _step(each, places) not in rehearsed
    )


def _step(step: Step, places: Places | None = None) -> str:
    change = shown(step)
    if isinstance(step, FunctionStep):
        return f"{change.kind} {(places or {}).get(step.address, step.address)}"
    return f"{change.kind} {change.name}"


def as_before(before: HostFacts, after: HostFacts) -> tuple[Finding, ...]:
    """What of `before` was not restored; empty where all of it was."""
    was, now = _state(before), _state(after)
    return tuple(
        refusal(
            "NOT_AS_BEFORE",
            None,
            f"{name} was {was.get(name, 'not there')} and is {now.get(name, 'not there')}",
            "report this with the captures of both: a rollback should have restored it",
        )
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    )


def _state(facts: HostFacts) -> dict[str, str]:
    """All that an apply changes, by a name."""
    files = {path: "there" for path in ours_on(facts) if path in ours.PATHS}
    functions = {
        each.address: f"with {each.driver or 'no driver'}, driver_override {each.driver_override}"
        for each in facts.functions
    }
    groups = {
        f"the group of {min(group.addresses)}": ", ".join(sorted(group.addresses))
        for group in facts.iommu.groups
        if group.addresses
    }
    lines = {"the kernel command line": _line(facts.kernel.cmdline or ())}
    if facts.boot.menu:
        lines["the boot menu"] = _line(facts.boot.menu.cmdline)
    return files | functions | groups | lines


def _line(words: Iterable[Parameter]) -> str:
    return " ".join(
        each.name if each.value is None else f"{each.name}={each.value}" for each in words
    )


def _differing(name: str, real: str | None, there: str | None) -> Iterator[Unlike]:
    if real != there:
        yield Unlike(name, real or "unknown", there or "unknown")


def _system(facts: HostFacts) -> str:
    return " ".join(filter(None, (facts.machine.system, facts.machine.system_version)))


def _machine(facts: HostFacts) -> str:
    """Its firmware's settings are its own too."""
    machine = facts.machine
    firmware = f"firmware {machine.firmware}" if machine.firmware else None
    return " ".join(filter(None, (machine.vendor, machine.product, firmware)))


def _tables(facts: HostFacts) -> str:
    tables = facts.iommu.firmware_tables
    return ", ".join(tables) if tables else "no table of the firmware"


def _functions(real: PciFunction, there: PciFunction) -> Iterator[Unlike]:
    name = real.address
    yield from _differing(f"{name} address", real.address, there.address)
    yield from _differing(f"{name} driver", real.driver or "none", there.driver or "none")
    yield from _differing(f"{name} BARs", _bars(real), _bars(there))
    resets = (", ".join(sorted(each.reset_methods or ())) or "none" for each in (real, there))
    yield from _differing(f"{name} reset", *resets)
    nodes = (_or_none(each.numa_node) for each in (real, there))
    yield from _differing(f"{name} NUMA node", *nodes)
    vfs = (_or_none(each.sriov_total) for each in (real, there))
    yield from _differing(f"{name} VFs", *vfs)
    if real.boot_vga and not there.boot_vga:
        yield Unlike(f"{name} boot VGA", "shows the host's console", "does not")


def _bars(function: PciFunction) -> str:
    return " ".join(_size(bar.size) for bar in function.bars) or "none"


def _size(size: int | None) -> str:
    """As lspci prints it; None is a region whose size the kernel no longer knows."""
    if size is None:
        return "?"
    found = str(size)
    for exponent, unit in UNITS.items():
        if size and size % (1 << exponent) == 0:
            found = f"{size >> exponent}{unit}"
    return found


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


def _groups(real: HostFacts, there: HostFacts, places: Places) -> Iterator[Unlike]:
    """Who shares a group with the cards; of others only how many, and bridges do not count."""
    groups = {each.iommu_group for each in real.functions if each.address in places} - {None}
    for number in groups:
        members = _members(real, {number})
        standing = {places[each] for each in members if each in places}
        numbers = {each.iommu_group for each in there.functions if each.address in standing}
        others = len(members) - len(standing)
        others_there = len(_members(there, numbers) - standing)
        if len(numbers) > 1 or bool(others) != bool(others_there):
            yield Unlike(
                f"IOMMU group of {min(members)}",
                f"one with {others} others",
                f"{len(numbers)} with {others_there} others",
            )


def _members(facts: HostFacts, groups: Container[int | None]) -> set[str]:
    return {
        each.address
        for each in facts.functions
        if each.iommu_group in groups and not is_bridge(each.class_id)
    }
