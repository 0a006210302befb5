"""The sockets of emulated functions: one thread a function, one connection at a time."""

import contextlib
import os
import socket
import threading
from pathlib import Path

from gpufarm.lab.virthost.pci import Function
from gpufarm.lab.virthost.vfu.device import Device, Log
from gpufarm.lab.virthost.vfu.messages import HEADER, LARGEST, Request, answer

DESCRIPTORS = 16
"""File descriptors that one receive takes: of memory for DMA, which these functions never do."""


def serve(path: Path, function: Function, log: Log) -> threading.Thread:
    """Answer for `function` at `path` until the process ends; returns once it listens."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(1)
    thread = threading.Thread(target=_serve, args=(listening, Device(function, log)), daemon=True)
    thread.start()
    return thread


def _serve(listening: socket.socket, device: Device) -> None:
    while True:
        connection, _ = listening.accept()
        device.connected()
        device.log("connected")
        with connection, contextlib.suppress(ConnectionError):
            converse(connection, device)
        device.log("gone")


def converse(connection: socket.socket, device: Device) -> None:
    """Answer until the other side closes; ConnectionError where it breaks off in a message."""
    while header := _receive(connection, HEADER.size):
        number, command, size, flags, _ = HEADER.unpack(header)
        if not HEADER.size <= size <= LARGEST:
            raise ConnectionAbortedError(f"a message of {size} bytes")
        payload = _receive(connection, size - HEADER.size)
        reply = answer(device, Request(number, command, flags, payload))
        if reply is not None:
            connection.sendall(reply)


def _receive(connection: socket.socket, count: int) -> bytes:
    """`count` bytes, or none where the other side has closed before the first."""
    found = b""
    while len(found) < count:
        data, descriptors, _, _ = socket.recv_fds(connection, count - len(found), DESCRIPTORS)
        for descriptor in descriptors:
            os.close(descriptor)
        if not data:
            if found:
                raise ConnectionAbortedError("closed in the middle of a message")
            return b""
        found += data
    return found
