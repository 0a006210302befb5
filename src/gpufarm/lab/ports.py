"""Ports on 127.0.0.1: bound by the command that starts a lab, and handed on as open sockets.

A port that is bound here cannot be taken by anybody between choosing and serving, and who connects
early waits in the kernel's queue until the service accepts, instead of being refused.
"""

import errno
import socket
from collections.abc import Iterable, Mapping

from gpufarm.model.errors import PortTaken

LOOPBACK = "127.0.0.1"
BACKLOG = 256


def listen(service: str, port: int) -> socket.socket:
    """A listening socket on that port; 0 has one chosen. PortTaken where another listens."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        if port:
            listening.listen(BACKLOG)
            return listening
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(service, port) from error
        raise
    # Bound by its number, a socket keeps it when it stops listening and begins again; one that the
    # kernel chose is lost then (SOCK_BINDPORT_LOCK in the kernel's net/ipv4/af_inet.c).
    with listening as chosen:
        return listen(service, number(chosen))


def open_all(services: Iterable[str], before: Mapping[str, int]) -> dict[str, socket.socket]:
    """A socket for each service, on the port that it had before where that is still free."""
    opened: dict[str, socket.socket] = {}
    for service in services:
        try:
            opened[service] = listen(service, before.get(service, 0))
        except PortTaken:
            opened[service] = listen(service, 0)
    return opened


def number(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def free(service: str, before: Mapping[str, int]) -> int:
    """A port for a program that binds for itself: the one it had before where that is free."""
    with open_all([service], before)[service] as listening:
        return number(listening)


def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
