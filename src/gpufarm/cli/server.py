"""`gpufarm server create`: a server that is asked for only when it can have its cards."""

import argparse
from collections.abc import Sequence
from typing import Any

from gpufarm.cli import hosts_over_ssh, scheduler_source
from gpufarm.cli.base import ShowOne, UsageError


class Create(ShowOne):
    """Create a server, once its flavor's cards are free, and follow it until it is up.

    Where they are not, nothing is asked of Nova, the message says which cards are in use and
    where, and the exit status is 2. Up is SSH at its address, or an answer at its image's property
    `service_url`, where it has one; ACTIVE without an address, and on simulated hosts of the lab,
    whose networks are simulated. --until asks for another sign.
    """

    examples = """
        # one server with the cards that flavor g1.gpu names
        gpufarm server create train-1 --flavor g1.gpu --image ubuntu-24.04

        # wait for Nova alone, where its address is not reached from here
        gpufarm server create train-1 --flavor g1.gpu --image ubuntu-24.04 --until active

        # the same again changes nothing
        gpufarm server create train-1 --flavor g1.gpu --image ubuntu-24.04 --or-show
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="the server's name")
        parser.add_argument("--flavor", required=True, metavar="FLAVOR", help="name or id")
        parser.add_argument("--image", required=True, metavar="IMAGE", help="name or id")
        parser.add_argument(
            "--network",
            default="auto",
            metavar="NETWORK",
            help="name or id, `none`, or `auto`, which is the default: the project's only one",
        )
        parser.add_argument("--availability-zone", metavar="ZONE", help="where it is to run")
        parser.add_argument(
            "--or-show", action="store_true", help="show the server of this name if there is one"
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=600.0,
            metavar="SECONDS",
            help="wait no longer than this for it to be built, and once more for it to be up "
            "(default: 600)",
        )
        parser.add_argument(
            "--until",
            choices=("active", "console", "ssh", "url"),
            help="when it counts as up: ACTIVE, a login on its console, SSH at its address, or its "
            "image's service_url",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        from gpufarm.capacity import boot
        from gpufarm.cloud import servers
        from gpufarm.guest import up
        from gpufarm.model.server import Order

        if parsed_args.timeout <= 0:
            raise UsageError("--timeout: more than 0 seconds are needed")
        order = Order(
            name=parsed_args.name,
            flavor=parsed_args.flavor,
            image=parsed_args.image,
            network=parsed_args.network,
            zone=parsed_args.availability_zone,
            timeout=parsed_args.timeout,
        )
        connection = self.connection()
        with self.progress(f"server {order.name}") as progress:
            server = None
            if parsed_args.or_show:
                server = boot.existing(connection, order, progress.advance, self.note)
            if server is None:
                known = scheduler_source.question(connection)
                server = boot.boot(connection, order, progress.advance, self.note, known)
            image = servers.properties_of(connection, server.image_id) if server.image_id else {}
            reach, simulated = hosts_over_ssh.network_of(connection, server)
            up.wait(
                server,
                parsed_args.until or up.sign(server, image, simulated=simulated),
                image,
                lambda: servers.console(connection, server.id),
                progress.advance,
                seconds=order.timeout,
                reach=reach,
            )
        return self._columns(connection, server)

    def _columns(self, connection: Any, server: Any) -> tuple[Sequence[str], Sequence[Any]]:
        from osc_lib.cli.format_columns import DictListColumn

        from gpufarm.cli.columns import Lines
        from gpufarm.cloud import servers

        shown = {
            "id": server.id,
            "name": server.name,
            "status": server.status,
            "host": server.host,
            "flavor": server.flavor,
            "image": servers.image_name(connection, server),
            "cards": Lines(servers.cards(connection, server)),
            "addresses": DictListColumn(
                {network: list(found) for network, found in server.addresses.items()}
            ),
        }
        return tuple(shown), tuple(shown.values())
