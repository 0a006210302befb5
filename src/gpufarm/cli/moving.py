"""What the commands that move servers share: their options, and the door to the cloud.

What is decided here: that claims are healed by what `gpufarm claims` finds and does, for the one
server and the hosts between which it moved.
"""

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpufarm.claims import reading
from gpufarm.claims import repair as repairs
from gpufarm.claims.findings import Finding, findings
from gpufarm.claims.reading import Sources
from gpufarm.cli import claims_source, scheduler_source
from gpufarm.cli.base import UsageError
from gpufarm.cli.state_folder import state_folder
from gpufarm.cloud import catalog, compute, moves, nova_database
from gpufarm.model.cloud import hypervisor_of
from gpufarm.model.errors import NotInCloud, ServerNotMoved
from gpufarm.model.moves import Move, Standing
from gpufarm.moves import records
from gpufarm.system.ledger import Ledger

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.model.server import Server
    from gpufarm.moves.apply import Limits, Moved

TIMEOUT = 3600.0
AT_ONCE = -86400.0
"""Patience, in seconds: of a server that Nova has done with nothing is too young. Clocks differ."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"follow a server no longer than this (default: {TIMEOUT:g}); its move goes on",
    )
    parser.add_argument(
        "--allow-database-write",
        action="store_true",
        help="end migrations that hang or failed in Nova's database, with the rights of `claims "
        "grants --write`",
    )
    parser.add_argument(
        "--ledger",
        metavar="DIR",
        type=Path,
        help="where to write down what is healed (default: gpufarm/claims in the XDG state home)",
    )
    scheduler_source.add_options(parser)
    claims_source.add(parser, farm=False)


def limits(parsed: argparse.Namespace) -> "Limits":
    from gpufarm.moves.apply import Limits

    if parsed.timeout <= 0:
        raise UsageError("--timeout: more than 0 seconds are needed")
    return Limits(timeout=parsed.timeout, patience=claims_source.patience(parsed))


def interrupted(server: str) -> Move | None:
    """The move of that server that an earlier run began and did not end."""
    return records.read(state_folder("moves"), server)


def standing(door: "CloudDoor", server: "Server") -> Standing:
    """Raises NotInCloud, CloudError."""
    found = door.look(server.id)
    if found is None:
        raise NotInCloud("server", server.name, "it was deleted meanwhile")
    return found


def carry_out(
    door: "CloudDoor",
    move: Move,
    limits: "Limits",
    told: Callable[[str], None],
    admit: Callable[[], None] = lambda: None,
) -> "Moved":
    """What the move came to; what it began with is kept until it ends or the server is back.

    `admit` raises where the move is not to begin. Raises ServerNotMoved, CloudError.
    """
    from gpufarm.moves import apply

    if move.dead:
        # Nothing is left to be done once the server is elsewhere: nothing has to be kept.
        return apply.carry_out(door, move, limits, told, admit)
    folder = state_folder("moves")

    def begin() -> None:
        admit()
        records.put(folder, move)

    try:
        moved = apply.carry_out(door, move, limits, told, begin)
    except ServerNotMoved as error:
        if error.back:
            records.drop(folder, move.server)
        raise
    records.drop(folder, move.server)
    return moved


class CloudDoor:
    """Nova, and the claims of the servers that it moves."""

    def __init__(
        self,
        connection: "Connection",
        sources: Sources,
        ledger: Ledger,
        told: Callable[[str], None],
        *,
        database_write: bool,
        stop: threading.Event | None = None,
    ) -> None:
        self._connection = connection
        self._sources = sources
        self._ledger = ledger
        self._told = told
        self._database_write = database_write
        self._stop = stop or threading.Event()
        self.unfinished = False
        """Whether something could be repaired, and may not be."""

    def look(self, server: str) -> Standing | None:
        found = compute.states_of(self._connection, [server]).get(server)
        if found is None:
            return None
        # After the server: Nova settles the migration first.
        return Standing(
            server=found,
            migration=compute.newest_migration(self._connection, server),
            down=compute.down(self._connection),
            at=time.time(),
        )

    def migrate(self, move: Move) -> None:
        if move.dead:
            moves.evacuate(self._connection, move.server, move.target)
        elif move.live:
            moves.migrate_live(self._connection, move.server, move.target)
        else:
            moves.migrate(self._connection, move.server, move.target)

    def confirm(self, server: str) -> None:
        moves.confirm(self._connection, server)

    def restart(self, server: str) -> None:
        moves.reboot_hard(self._connection, server)

    def settle(self, server: str) -> None:
        compute.set_state(self._connection, server, "active")

    def why(self, server: str) -> str:
        return moves.why(self._connection, server)

    def now(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """KeyboardInterrupt where another thread was interrupted meanwhile."""
        if self._stop.wait(seconds):
            raise KeyboardInterrupt

    def heal(self, move: Move, host: str) -> tuple[str, ...]:
        """What is left of the server's wrong claims, each with what to do."""
        hosts = (host,) if move.dead else self._hosts(move, host)
        found = self._found(move, hosts)
        while found:
            time.sleep(reading.SECOND_LOOK_SECONDS)
            again = tuple(each for each in self._found(move, hosts) if each in found)
            door = repairs.CloudDoor(self._connection, self._sources, AT_ONCE)
            write = self._database_write
            done = repairs.repair(door, again, self._ledger, self._told, database_write=write)
            found = self._found(move, hosts)
            if not any(each.done for each in done):
                break
            # One that was repaired may have hidden another.
        self.unfinished = any(each.steps for each in found)
        return tuple(self._said(each) for each in found)

    def _hosts(self, move: Move, host: str) -> tuple[str, ...]:
        """All that took part; which one the scheduler chose, the migration says."""
        last = compute.newest_migration(self._connection, move.server)
        target = last.target if last is not None and last.id > move.after else None
        return tuple(sorted({move.source, host, move.target or host, target or host}))

    def kept(self, server: str, host: str) -> bool:
        """Whether Nova's table has cards of other hosts allocated to it; False where it is not
        read."""
        if self._sources.databases is None:
            return False
        hypervisor = hypervisor_of(catalog.compute_hosts(self._connection), host)
        return any(
            row.server == server and row.status == "allocated" and row.hypervisor != hypervisor
            for row in nova_database.rows(self._sources.databases)
        )

    def _found(self, move: Move, hosts: tuple[str, ...]) -> tuple[Finding, ...]:
        last = compute.newest_migration(self._connection, move.server)
        own = {move.server, last.uuid if last else move.server}
        layers = reading.read(self._connection, self._sources, AT_ONCE, only=hosts)
        return tuple(each for each in findings(layers, AT_ONCE) if each.holder in own)

    def _said(self, found: Finding) -> str:
        refused = repairs.left(found, database_write=self._database_write)
        todo = (refused or "run this again") if found.steps else found.repair
        return f"{found.code} {found.host} {found.address}: {found.why}: {todo}"
