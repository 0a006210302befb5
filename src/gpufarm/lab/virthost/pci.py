"""What one emulated PCI function looks like to the host that it is plugged into."""

import msgspec

from gpufarm.model.pci import PciClass, PciId

FULL_WIDTH = 16


class Bar(msgspec.Struct, frozen=True):
    """`size` in bytes, a power of two; a `wide` one is 64-bit and prefetchable, others 32-bit."""

    size: int
    wide: bool = False


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`subsystem` is (vendor, device); `link_width` what the link runs at, of FULL_WIDTH lanes."""

    vendor_id: PciId
    product_id: PciId
    class_id: PciClass
    subsystem: tuple[PciId, PciId]
    bars: tuple[Bar, ...] = ()
    revision: str = "a1"
    flr: bool = False
    link_width: int = FULL_WIDTH
