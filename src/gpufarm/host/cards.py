"""Cards: which functions belong together, and which of them a host can do without.

What is decided here: a card is all functions of its slot; a virtual function is a card of its own.
Displays of management controllers and those inside of processors are none to give away.
"""

from typing import Literal

import msgspec

from gpufarm.host import known
from gpufarm.host.addresses import order
from gpufarm.host.classes import ACCELERATOR, ACCELERATOR_VENDORS, is_bridge, is_display
from gpufarm.model.facts import HostFacts, PciFunction
from gpufarm.model.pci import Sriov, slot

Kind = Literal["gpu", "bmc", "integrated"]

INTEL = "8086"
AMD_PROCESSORS = "1022"
AMD_GRAPHICS = "1002"


class Card(msgspec.Struct, frozen=True):
    """`functions` with function 0 first; `peers` are functions of others in its IOMMU groups."""

    kind: Kind
    functions: tuple[PciFunction, ...]
    peers: tuple[str, ...] = ()
    slot: str | None = None
    """What is printed at the physical slot."""

    @property
    def first(self) -> PciFunction:
        return self.functions[0]

    @property
    def address(self) -> str:
        return self.first.address

    @property
    def display(self) -> PciFunction:
        """The function that the card is for; nearly always function 0."""
        return next(each for each in self.functions if _shows(each))

    @property
    def groups(self) -> tuple[int, ...]:
        return tuple(
            sorted({each.iommu_group for each in self.functions if each.iommu_group is not None})
        )

    @property
    def sriov(self) -> Sriov:
        if self.first.physical_function is not None:
            return "vf"
        return "pf" if self.first.sriov_total is not None else "none"

    @property
    def boot_vga(self) -> bool:
        return any(each.boot_vga for each in self.functions)


def cards(facts: HostFacts) -> tuple[Card, ...]:
    """The cards of a host in the order of their addresses, those not to give away too."""
    together: dict[str, list[PciFunction]] = {}
    for function in facts.functions:
        virtual = function.physical_function is not None
        place = function.address if virtual else slot(function.address)
        together.setdefault(place, []).append(function)
    members = {group.number: group.addresses for group in facts.iommu.groups}
    classes = {each.address: each.class_id for each in facts.functions}
    found = []
    for functions in together.values():
        if any(_shows(each) for each in functions):
            card = Card(
                _kind(functions),
                tuple(functions),
                slot=facts.machine.slots.get(slot(functions[0].address)),
            )
            found.append(msgspec.structs.replace(card, peers=_peers(card, members, classes)))
    return tuple(sorted(found, key=lambda card: order(card.address)))


def _shows(function: PciFunction) -> bool:
    """Whether a function makes a card of its slot."""
    if function.class_id.startswith(ACCELERATOR):
        return function.vendor_id in ACCELERATOR_VENDORS
    return is_display(function.class_id)


def _kind(functions: list[PciFunction]) -> Kind:
    for function in functions:
        if _shows(function):
            group = known.displays().get(
                f"{function.vendor_id}:{function.product_id}"
            ) or known.displays().get(function.vendor_id)
            if group:
                return group.kind
            if _in_processor(function, functions):
                return "integrated"
    return "gpu"


def _in_processor(function: PciFunction, functions: list[PciFunction]) -> bool:
    """Intel's sits on the root bus as a part of the processor; AMD's shares its slot with the
    processor's own controllers, which carry AMD's other vendor id."""
    if function.vendor_id == INTEL:
        _, bus, _ = function.address.split(":")
        return bus == "00"
    return function.vendor_id == AMD_GRAPHICS and any(
        each.vendor_id == AMD_PROCESSORS for each in functions
    )


def _peers(
    card: Card, members: dict[int, tuple[str, ...]], classes: dict[str, str]
) -> tuple[str, ...]:
    """Without bridges, which stay with the host whatever happens to the group."""
    own = {each.address for each in card.functions}
    found = {address for group in card.groups for address in members.get(group, ())}
    return tuple(
        sorted(
            (each for each in found - own if not is_bridge(classes.get(each, ""))),
            key=_order,
        )
    )


def _order(address: str) -> tuple[int, str]:
    """A group may hold what is no PCI function; that comes last."""
    try:
        return order(address)
    except ValueError:
        return 1 << 32, address
