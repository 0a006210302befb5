"""The host spec: which cards of a host are given to VMs, and how.

What is decided here: what a host spec may say. Which functions of a certain host it means is
`gpufarm.host.plan`'s.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from gpufarm.model import document
from gpufarm.model.document import Document
from gpufarm.model.pci import PciAddress, PciId

ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=120,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="as pci.ids has it, all of it or what stands in its brackets",
    ),
]
Method = Literal["vfio-pci", "pci-stub"]


class CardChoice(Document, frozen=True):
    """Either one card by `address`, or every card of a model: by both ids, or by `model`.

    `functions` says what becomes of audio functions: bound like the rest of the card, or removed
    from the bus (SV-1). The boot VGA is given away only by `address` together with `boot_vga`.
    """

    address: PciAddress | None = None
    vendor_id: PciId | None = None
    product_id: PciId | None = None
    model: ModelName | None = None
    functions: Literal["bind", "remove"] = "bind"
    boot_vga: bool = False

    def __post_init__(self) -> None:
        ids = (self.vendor_id, self.product_id)
        if (ids[0] is None) != (ids[1] is None):
            raise ValueError("vendor_id and product_id go together")
        if sum(each is not None for each in (self.address, ids[0], self.model)) != 1:
            raise ValueError("give one of address, vendor_id with product_id, model")
        if self.boot_vga and self.address is None:
            raise ValueError("boot_vga needs the address of that card")
        # The $ of a pattern lets a line break through at the end.
        given = (self.address, *ids, self.model)
        if not all(each.isprintable() for each in given if each is not None):
            raise ValueError("a value that cannot be printed")

    @property
    def words(self) -> str:
        """What messages call it."""
        return self.address or self.model or f"{self.vendor_id}:{self.product_id}"


class HostSpec(Document, frozen=True):
    """A host spec, version 1.

    `method` is the driver that keeps the cards: `vfio-pci`, or `pci-stub`, from which libvirt takes
    them when a VM starts. `iommu_passthrough` adds iommu=pt also where the IOMMU is on already.
    """

    version: Literal[1]
    cards: tuple[CardChoice, ...]
    method: Method = "vfio-pci"
    iommu_passthrough: bool = False


def read(path: Path) -> HostSpec:
    """The host spec at `path`; DocumentError where it cannot be taken."""
    return document.read(HostSpec, path)
