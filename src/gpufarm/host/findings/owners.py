"""Findings about who has a card: nobody, the host, a VM, or others in its IOMMU group."""

import re
from collections.abc import Iterator

from gpufarm.host.cards import Card
from gpufarm.host.drivers import hinders, is_host, is_vfio
from gpufarm.host.findings.codes import count, finding
from gpufarm.model.facts import Holder, HostFacts, PciFunction
from gpufarm.model.finding import Finding


def kind(_: HostFacts, card: Card) -> Iterator[Finding]:
    ids = f"{card.display.vendor_id}:{card.display.product_id}"
    if card.kind == "bmc":
        yield finding(
            "MANAGEMENT_VGA",
            card.address,
            f"{ids} is the display of the management controller, which the remote console needs",
            "leave it to the host",
        )
    elif card.kind == "integrated":
        yield finding(
            "INTEGRATED_GPU",
            card.address,
            f"{ids} is a part of the processor, the chipset or the hypervisor, not a card",
            "leave it to the host",
        )


def boot_vga(_: HostFacts, card: Card) -> Iterator[Finding]:
    if card.boot_vga:
        yield finding(
            "BOOT_VGA",
            card.address,
            "firmware and kernel show the console on this card (boot_vga is 1)",
            "make the management controller's display the primary one in the firmware set-up, or "
            "ask for this card by its address",
        )


def dead(_: HostFacts, card: Card) -> Iterator[Finding]:
    for function in card.functions:
        if not function.answers:
            yield finding(
                "DEVICE_DEAD",
                function.address,
                "its configuration space reads 0xff throughout: it is gone, or hangs",
                "power the host off and on; where it comes again after each VM, see whether the "
                "model resets badly",
            )


def group(facts: HostFacts, card: Card) -> Iterator[Finding]:
    by_address = {each.address: each for each in facts.functions}
    groups = card.groups
    members = {
        address
        for each in facts.iommu.groups
        if each.number in groups
        for address in each.addresses
    }
    own = {each.address for each in card.functions}
    taken = sorted(
        address
        for address in members - own
        if address not in by_address or hinders(by_address[address].driver)
    )
    others = sorted({*taken, *card.peers})
    if not others:
        return
    numbers = " and ".join(str(number) for number in groups)
    named = ", ".join(_described(address, by_address.get(address)) for address in others[:8])
    more = f" and {len(others) - 8} more" if len(others) > 8 else ""  # noqa: PLR2004
    effect = (
        f"{len(taken)} of them with a driver of the host, for which VFIO refuses the group"
        if taken
        else "and a group goes to one VM as a whole"
    )
    yield finding(
        "GROUP_NOT_VIABLE",
        card.address,
        f"IOMMU group {numbers} holds {count(len(others), 'function')} of other devices: "
        f"{named}{more}; {effect}",
        "move the card to a slot below a port with ACS (another root port or CPU's slot), or turn "
        "on ACS in the firmware set-up; overriding ACS in the kernel would only hide it and is "
        "unsafe",
    )


def _described(address: str, function: PciFunction | None) -> str:
    if function is None:
        return address
    driver = f"driver {function.driver}" if function.driver else "no driver"
    return f"{address} ({function.vendor_id}:{function.product_id}, {driver})"


def host_drivers(_: HostFacts, card: Card) -> Iterator[Finding]:
    held = [each for each in card.functions if is_host(each.driver)]
    if not held or card.first.sriov_enabled:
        return
    given = [each for each in card.functions if not is_host(each.driver)]
    begun = not is_host(card.display.driver) or any(is_vfio(each.driver) for each in given)
    for function in held:
        if begun:
            yield finding(
                "FUNCTION_LEFT_BEHIND",
                function.address,
                f"{len(given)} of the card's {len(card.functions)} functions left the host, "
                f"this one ({function.vendor_id}:{function.product_id}) is with {function.driver}",
                f"bind {function.address} to vfio-pci as well: all functions of a card go together",
            )
        else:
            yield finding(
                "HOST_DRIVER_BOUND",
                function.address,
                f"the host's driver {function.driver} has it "
                f"({function.vendor_id}:{function.product_id})",
                f"bind {function.address} to vfio-pci at boot, before {function.driver} takes it",
            )


def sriov(_: HostFacts, card: Card) -> Iterator[Finding]:
    first = card.first
    if first.sriov_enabled:
        yield finding(
            "SRIOV_IN_USE",
            card.address,
            f"{first.sriov_enabled} of {first.sriov_total} virtual functions are on",
            "give the virtual functions away, or turn them off (0 into sriov_numvfs) first",
        )


def in_use(facts: HostFacts, card: Card) -> Iterator[Finding]:
    paths = {f"/dev/vfio/{number}" for number in card.groups} | {
        f"/dev/vfio/devices/{each.vfio_device}" for each in card.functions if each.vfio_device
    }
    for holder in facts.holders or ():
        held = sorted(paths.intersection(holder.paths))
        if held:
            yield finding(
                "CARD_IN_USE",
                card.address,
                f"{_called(holder)} has {', '.join(held)} open",
                "nothing, if that VM should have it; otherwise stop it",
            )


def _called(holder: Holder) -> str:
    if not holder.guest:
        return f"process {holder.pid} ({holder.command})"
    # Nova names its guests so (instance_name_template).
    owner = "Nova's guest" if re.fullmatch(r"instance-[0-9a-f]{8}", holder.guest) else "guest"
    return f"{owner} {holder.guest} (process {holder.pid}, {holder.command})"


CARD_RULES = (kind, boot_vga, dead, group, host_drivers, sriov, in_use)
