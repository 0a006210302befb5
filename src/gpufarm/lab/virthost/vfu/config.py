"""The configuration space of a function: its bytes after a reset, and which of them can be written.

Offsets and bits are those of the PCI Local Bus Specification 3.0 (header), the Power Management
Specification 1.2, and the PCI Express Base Specification 3.0 (capability and link).
"""

import struct

from gpufarm.lab.virthost.pci import FULL_WIDTH, Bar, Function

SIZE = 4096
BAR0 = 0x10
PM, MSI, EXPRESS = 0x60, 0x68, 0x78
DEVICE_CONTROL = EXPRESS + 0x08
INITIATE_FLR = 0x8000
FLR_CAPABLE = 1 << 28
SPEED_8GT = 3


class Space:
    """`initial` is what a reset restores; a bit of `writable` is set where a host can write it."""

    def __init__(self, function: Function) -> None:
        self.initial = bytearray(SIZE)
        self.writable = bytearray(SIZE)
        self._header(function)
        self._bars(function)
        self._capabilities()
        self._express(function)

    def _put(self, offset: int, form: str, value: int, writable: int = 0) -> None:
        struct.pack_into(form, self.initial, offset, value)
        struct.pack_into(form, self.writable, offset, writable)

    def _header(self, function: Function) -> None:
        self._put(0x00, "<H", int(function.vendor_id, 16))
        self._put(0x02, "<H", int(function.product_id, 16))
        self._put(0x04, "<H", 0, 0x0547)  # I/O, memory, bus master, parity, SERR#, INTx disable
        self._put(0x06, "<H", 0x0010)  # has capabilities
        class_and_revision = int(function.class_id + function.revision, 16)
        self._put(0x08, "<I", class_and_revision)
        self._put(0x0C, "<B", 0, 0xFF)  # cache line size
        vendor, device = function.subsystem
        self._put(0x2C, "<H", int(vendor, 16))
        self._put(0x2E, "<H", int(device, 16))
        self._put(0x34, "<B", PM)
        self._put(0x3C, "<B", 0, 0xFF)  # interrupt line
        self._put(0x3D, "<B", 1)  # INTA#

    def _bars(self, function: Function) -> None:
        """A size is read back as the address bits that cannot be set."""
        for index, bar in bar_indices(function).items():
            offset, mask = BAR0 + 4 * index, ~(bar.size - 1)
            kind = 0xC if bar.wide else 0x0  # bit 2: 64-bit, bit 3: prefetchable
            self._put(offset, "<I", kind, mask & 0xFFFFFFF0)
            if bar.wide:
                self._put(offset + 4, "<I", 0, mask >> 32 & 0xFFFFFFFF)

    def _capabilities(self) -> None:
        self._put(PM, "<H", MSI << 8 | 0x01)
        self._put(PM + 2, "<H", 0x0003)  # version 1.2
        self._put(PM + 4, "<H", 0x0008, 0x0103)  # No_Soft_Reset: D3hot does not reset
        self._put(MSI, "<H", EXPRESS << 8 | 0x05)
        self._put(MSI + 2, "<H", 0x0080, 0x0071)  # 64-bit addresses, one vector
        self._put(MSI + 4, "<Q", 0, 0xFFFFFFFFFFFFFFFC)
        self._put(MSI + 12, "<H", 0, 0xFFFF)

    def _express(self, function: Function) -> None:
        self._put(EXPRESS, "<H", 0x10)
        self._put(EXPRESS + 2, "<H", 0x0002)  # version 2, endpoint
        self._put(EXPRESS + 4, "<I", 0x8000 | (FLR_CAPABLE if function.flr else 0))
        self._put(DEVICE_CONTROL, "<H", 0, 0x7FFF)
        self._put(EXPRESS + 0x0C, "<I", FULL_WIDTH << 4 | SPEED_8GT)
        self._put(EXPRESS + 0x10, "<H", 0, 0x0FFB)
        self._put(EXPRESS + 0x12, "<H", function.link_width << 4 | SPEED_8GT)
        self._put(EXPRESS + 0x28, "<H", 0, 0x07FF)  # device control 2
        self._put(EXPRESS + 0x2C, "<I", 0b1110)  # 2.5, 5 and 8 GT/s
        self._put(EXPRESS + 0x30, "<H", SPEED_8GT, 0x000F)


def bar_indices(function: Function) -> dict[int, Bar]:
    """{number of its register: BAR}: a 64-bit one takes two registers."""
    indices, index = {}, 0
    for bar in function.bars:
        indices[index] = bar
        index += 2 if bar.wide else 1
    return indices
