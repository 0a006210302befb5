"""`gpufarm server migrate`: a server with GPUs on another host."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpufarm.cli import hosts_over_ssh, scheduler_source
from gpufarm.cli.base import ShowOne
from gpufarm.cli.state_folder import state_folder

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.model.moves import Move
    from gpufarm.model.server import Server


class Migrate(ShowOne):
    """Move a server to another host: it is off meanwhile, and keeps its disk and addresses.

    Where no other host has room and cards for it nothing is begun, the message says what is in the
    way, and the exit status is 2. The move is confirmed, and what Nova leaves behind of it is put
    right as by `gpufarm claims repair`. Where it fails the server runs again where it was, or the
    message says what is needed. Interrupted, it is simply run again: it goes on. With --until it is
    followed until its guest is up again, and what the guest shows on its console is compared with
    what was claimed, as by `gpufarm server verify`.

    Exit status 2 also where a claim is left that only a write to Nova's database puts right, or the
    guest sees something else.
    """

    examples = """
        # to a host that the scheduler chooses
        gpufarm server migrate train-1

        # to this host, or not at all
        gpufarm server migrate train-1 --to hyper19

        # and compare what its guest sees there with what was claimed
        gpufarm server migrate train-1 --until console

        # with the right to end a migration that hangs
        gpufarm server migrate train-1 --database nova.url --allow-database-write
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpufarm.cli import moving

        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="name or id")
        parser.add_argument("--to", metavar="HOST", help="the compute host, as Nova names it")
        parser.add_argument(
            "--until",
            choices=("console", "ssh", "url"),
            help="follow a server that runs until its guest is up: a login on its console, SSH at "
            "its address, or its image's service_url",
        )
        moving.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        from gpufarm.cli import claims_source, moving
        from gpufarm.cli.columns import Lines
        from gpufarm.cloud import servers
        from gpufarm.system.ledger import Ledger

        limits = moving.limits(parsed_args)
        connection = self.connection()
        server = find(connection, parsed_args.server)
        sources = claims_source.sources(parsed_args, connection)
        ledger = Ledger(parsed_args.ledger or state_folder("claims"), "move")
        with self.progress(f"server {server.name}") as progress:
            door = moving.CloudDoor(
                connection,
                sources,
                ledger,
                progress.advance,
                database_write=parsed_args.allow_database_write,
            )
            move = self._begin(door, server, parsed_args.to)

            def admit() -> None:
                progress.advance(f"{server.name}: looking for room and cards")
                known = scheduler_source.question(connection, parsed_args)
                check(connection, server, move, known)

            moved = moving.carry_out(door, move, limits, progress.advance, admit)
        for text in (*claims_source.unread(parsed_args, connection), *moved.notes, *moved.left):
            self.note(text)
        now = servers.show(connection, server.id)
        wrong = self._looked_at(connection, now, parsed_args) if parsed_args.until else []
        self.found = door.unfinished or bool(wrong)
        shown = {
            "id": server.id,
            "name": server.name,
            "source": move.source,
            "host": moved.host,
            "cards": Lines(servers.cards(connection, now)),
        }
        return tuple(shown), tuple(shown.values())

    def _looked_at(
        self, connection: "Connection", server: "Server", parsed: argparse.Namespace
    ) -> list[str]:
        """What its guest sees otherwise than it was claimed. Raises ServerFailed, CloudError."""
        from gpufarm.cli import server_verify
        from gpufarm.cloud import servers
        from gpufarm.guest import up

        if server.status != "ACTIVE":
            return []
        image = servers.properties_of(connection, server.image_id) if server.image_id else {}
        with self.progress(f"server {server.name}") as progress:
            up.wait(
                server,
                parsed.until,
                image,
                lambda: servers.console(connection, server.id),
                progress.advance,
                seconds=parsed.timeout,
                reach=hosts_over_ssh.network_of(connection, server)[0],
            )
            progress.advance(f"{server.name}: what its guest sees")
            wrong = server_verify.wrong(connection, server)
        for each in wrong:
            self.note(f"{server.name} sees something else than it was given: {each}")
        return wrong

    def _begin(self, door: Any, server: "Server", to: str | None) -> "Move":
        """A move that was interrupted, or a new one."""
        import msgspec

        from gpufarm.cli import moving
        from gpufarm.moves import plan

        standing = moving.standing(door, server)
        before = moving.interrupted(server.id)
        if before is None:
            return plan.begin(standing, to)
        self.note(f"going on with a move of {server.name} from {before.source}")
        return msgspec.structs.replace(before, target=to)


def find(connection: "Connection", name_or_id: str) -> "Server":
    """Raises NotInCloud, CloudError."""
    from gpufarm.cloud import servers
    from gpufarm.model.errors import NotInCloud

    found = servers.find(connection, name_or_id)
    if found is None:
        raise NotInCloud("server", name_or_id, "`openstack server list --all-projects` shows them")
    return found


def check(connection: "Connection", server: "Server", move: "Move", known: Any) -> None:
    """Raise NotAdmitted where no other host, or not the one that was asked for, takes it."""
    from gpufarm.capacity import elsewhere
    from gpufarm.cloud import catalog
    from gpufarm.model.errors import NotAdmitted, NotInCloud

    names = sorted(host.name for host in catalog.compute_hosts(connection))
    if move.target is not None and move.target not in names:
        raise NotInCloud("compute host", move.target, f"there are: {', '.join(names)}")
    found = elsewhere.traveller(connection, server)
    snapshot = elsewhere.read(connection, [found], known)
    reason = elsewhere.refusal(snapshot, found, move.source, move.target)
    if reason:
        raise NotAdmitted(found.flavor.name, reason)
