"""`gpufarm server verify`: what a guest sees against what was claimed for it."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.cli import hosts_over_ssh
from gpufarm.cli.base import Lister
from gpufarm.cli.columns import Wrapped, for_reader
from gpufarm.cli.farm_target import find_lab
from gpufarm.cli.server_move import find
from gpufarm.model.printable import decoded

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.guest.checks import Claimed
    from gpufarm.model.server import Server

COLUMNS = ("check", "result", "said")
SSH_SECONDS = 60.0


class Said(Wrapped):
    width = 60


class Verify(Lister):
    """Compare what a server sees with what was claimed for it; exit 2 where something is wrong.

    Its PCI functions are read from its console, where the guest prints them as `gpufarm lab`'s own
    image does, or asked over SSH. Its domain is that of --domain; on a real host of the lab it is
    asked for. What cannot be seen is told as not checked.
    """

    examples = """
        # what its console shows
        gpufarm server verify train-1

        # drivers and CUDA too, and whether KVM is hidden
        gpufarm server verify train-1 --ssh ubuntu@10.0.0.7 --domain train-1.xml
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="name or id")
        parser.add_argument("--ssh", metavar="DEST", help="ask the guest itself, there")
        parser.add_argument(
            "--ssh-config", metavar="FILE", type=Path, help="ssh's configuration file"
        )
        parser.add_argument(
            "--domain", metavar="FILE", type=Path, help="its XML, as `virsh dumpxml` prints it"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.cloud import servers
        from gpufarm.guest import checks, seen
        from gpufarm.system import ssh

        connection = self.connection()
        server = find(connection, parsed_args.server)
        with self.progress(f"server {server.name}", quick=True) as progress:
            progress.advance("what was claimed")
            claimed = _claimed(connection, server)
            if parsed_args.domain:
                domain: str | None = parsed_args.domain.read_text(errors="replace")
            else:
                domain = _domain(connection, server)
            progress.advance("what it sees")
            if parsed_args.ssh:
                done = ssh.run_there(
                    parsed_args.ssh,
                    "sh -s",
                    stdin=seen.SCRIPT.encode(),
                    timeout=SSH_SECONDS,
                    config=parsed_args.ssh_config,
                )
                text = done.stdout.decode(errors="replace")
            else:
                text = servers.console(connection, server.id)
        over_ssh = bool(parsed_args.ssh)
        found = checks.checks(claimed, seen.parse(text), domain, ssh=over_ssh)
        self.found = any(each.result == "wrong" for each in found)
        rows = [(each.check, each.result, each.said) for each in found]
        if for_reader(parsed_args):
            return COLUMNS, [(*row[:2], Said(row[2])) for row in rows]
        return COLUMNS, rows


def _domain(connection: "Connection", server: "Server") -> str | None:
    """Of a server on a real host of the lab, as its libvirt has it; None of any other."""
    from gpufarm.system import ssh

    host = hosts_over_ssh.of_host(find_lab(connection), server.host)
    if host is None:
        return None
    command = f"virsh --quiet dumpxml {shlex.quote(server.id)}"
    done = ssh.run_there(host.destination, command, timeout=SSH_SECONDS, config=host.config)
    return None if done.status else decoded(done.stdout)


def _claimed(connection: "Connection", server: "Server") -> "Claimed":
    from gpufarm.cloud import servers
    from gpufarm.guest.checks import Claimed
    from gpufarm.model.farm import HIDE_KVM

    cards: dict[str, int] = {}
    for amounts in servers.held(connection, server).values():
        for name, amount in amounts.items():
            if name.startswith("CUSTOM_PCI_"):
                cards[name] = cards.get(name, 0) + amount
    image = servers.properties_of(connection, server.image_id) if server.image_id else {}
    asked = (
        servers.flavor_of(connection, server.id).properties.get(HIDE_KVM),
        image.get("img_hide_hypervisor_id"),
    )
    return Claimed(cards=cards, hidden=any((each or "").lower() == "true" for each in asked))


def wrong(connection: "Connection", server: "Server") -> list[str]:
    """What the guest's console shows otherwise than it was claimed."""
    from gpufarm.cloud import servers
    from gpufarm.guest import checks, seen

    shown = seen.parse(servers.console(connection, server.id))
    found = checks.checks(_claimed(connection, server), shown, None, ssh=False)
    return [f"{each.check}: {each.said}" for each in found if each.result == "wrong"]
