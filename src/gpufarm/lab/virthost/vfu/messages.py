"""The vfio-user protocol, as far as a device without DMA and interrupts needs it.

Numbers and layouts are those of QEMU's docs/interop/vfio-user.rst, version 0.1 of the protocol.
"""

import errno
import json
import struct
from collections.abc import Callable
from enum import IntEnum

import msgspec

from gpufarm.lab.virthost.vfu.device import Device

HEADER = struct.Struct("<HHIII")
"""Message id, command, size with this header, flags, errno."""
REPLY, NO_REPLY, ERROR = 0x1, 0x10, 0x20
LARGEST = 2 << 20
"""Bytes of a message; data transfers are limited to half of that by what VERSION agrees on."""

REGIONS, INTERRUPTS = 9, 5
"""Counts of region and interrupt kinds of a PCI device in linux/vfio.h."""
INTX, MSI = 0, 1
FLAGS_RESET_AND_PCI = 3
FLAGS_READ_AND_WRITE = 3
FLAGS_EVENTFD, FLAGS_MASKABLE_AUTOMASKED = 1, 6

ACCESS = struct.Struct("<QII")
"""Offset, region, count."""

CAPABILITIES = {
    "max_msg_fds": 8,
    "max_data_xfer_size": LARGEST // 2,
    "pgsizes": 4096,
    "max_dma_maps": 65535,
}


class Command(IntEnum):
    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15


class Request(msgspec.Struct, frozen=True):
    number: int
    command: int
    flags: int
    payload: bytes


def answer(device: Device, request: Request) -> bytes | None:
    """The reply to a request, done on `device`; None where the sender wants none."""
    try:
        payload = ANSWERS[Command(request.command)](device, request.payload)
        error = 0
    except (ValueError, KeyError):
        payload, error = b"", errno.EOPNOTSUPP
    except (struct.error, IndexError):
        payload, error = b"", errno.EINVAL
    if request.flags & NO_REPLY:
        return None
    flags = REPLY | (ERROR if error else 0)
    size = HEADER.size + len(payload)
    return HEADER.pack(request.number, request.command, size, flags, error) + payload


def _version(_: Device, payload: bytes) -> bytes:
    capabilities = json.dumps({"capabilities": CAPABILITIES}).encode() + b"\0"
    return payload[:4] + capabilities


def _nothing(_: Device, __: bytes) -> bytes:
    return b""


def _unmap(_: Device, payload: bytes) -> bytes:
    return payload


def _info(_: Device, __: bytes) -> bytes:
    return struct.pack("<IIII", 16, FLAGS_RESET_AND_PCI, REGIONS, INTERRUPTS)


def _region_info(device: Device, payload: bytes) -> bytes:
    (region,) = struct.unpack_from("<I", payload, 8)
    size = device.region_size(region)
    flags = FLAGS_READ_AND_WRITE if size else 0
    return struct.pack("<IIIIQQ", 32, flags, region, 0, size, region << 40)


def _interrupt_info(_: Device, payload: bytes) -> bytes:
    (kind,) = struct.unpack_from("<I", payload, 8)
    count = 1 if kind in {INTX, MSI} else 0
    flags = (FLAGS_EVENTFD if count else 0) | (FLAGS_MASKABLE_AUTOMASKED if kind == INTX else 0)
    return struct.pack("<IIII", 16, flags, kind, count)


def _read(device: Device, payload: bytes) -> bytes:
    offset, region, count = ACCESS.unpack_from(payload)
    if count > LARGEST // 2:
        raise IndexError(count)
    return payload[: ACCESS.size] + device.read(region, offset, count)


def _write(device: Device, payload: bytes) -> bytes:
    offset, region, count = ACCESS.unpack_from(payload)
    device.write(region, offset, payload[ACCESS.size : ACCESS.size + count])
    return payload[: ACCESS.size]


def _write_multi(device: Device, payload: bytes) -> bytes:
    """Each write holds up to eight bytes."""
    (count,) = struct.unpack_from("<Q", payload)
    for number in range(min(count, len(payload) // 24)):
        start = 8 + number * (ACCESS.size + 8)
        _write(device, payload[start : start + ACCESS.size + 8])
    return payload[:8]


def _reset(device: Device, _: bytes) -> bytes:
    device.reset()
    return b""


ANSWERS: dict[Command, Callable[[Device, bytes], bytes]] = {
    Command.VERSION: _version,
    Command.DMA_MAP: _nothing,
    Command.DMA_UNMAP: _unmap,
    Command.DEVICE_GET_INFO: _info,
    Command.DEVICE_GET_REGION_INFO: _region_info,
    Command.DEVICE_GET_IRQ_INFO: _interrupt_info,
    Command.DEVICE_SET_IRQS: _nothing,
    Command.REGION_READ: _read,
    Command.REGION_WRITE: _write,
    Command.DEVICE_RESET: _reset,
    Command.REGION_WRITE_MULTI: _write_multi,
}
