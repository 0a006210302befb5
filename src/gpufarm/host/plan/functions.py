"""What becomes of each function: bound, removed, or given back, at once or with the next boot."""

from collections.abc import Iterator
from typing import Final

from gpufarm.host.modprobe import plain
from gpufarm.host.ours import Given
from gpufarm.host.plan.choice import Choice
from gpufarm.model.facts import HostFacts, PciFunction
from gpufarm.model.host_change import (
    BindFunction,
    FunctionStep,
    ReleaseFunction,
    RemoveFunction,
    RestoreFunction,
)

CLINGS: Final = frozenset(("nvidia", "amdgpu", "radeon", "i915", "xe", "habanalabs"))
"""Drivers that do not let go of a card while anything uses it, or not at all: nvidia's remove
handler waits for its last user (nvidia/nv-pci.c), and radeon's unbind was seen to hang."""


def returned(facts: HostFacts, choice: Choice) -> Iterator[FunctionStep]:
    """Functions that were given away and no longer are.

    They come before anything else: our file that says which they were is the next to change.
    """
    known = {each.address: each for each in facts.functions}
    now = {each.address: each for each in choice.given}
    for past in choice.before:
        yield from _back(past, now.get(past.address), known.get(past.address))


def given(facts: HostFacts, choice: Choice) -> Iterator[FunctionStep]:
    """Functions that are to leave the host and have not yet."""
    known = {each.address: each for each in facts.functions}
    boot_vga = {each.address for card in choice.cards if card.boot_vga for each in card.functions}
    for each in choice.given:
        function = known.get(each.address)
        if function is None and each.driver is not None:
            function = _rescanned(each)
        if function is not None and function.driver != _kept(each, function):
            why = _waits(facts, each, function)
            if each.address in boot_vga:
                why = "the console uses the boot VGA while the host runs"
            yield _move(each, function, why)


def _rescanned(given: Given) -> PciFunction:
    """A function that `returned` brings back to the bus, as it will be right after that."""
    return PciFunction(
        address=given.address,
        vendor_id=given.vendor_id,
        product_id=given.product_id,
        class_id="000000",
    )


def _kept(given: Given, function: PciFunction) -> str | None:
    """The driver that a function has to have; one that is to go never has it."""
    if given.driver is None:
        return "removed"
    # libvirt takes a card from pci-stub to vfio-pci when a VM starts; that is not to be undone.
    taken = given.driver == "pci-stub" and function.driver == "vfio-pci"
    return function.driver if taken else given.driver


def _waits(facts: HostFacts, given: Given, function: PciFunction) -> str | None:
    """Why it has to wait for the next boot; None where it need not."""
    if given.driver == "vfio-pci" and not facts.iommu.active:
        return "vfio-pci takes nothing without an IOMMU (its probe fails with EINVAL)"
    if plain(function.driver or "") in CLINGS:
        return f"{function.driver} does not let go of it while the host runs"
    return None


def _move(given: Given, function: PciFunction, waits: str | None) -> FunctionStep:
    if given.driver is None:
        return RemoveFunction(
            address=given.address,
            was=function.driver,
            reason=waits or "the host spec removes the audio function",
            needs_reboot=waits is not None,
        )
    return BindFunction(
        address=given.address,
        driver=given.driver,
        was=function.driver,
        override=function.driver_override,
        reason=waits or f"{function.driver or 'no driver'} has it",
        needs_reboot=waits is not None,
    )


def _back(past: Given, now: Given | None, function: PciFunction | None) -> Iterator[FunctionStep]:
    """One that is no longer given away; another function at its address is left alone."""
    if past.driver is None:
        if (now is None or now.driver is not None) and function is None:
            reason = "no longer removed by the host spec"
            yield RestoreFunction(address=past.address, reason=reason)
        return
    if now is None and function is not None and function.driver == past.driver:
        ids = (function.vendor_id, function.product_id)
        if ids == (past.vendor_id, past.product_id):
            yield ReleaseFunction(
                address=past.address,
                was=function.driver,
                override=function.driver_override,
                reason="no longer given away by the host spec",
            )
