"""What the logs of nova-computes say of a server: over SSH, and of a lab's real hosts."""

import argparse
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpufarm.cli import hosts_over_ssh
from gpufarm.cli.farm_target import find_lab
from gpufarm.model.printable import decoded

if TYPE_CHECKING:
    from openstack.connection import Connection

LOGS = "/var/log/nova/nova-compute.log /var/log/kolla/nova/nova-compute.log"
MOST_BYTES = 1 << 20
SECONDS = 60.0
LINES = (
    "grep --no-messages --no-filename --fixed-strings -e {server} "
    f"{LOGS} | tail --bytes={MOST_BYTES}"
)
"""Each line of a traceback carries the server's id (oslo.log's `instance` prefix)."""


def add(parser: argparse.ArgumentParser) -> None:
    hosts_over_ssh.add(parser, "the log of its nova-compute, for a server in ERROR")


def source(parsed: argparse.Namespace, connection: "Connection") -> Callable[[str], dict[str, str]]:
    """A function from a server's id to {host: lines}. Raises HostUnreachable when called."""

    def read(server: str) -> dict[str, str]:
        from gpufarm.system import ssh

        command = LINES.format(server=shlex.quote(server))
        found = {}
        for host, to, config in hosts_over_ssh.reached(parsed, find_lab(connection)):
            done = ssh.run_there(to, command, timeout=SECONDS, config=config)
            found[host] = decoded(done.stdout)
        return found

    return read
