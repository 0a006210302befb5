"""Findings about modules and their options: lists of ids, drivers of the host, what is gone."""

import re
from collections.abc import Iterator

from gpufarm.host.cards import Card
from gpufarm.host.classes import AUDIO as AUDIO_CLASS
from gpufarm.host.drivers import AUDIO, GRAPHICS, is_host, is_vfio, vfio_ids
from gpufarm.host.findings.codes import count, finding
from gpufarm.host.modprobe import blacklisted, options, plain
from gpufarm.model.facts import HostFacts, PciFunction
from gpufarm.model.finding import Finding

Cards = tuple[Card, ...]

GONE = {"vfio_virqfd": ((6, 2), "it is a part of vfio since")}
"""{module: (the first kernel without it, why)}."""
OURS = re.compile(r"vfio.*|pci_stub|kvm|kvm_intel|kvm_amd")


def ids_too_wide(facts: HostFacts, cards: Cards) -> Iterator[Finding]:
    for entry in vfio_ids(facts):
        matched = [each for each in facts.functions if entry.matches(each)]
        needed = [each for each in matched if _needed(each, matched, cards, facts)]
        if needed:
            listed = ", ".join(_state(each) for each in matched)
            yield finding(
                "VFIO_IDS_TOO_WIDE",
                needed[0].address,
                f"{entry.text} ({entry.where}) matches {count(len(matched), 'function')}, of which "
                f"the host needs {', '.join(each.address for each in needed)}: {listed}",
                "take the entry out and bind by address (driver_override) what is to leave the "
                "host",
            )


def _needed(
    function: PciFunction, matched: list[PciFunction], cards: Cards, facts: HostFacts
) -> bool:
    """Whether the host wants to keep a function that an entry takes.

    It shows the console, it is no card's, or the host works with it while an equal one was given
    away by address.
    """
    card = next((card for card in cards if function in card.functions), None)
    if card is not None and (card.boot_vga or card.kind != "gpu"):
        return True
    if not is_host(function.driver):
        return False
    return card is None or any(_given(each, facts) for each in matched)


def _given(function: PciFunction, facts: HostFacts) -> bool:
    kept = facts.boot.overrides.get(function.address)
    return any(is_vfio(each) for each in (function.driver, function.driver_override, kept)) or (
        function.driver is not None and plain(function.driver) == "pci_stub"
    )


def _state(function: PciFunction) -> str:
    console = ", console" if function.boot_vga else ""
    return f"{function.address} ({function.driver or 'no driver'}{console})"


def ids_unused(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    for entry in vfio_ids(facts):
        if facts.functions and not any(entry.matches(each) for each in facts.functions):
            yield finding(
                "VFIO_IDS_UNUSED",
                None,
                f"{entry.text} ({entry.where}) matches none of {len(facts.functions)} functions",
                "take the entry out, or find out where the device went",
            )


def options_ignored(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    for module in ("vfio_pci", "vfio_iommu_type1", "pci_stub"):
        if module not in facts.kernel.builtin:
            continue
        for line, name, value in options(facts.boot.modprobe, module):
            yield finding(
                "OPTIONS_IGNORED",
                None,
                f"{line.path}, line {line.line}, sets {name}={value} of {module}, which is built "
                f"into kernel {facts.kernel.release}: modprobe.d has no effect on it",
                f"put {module.replace('_', '-')}.{name}={value} on the kernel command line",
            )


def modules_gone(facts: HostFacts, _: Cards) -> Iterator[Finding]:
    for each in facts.boot.load:
        problem = _absent(each.module, facts)
        if problem:
            place = f"{each.path}, line {each.line}," if each.line else each.path
            when = "in the initramfs" if each.when == "initramfs" else "at boot"
            yield finding(
                "MODULE_GONE",
                None,
                f"{place} loads {each.module} {when}: {problem}",
                f"take {each.module} out of {each.path}; dracut and mkinitcpio fail over it",
            )


def _absent(module: str, facts: HostFacts) -> str | None:
    """Why the running kernel cannot load `module`; None where it can, or nobody knows."""
    kernel = facts.kernel
    if not OURS.fullmatch(module):
        return None
    if module in kernel.builtin or module in (kernel.loaded or ()):
        return None
    if kernel.installed is not None and module in kernel.installed:
        return None
    gone = GONE.get(module)
    if gone and (kernel.installed is not None or _version(kernel.release) >= gone[0]):
        return f"kernel {kernel.release} has none, {gone[1]} Linux {gone[0][0]}.{gone[0][1]}"
    if kernel.installed is not None and not gone:
        return f"kernel {kernel.release} has none"
    return None


def _version(release: str | None) -> tuple[int, int]:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", release or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def host_drivers_loaded(facts: HostFacts, cards: Cards) -> Iterator[Finding]:
    """Modules that nothing needs and that would take a card when it comes back or is unbound."""
    bound = {plain(each.driver) for each in facts.functions if each.driver}
    kept_off = blacklisted(facts.boot.modprobe)
    wanted = {
        module
        for card in cards
        if card.kind == "gpu"
        for function in card.functions
        for module in _takers(function)
    }
    vendors = {name: modules for modules in GRAPHICS.values() for name in modules}
    for module in sorted(wanted & (facts.kernel.loaded or frozenset())):
        # nvidia_uvm and its like come with a driver that is bound.
        if bound.intersection(vendors.get(module, (module,))):
            continue
        note = "; it is blacklisted, and was loaded all the same" if module in kept_off else ""
        yield finding(
            "HOST_DRIVER_LOADED",
            None,
            f"{module} is loaded and no device uses it{note}",
            f"blacklist {module} in modprobe.d, rebuild the initramfs and reboot, or unload it now",
        )


def _takers(function: PciFunction) -> tuple[str, ...]:
    if function.class_id.startswith(AUDIO_CLASS):
        return (AUDIO,)
    return GRAPHICS.get(function.vendor_id, ())


HOST_RULES = (
    ids_too_wide,
    ids_unused,
    options_ignored,
    modules_gone,
    host_drivers_loaded,
)
