"""`gpufarm host drain`, `undrain`: all servers of a host moved to others, and the way back."""

import argparse
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from gpufarm.cli import dead_host, scheduler_source
from gpufarm.cli.base import Command, Lister, UsageError
from gpufarm.cli.columns import Wrapped, for_reader
from gpufarm.cli.state_folder import state_folder
from gpufarm.model.errors import CloudError, GpufarmError, ServerNotMoved

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.capacity.emptying import Seat
    from gpufarm.cloud.hosts import Service
    from gpufarm.model.moves import Move
    from gpufarm.model.server import Server

COLUMNS = ("server", "id", "outcome", "host", "reason")
SHORT = ("server", "outcome", "host", "reason")
AT_ONCE = 2
ROUNDS = 2
"""A server that found no room while others moved is tried once more."""
MARK, DEAD_MARK = "gpufarm drain: ", "gpufarm drain of a dead host: "

MOVED, STAYS, WOULD = "moved", "stays", "would move"


class Reason(Wrapped):
    width = 48


class Drain(Lister):
    """Move all servers of a host to others, and keep new ones away.

    The host is closed first: its nova-compute is disabled and its free cards are cordoned. Servers
    with cards are moved as by `gpufarm server migrate`, those with the most cards first; running
    ones without cards are moved live (--cold: turned off too). What cannot be moved is listed with
    the reason and stays as it is. Interrupted, it is simply run again. `gpufarm host undrain` opens
    the host.

    A host that is dead: --dead --fenced. Its servers are evacuated: Nova makes them anew on other
    hosts, with other cards. Cut its power first, and keep it off: a server that ran on two hosts
    would ruin its volumes. A root disk that lay on the dead host alone is lost (--rebuild-disks).

    Exit status 2 where a server stays.
    """

    examples = """
        # what would go where
        gpufarm host drain hyper18 --reason "new firmware" --dry-run

        # do it
        gpufarm host drain hyper18 --reason "new firmware"

        # it is dead, and its power is cut
        gpufarm host drain hyper18 --reason "no power" --dead --fenced --rebuild-disks
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from gpufarm.cli import moving

        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="a compute host, as Nova names it")
        parser.add_argument(
            "--reason", metavar="TEXT", required=True, help="why; shown with the host and its cards"
        )
        parser.add_argument("--dry-run", action="store_true", help="only show what would go where")
        parser.add_argument(
            "--cold", action="store_true", help="turn off servers without cards too, to move them"
        )
        parser.add_argument(
            "--at-once",
            type=int,
            default=AT_ONCE,
            metavar="N",
            help=f"so many moves at the same time (default: {AT_ONCE}; with --dead one)",
        )
        dead_host.add_options(parser)
        moving.add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.cli import moving
        from gpufarm.cloud import hosts

        if parsed_args.at_once < 1:
            raise UsageError("--at-once: one or more")
        dead_host.check(parsed_args)
        why = words(parsed_args.reason)
        limits = moving.limits(parsed_args)
        connection = self.connection()
        service = hosts.service(connection, parsed_args.host)
        with self.progress(f"host {service.host}") as progress:
            drain = _Drain(connection, service, parsed_args, limits, progress.advance)
            drain.check()
            if parsed_args.dry_run:
                rows = drain.planned()
            else:
                drain.close(why)
                rows = drain.run()
                drain.close(why)
        self.found = drain.unfinished or any(row[2] == STAYS for row in rows)
        if not rows:
            self.note(f"no server is on {service.host}")
        if parsed_args.dead and hosts.evacuated(connection, service.host):
            self.note(dead_host.claimed(service.host))
        if for_reader(parsed_args):
            short = [(name, *rest[:-1], Reason(rest[-1])) for name, _, *rest in rows]
            return SHORT, short
        return COLUMNS, rows


class Undrain(Command):
    """Open a host that was drained: what `gpufarm host drain` closed, and nothing else.

    Servers that were moved away stay where they are.
    """

    examples = """
        gpufarm host undrain hyper18
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="a compute host, as Nova names it")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.claims import drained
        from gpufarm.cloud import hosts

        connection = self.connection()
        service = hosts.service(connection, parsed_args.host)
        with self.progress(f"host {service.host}", quick=True) as progress:
            ours = not service.enabled and service.reason.startswith((MARK, DEAD_MARK))
            if ours and service.forced_down and service.reason.startswith(DEAD_MARK):
                progress.advance("taking back that it is dead")
                dead_host.revive(connection, service)
            opened = drained.open_ours(connection, service.host, progress.advance)
            if ours:
                progress.advance("enabling nova-compute")
                hosts.enable(connection, service)
        if ours or opened:
            self.note(f"{service.host} is open again")
        elif service.enabled:
            self.note(f"{service.host} was not drained: nothing was changed")
        if not (service.enabled or ours):
            self.note(
                f"nova-compute on {service.host} stays disabled, which was not done by a drain "
                f"({service.reason or 'no reason given'}): `openstack compute service set --enable "
                f"{service.host} nova-compute`"
            )


def words(text: str) -> str:
    """A reason as it is kept. Raises UsageError."""
    found = " ".join(text.split())
    if not found or not found.isprintable():
        raise UsageError("--reason: printable words are needed")
    return found


Row = tuple[str, str, str, str | None, str]


class _Drain:
    """One run: each server ends in one row."""

    def __init__(
        self,
        connection: "Connection",
        service: "Service",
        parsed: argparse.Namespace,
        limits: Any,
        told: Any,
    ) -> None:
        from gpufarm.cli import claims_source
        from gpufarm.system.ledger import Ledger

        self._connection = connection
        self._service = service
        self._parsed = parsed
        self._limits = limits
        self._told = told
        self._known = scheduler_source.question(connection, parsed)
        self._sources = claims_source.sources(parsed, connection)
        self._ledger = Ledger(parsed.ledger or state_folder("claims"), "drain")
        self._stop = threading.Event()
        self._records = state_folder("moves")
        self.unfinished = False

    def check(self) -> None:
        """Raise CloudError unless Nova sees the host as it was called: dead, or not."""
        host = self._service.host
        if self._parsed.dead and self._service.up:
            raise CloudError(
                f"nova-compute on {host} counts as up: `gpufarm host drain {host}` without --dead "
                "moves the servers of a host that lives; Nova sees that one has died after a "
                "minute (service_down_time)"
            )
        if not (self._parsed.dead or self._parsed.dry_run or self._service.up):
            raise CloudError(
                f"nova-compute on {host} is down, and has to take part: start it; if the host is "
                "dead: --dead"
            )

    def close(self, why: str) -> None:
        """Keep new servers away: from now on, and from the cards that were freed."""
        from gpufarm.claims import drained
        from gpufarm.cloud import hosts

        dead, host = self._parsed.dead, self._service.host
        now = hosts.service(self._connection, host)
        if now.enabled or (dead and now.reason.startswith(MARK)):
            self._told(f"closing {host} to new servers")
            hosts.disable(self._connection, now, f"{DEAD_MARK if dead else MARK}{why}")
        if dead and not now.forced_down:
            self._told(f"telling Nova that {host} is dead")
            hosts.force_down(self._connection, now, down=True)
        drained.close_free(self._connection, host, why, self._told)

    def planned(self) -> list[Row]:
        from gpufarm.cloud import hosts

        seats = self._seats(hosts.servers_on(self._connection, self._service.host))
        return [
            self._row(seat, STAYS if seat.reason else WOULD, seat.reason or "") for seat in seats
        ]

    def run(self) -> list[Row]:
        from gpufarm.cloud import hosts

        rows: dict[str, Row] = {}
        if not self._parsed.dead:
            for move, server in self._interrupted():
                rows[server.id] = self._one(move, server)
        for _ in range(ROUNDS):
            here = hosts.servers_on(self._connection, self._service.host)
            if not here:
                break
            seats = self._seats(here)
            rows |= {
                seat.traveller.server.id: self._row(seat, STAYS, seat.reason)
                for seat in seats
                if seat.reason
            }
            going = [seat for seat in seats if not seat.reason]
            left = dict(self._together(going))
            rows |= left
            if not any(row[2] == MOVED for row in left.values()):
                break
        return list(rows.values())

    def _interrupted(self) -> Iterator[tuple["Move", "Server"]]:
        """Servers that an earlier run has left on another host with their move not ended."""
        from gpufarm.cloud import hosts, servers
        from gpufarm.moves import records

        host = self._service.host
        found = {each.id: each for each in hosts.leaving(self._connection, host)}
        for move in records.every(self._records):
            if move.source != host or move.server in found:
                continue
            server = servers.find(self._connection, move.server)
            if server is None:
                records.drop(self._records, move.server)
            elif server.host != host:
                found[server.id] = server
        for server in found.values():
            yield self._begin(server, None, live=False), server

    def _seats(self, here: Sequence["Server"]) -> tuple["Seat", ...]:
        from gpufarm.capacity import elsewhere, emptying

        self._told("looking for room and cards on other hosts")
        travellers = [elsewhere.traveller(self._connection, each) for each in here]
        snapshot = elsewhere.read(self._connection, travellers, self._known)
        lost = [each for each in travellers if dead_host.loses(self._parsed, each.server)]
        going = [each for each in travellers if each not in lost]
        seats = emptying.seats(snapshot, self._service.host, going)
        return (*seats, *(emptying.Seat(each, reason=dead_host.LOSES) for each in lost))

    def _together(self, seats: Sequence["Seat"]) -> Iterator[tuple[str, Row]]:
        """{server's id: row}. Limited in number; an interruption ends all of them."""
        # Nova gives an evacuation up where another claim comes first in Placement (conductor/
        # manager.py, rebuild_instance: no alternates), and then the server is in ERROR.
        at_once = 1 if self._parsed.dead else self._parsed.at_once
        with ThreadPoolExecutor(at_once) as pool:
            work: dict[Future[Row], Seat] = {
                pool.submit(self._seated, seat): seat for seat in seats
            }
            try:
                for done in as_completed(work):
                    yield work[done].traveller.server.id, done.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _seated(self, seat: "Seat") -> Row:
        from gpufarm.capacity.aliases import asked

        server = seat.traveller.server
        live = not (self._parsed.cold or asked(seat.traveller.flavor)) and server.status == "ACTIVE"
        return self._one(self._begin(server, seat.host, live=live), server)

    def _begin(self, server: "Server", target: str | None, *, live: bool) -> "Move":
        from msgspec.structs import replace

        from gpufarm.cli import moving
        from gpufarm.moves import evacuation, plan

        if self._parsed.dead:
            return evacuation.begin(moving.standing(self._door(), server), target)
        before = moving.interrupted(server.id)
        if before is not None:
            return before
        standing = moving.standing(self._door(), server)
        move = plan.begin(standing, target)
        under_way = move.source != standing.server.host or standing.server.task is not None
        return replace(move, live=live and not under_way)

    def _door(self) -> Any:
        from gpufarm.cli import moving

        return moving.CloudDoor(
            self._connection,
            self._sources,
            self._ledger,
            self._told,
            database_write=self._parsed.allow_database_write,
            stop=self._stop,
        )

    def _one(self, move: "Move", server: "Server") -> Row:
        from gpufarm.cli import moving

        door = self._door()
        try:
            moved = moving.carry_out(door, move, self._limits, self._told)
        except ServerNotMoved as error:
            return (server.name, server.id, STAYS, self._service.host, error.problem)
        except GpufarmError as error:
            return (server.name, server.id, STAYS, self._service.host, str(error))
        self.unfinished = self.unfinished or door.unfinished
        return (server.name, server.id, MOVED, moved.host, "; ".join((*moved.notes, *moved.left)))

    def _row(self, seat: "Seat", outcome: str, reason: str | None) -> Row:
        server = seat.traveller.server
        host = self._service.host if outcome == STAYS else seat.host
        return (server.name, server.id, outcome, host, reason or "")
