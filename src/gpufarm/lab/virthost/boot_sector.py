"""The first megabyte of a disk: a partition table, and GRUB for its first boot.

`grub-install` writes the same, but only on the running host. Offsets are those of GRUB 2.06's
include/grub/i386/pc/boot.h and of the classic partition table.
"""

import struct

SECTOR = 512
FIRST_PARTITION = 1 << 20
CODE = 440
PARTITION_TABLE = 446
LINUX = 0x83
SIGNATURE = b"\x55\xaa"
BLOCKLIST = 0x1F4
"""In the first sector of core.img: where the rest of it lies, as sector, count and segment."""
LOAD_SEGMENT = 0x820


def first_megabyte(boot: bytes, core: bytes, disk_size: int) -> bytes:
    """What to write at the beginning of a disk of `disk_size` bytes with one partition.

    ValueError where `core`, GRUB's core.img, does not fit before the partition.
    """
    room = FIRST_PARTITION - SECTOR
    if len(core) > room:
        raise ValueError(f"core.img has {len(core)} bytes, there is room for {room}")
    sectors = -(-len(core) // SECTOR)
    patched = bytearray(core.ljust(sectors * SECTOR, b"\0"))
    struct.pack_into("<QHH", patched, BLOCKLIST, 2, sectors - 1, LOAD_SEGMENT)
    master = bytearray(boot[:CODE].ljust(SECTOR, b"\0"))
    master[PARTITION_TABLE : PARTITION_TABLE + 16] = _entry(disk_size)
    master[-2:] = SIGNATURE
    return bytes(master + patched).ljust(FIRST_PARTITION, b"\0")


def _entry(disk_size: int) -> bytes:
    """One active partition to the end of the disk; by sector numbers, as everybody reads it."""
    start = FIRST_PARTITION // SECTOR
    too_large = b"\xfe\xff\xff"
    return struct.pack(
        "<B3sB3sII", 0x80, too_large, LINUX, too_large, start, disk_size // SECTOR - start
    )
