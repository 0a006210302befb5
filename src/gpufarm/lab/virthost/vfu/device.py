"""How an emulated function answers reads, writes and resets.

Its registers are memory that remembers what was written, which is enough for drivers to probe it
and to give up or to bind: nouveau reads 0 as the chip's id and leaves, snd_hda_intel finds a
controller without codecs and stays.
"""

from collections.abc import Callable

from gpufarm.lab.virthost.pci import Function
from gpufarm.lab.virthost.vfu.config import DEVICE_CONTROL, INITIATE_FLR, Space, bar_indices

CONFIG_REGION = 7
"""VFIO_PCI_CONFIG_REGION_INDEX; regions 0 to 5 are the BARs (linux/vfio.h)."""

PAGE = 4096
MOST_PAGES = 1024
"""What is remembered of a BAR; a driver that fills video memory must not fill ours."""

AUDIO_CLASS = "0403"
HDA_REGISTERS = bytes.fromhex("01440001")
"""Global capabilities and version 1.0 (High Definition Audio Specification 1.0a, 3.3)."""
HDA_STATE_CHANGE = range(0x0E, 0x10)
"""STATESTS: a codec would report itself here; writes clear bits, and there are none."""

Log = Callable[[str], None]


class Device:
    """One function. `log` is told each RESET and each FLR, with how many there were so far."""

    def __init__(self, function: Function, log: Log) -> None:
        self.bars = bar_indices(function)
        self.space = Space(function)
        self.is_audio = function.class_id.startswith(AUDIO_CLASS)
        self.has_flr = function.flr
        self.log = log
        self.resets = 0
        self._forget()

    def _forget(self) -> None:
        self.config = bytearray(self.space.initial)
        self.memory: dict[tuple[int, int], bytearray] = {}
        if self.is_audio:
            self._page(0, 0)[: len(HDA_REGISTERS)] = HDA_REGISTERS

    def connected(self) -> None:
        """A host plugs it in: it is as after power-on."""
        self._forget()

    def reset(self, kind: str = "RESET") -> None:
        self.resets += 1
        self._forget()
        self.log(f"{kind} {self.resets}")

    def region_size(self, region: int) -> int:
        """Bytes; 0 where there is no such region."""
        if region == CONFIG_REGION:
            return len(self.config)
        return self.bars[region].size if region in self.bars else 0

    def read(self, region: int, offset: int, count: int) -> bytes:
        """`count` bytes, zeros where nothing was written."""
        if region == CONFIG_REGION:
            return bytes(self.config[offset : offset + count]).ljust(count, b"\0")
        page = self.memory.get((region, offset // PAGE), bytearray())
        start = offset % PAGE
        return bytes(page[start : start + count]).ljust(count, b"\0")

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == CONFIG_REGION:
            self._write_config(offset, data)
            return
        page = self._page(region, offset // PAGE)
        for position, value in enumerate(data, offset % PAGE):
            if position < len(page) and not self._read_only(region, offset // PAGE, position):
                page[position] = value

    def _read_only(self, region: int, page: int, position: int) -> bool:
        return self.is_audio and (region, page) == (0, 0) and position in HDA_STATE_CHANGE

    def _page(self, region: int, number: int) -> bytearray:
        """The page to write to; one that is thrown away where too much was written already."""
        if (region, number) not in self.memory and len(self.memory) >= MOST_PAGES:
            return bytearray(PAGE)
        return self.memory.setdefault((region, number), bytearray(PAGE))

    def _write_config(self, offset: int, data: bytes) -> None:
        for position, value in enumerate(data[: len(self.config) - offset], offset):
            mask = self.space.writable[position]
            self.config[position] = (self.config[position] & ~mask) | (value & mask)
        high = DEVICE_CONTROL + 1 - offset
        if self.has_flr and 0 <= high < len(data) and data[high] & INITIATE_FLR >> 8:
            self.reset("FLR")
