"""Servers made, moved and deleted by several hands at once, and an oracle that watches them all."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from claims_lab import HOSTS, ClaimsLab
from openstack.exceptions import SDKException
from running_lab import RunningLab

from gpufarm.claims.findings import Finding

SETTLED = ("ACTIVE", "SHUTOFF", "ERROR", "VERIFY_RESIZE", "SHELVED_OFFLOADED", "SHELVED")
MOVES = frozenset(("move", "unshelve"))
GIVEN_UP = (AssertionError, SDKException, pytest.fail.Exception)
"""Refused, since no host has room or Nova is being started anew; or lost, as that came between."""


@dataclass
class Oracle:
    """Knows of every operation on every server when it began and ended."""

    begun: dict[str, float] = field(default_factory=dict)
    """{server: since when an operation is under way}"""
    ended: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    kills: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, server: str, operation: str) -> None:
        with self.lock:
            self.begun[server] = time.time()
            self.history.setdefault(server, []).append(operation)

    def end(self, server: str, *, gone: bool = False) -> None:
        with self.lock:
            self.ended[server] = time.time()
            self.begun.pop(server, None)
            if gone:
                self.gone.add(server)

    @property
    def operations(self) -> int:
        with self.lock:
            return sum(len(each) for each in self.history.values())

    def disagrees(self, finding: Finding, server: str | None, since: float) -> str | None:
        """Why the finding is a false alarm; None where it is none.

        `server` is whose claim it is, `since` when the look began that found it.
        """
        with self.lock:
            if server is None or server not in self.history:
                return "it is of no server that ever was"
            if server in self.begun or self.ended.get(server, 0.0) > since:
                return f"{self.history[server][-1]} was under way"
            moved = bool(MOVES & set(self.history[server]))
            gone = server in self.gone
            ended = bool(self.kills)
            possible = {
                "ALLOCATION_LEFT_BEHIND": moved and not gone,
                "CLAIMED_TWICE": moved and not gone,
                "ALLOCATION_MISSING": moved or ended,
                "NOT_IN_GUEST": moved and not gone,
                "ROW_LEFT_BEHIND": moved or gone,
                "CONSUMER_UNKNOWN": gone,
                "BUILD_STUCK": ended,
                "MIGRATION_STUCK": ended,
            }
        if not possible.get(finding.code, False):
            return f"nobody did anything of the kind: {', '.join(self.history[server])}"
        return None


class Worker:
    """One hand: one operation after another, each to its end."""

    def __init__(self, state: RunningLab, oracle: Oracle, seed: int, more: Callable[[], bool]):
        self.lab = ClaimsLab(RunningLab(state.state))
        self.oracle, self.more = oracle, more
        self.random = random.Random(seed)
        self.servers: list[str] = []
        self.name_of_next = f"churn-{seed}"

    def run(self) -> None:
        while self.more():
            self._step()

    def _step(self) -> None:
        if not self.servers or (len(self.servers) < 2 and self.random.random() < 0.6):
            self._create()
            return
        server = self.random.choice(self.servers)
        operations = (self._delete, self._move, self._move, self._shelve, self._stop)
        try:
            self.random.choice(operations)(server)
        except GIVEN_UP:
            self.oracle.end(server)
            time.sleep(0.5)

    def _create(self) -> None:
        flavor = self.random.choice(("t.one", "t.one", "t.two"))
        server = self.lab.boot(
            flavor, self.random.choice(HOSTS), name=self.name_of_next, wait=False
        )
        self.oracle.begin(server, "create")
        self.servers.append(server)
        with suppress(*GIVEN_UP):
            if self.lab.until(server, *SETTLED)["status"] == "ERROR":
                self._delete(server)
        self.oracle.end(server, gone=server not in self.servers)

    def _delete(self, server: str) -> None:
        self.oracle.begin(server, "delete")
        self.lab.delete(server)
        self.servers.remove(server)
        self.oracle.end(server, gone=True)

    def _move(self, server: str) -> None:
        self.oracle.begin(server, "move")
        if self.random.random() < 0.5:
            self.lab.act(server, migrate=None)
        else:
            flavor = self.lab.compute.find_flavor(self.random.choice(("t.one", "t.larger")))
            self.lab.act(server, resize={"flavorRef": flavor.id})
        self._settle(server)
        if self.lab.server(server)["status"] == "VERIFY_RESIZE":
            how = self.random.choice(("confirmResize", "revertResize"))
            self.lab.act(server, **{how: None})
            self._settle(server, "ACTIVE", "SHUTOFF", "ERROR")
        self.oracle.end(server)

    def _shelve(self, server: str) -> None:
        self.oracle.begin(server, "shelve")
        self.lab.act(server, shelve=None)
        self._settle(server, "SHELVED_OFFLOADED", "ERROR")
        self.oracle.begin(server, "unshelve")
        self.lab.act(server, unshelve=None)
        self._settle(server)
        self.oracle.end(server)

    def _stop(self, server: str) -> None:
        self.oracle.begin(server, "stop")
        self.lab.act(server, **{"os-stop": None})
        self._settle(server, "SHUTOFF", "ERROR")
        self.lab.act(server, **{"os-start": None})
        self._settle(server)
        self.oracle.end(server)

    def _settle(self, server: str, *statuses: str) -> None:
        def there() -> bool:
            found = self.lab.server(server)
            return found["OS-EXT-STS:task_state"] is None and found["status"] in (
                statuses or SETTLED
            )

        time.sleep(0.2)
        self.lab.wait(there, f"{server} settles")
