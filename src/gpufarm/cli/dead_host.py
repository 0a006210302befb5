"""A host that is dead, for `gpufarm host drain --dead`: what its operator states beforehand."""

import argparse
from typing import TYPE_CHECKING

from gpufarm.cli.base import UsageError
from gpufarm.model.errors import CloudError

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.cloud.hosts import Service
    from gpufarm.model.server import Server

LOSES = (
    "its root disk is no volume: unless its host shares the storage of instances with others, the "
    "disk is made anew from the image and what was on it is gone: --rebuild-disks accepts that"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dead", action="store_true", help="the host is dead: evacuate its servers"
    )
    parser.add_argument(
        "--fenced",
        action="store_true",
        help="with --dead: its power is cut, or its network and storage, so that no server runs "
        "there",
    )
    parser.add_argument(
        "--rebuild-disks",
        action="store_true",
        help="with --dead: servers whose root disk is no volume too; without shared storage it is "
        "made anew from the image, and what was on it is gone",
    )


def check(parsed: argparse.Namespace) -> None:
    """Raises UsageError."""
    if parsed.dead and not parsed.fenced:
        raise UsageError(
            f"--dead: cut the power of {parsed.host} first, and keep it off: a server that still "
            "runs there would run twice, on the same volumes and addresses; then say so: --fenced"
        )
    if not parsed.dead and (parsed.fenced or parsed.rebuild_disks):
        raise UsageError("--fenced and --rebuild-disks go with --dead")


def loses(parsed: argparse.Namespace, server: "Server") -> bool:
    """Whether its disk may be lost, which nobody has accepted."""
    return parsed.dead and not parsed.rebuild_disks and server.image_id is not None


def claimed(host: str) -> str:
    """What is to be known once its servers are elsewhere."""
    return (
        f"cards of {host} stay claimed for the servers that were evacuated until its nova-compute "
        f"has started again, which cleans up there; then `gpufarm host undrain {host}`"
    )


def revive(connection: "Connection", service: "Service") -> None:
    """Take back that it is dead.

    Raises CloudError while servers that were evacuated may lie on the host as well.
    """
    from gpufarm.cloud import hosts

    found = hosts.evacuated(connection, service.host)
    if found:
        raise CloudError(
            f"{len(found)} servers were evacuated from {service.host}, and its nova-compute has "
            "not cleaned up after them, which it does when it starts: start it, then again"
        )
    hosts.force_down(connection, service, down=False)
