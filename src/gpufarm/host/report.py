"""What `host scan` says of each card (docs of the interface: one object a card)."""

import msgspec

from gpufarm.host.cards import Card, Kind, cards
from gpufarm.host.findings import blockers, check
from gpufarm.host.ids import Names
from gpufarm.host.names import name
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding
from gpufarm.model.pci import Sriov


class FunctionRow(msgspec.Struct, frozen=True):
    address: str
    vendor_id: str
    product_id: str
    class_id: str
    driver: str | None


class CardRow(msgspec.Struct, frozen=True, kw_only=True):
    """One card. `ready`: it can be given to a VM now; otherwise `blockers` says why not."""

    address: str
    vendor_id: str
    product_id: str
    class_id: str
    name: str | None
    kind: Kind
    functions: tuple[FunctionRow, ...]
    driver: str | None
    iommu_group: int | None
    group_peers: tuple[str, ...]
    numa_node: int | None
    reset_methods: tuple[str, ...]
    boot_vga: bool
    sriov: Sriov
    ready: bool
    blockers: tuple[str, ...]


def scan(facts: HostFacts, names: Names) -> tuple[CardRow, ...]:
    """One row a card, by address."""
    found = cards(facts)
    findings = check(facts, found)
    return tuple(_row(card, findings, names) for card in found)


def _row(card: Card, findings: tuple[Finding, ...], names: Names) -> CardRow:
    first = card.first
    blocked = blockers(findings, card)
    return CardRow(
        address=card.address,
        vendor_id=first.vendor_id,
        product_id=first.product_id,
        class_id=first.class_id,
        name=name(first, names),
        kind=card.kind,
        functions=tuple(
            FunctionRow(each.address, each.vendor_id, each.product_id, each.class_id, each.driver)
            for each in card.functions
        ),
        driver=first.driver,
        iommu_group=first.iommu_group,
        group_peers=card.peers,
        numa_node=first.numa_node,
        reset_methods=first.reset_methods or (),
        boot_vga=card.boot_vga,
        sriov=card.sriov,
        ready=not blocked,
        blockers=blocked,
    )
