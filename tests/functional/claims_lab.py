"""What the tests on claims and moves do to a lab: servers, moves, killed processes."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from running_lab import RunningLab

from gpufarm.lab import config, faults, state

HOSTS = ("claims-1", "claims-2")
PATIENCE = 60.0
REPORTS_SECONDS = 5.0 * config.REPORT_SECONDS
"""More than two of nova-compute's reports."""
GIVEN_AWAY = """
SELECT c.host, p.address, p.instance_uuid
FROM pci_devices p JOIN compute_nodes c ON c.id = p.compute_node_id
WHERE p.deleted = 0 AND p.status IN ('allocated', 'claimed')
"""


@dataclass
class ClaimsLab:
    lab: RunningLab
    hosts: tuple[str, ...] = HOSTS

    @property
    def compute(self) -> Any:
        return self.lab.connection.compute

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.lab.run(*args, check=check)

    def json(self, *args: str, check: bool = True) -> Any:
        return json.loads(self.run(*args, "-f", "json", check=check).stdout)

    def boot(self, flavor: str, host: str = HOSTS[0], name: str = "t", *, wait: bool = True) -> str:
        """The id of a server on that host, ACTIVE if waited for."""
        made = self.compute.create_server(
            name=name,
            flavor_id=self.compute.find_flavor(flavor).id,
            image_id=self.lab.connection.image.find_image("t.image").id,
            networks="none",
            host=host,
        )
        if wait:
            self.until(made.id, "ACTIVE")
        return str(made.id)

    def server(self, server_id: str) -> dict[str, Any]:
        answer = self.compute.get(f"/servers/{server_id}")
        return dict(answer.json()["server"]) if answer.ok else {}

    def until(self, server_id: str, *statuses: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.server(server_id))
            return found.get("status") in statuses

        self.wait(there, f"{server_id}: {statuses}")
        return found

    def act(self, server_id: str, **action: Any) -> None:
        answer = self.compute.post(f"/servers/{server_id}/action", json=action)
        assert answer.ok, answer.text

    def delete(self, server_id: str) -> None:
        """Returns once it is gone; it is asked for again where Nova gave it up.

        A report to Placement that Nova 34 makes as it deletes a server may fail, where another
        server's cards change hands meanwhile (ReshapeFailed); the server is in ERROR then.
        """

        def gone() -> bool:
            found = self.server(server_id)
            if found.get("status") == "ERROR" and found["OS-EXT-STS:task_state"] is None:
                self.compute.delete_server(server_id)
            return not found

        self.compute.delete_server(server_id)
        self.wait(gone, f"{server_id} is deleted")

    def wait(self, done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s: {what}")
            time.sleep(0.3)

    def fault(self, host: str, step: faults.Step, **how: Any) -> None:
        faults.put(self.lab.state, host, step, faults.Fault(**how) if how else None)

    def kill(self, host: str) -> None:
        """End that nova-compute at once, as a crash does."""
        run = state.run_of(self.lab.state, f"nova-compute@{host}")
        assert run is not None
        os.kill(run.process.pid, signal.SIGKILL)
        self.wait(lambda: not state.running(self.lab.state, f"nova-compute@{host}"), "killed")

    @contextmanager
    def held(self, host: str) -> Iterator[None]:
        """That nova-compute does nothing meanwhile; no report either."""
        run = state.run_of(self.lab.state, f"nova-compute@{host}")
        assert run is not None
        os.kill(run.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(run.process.pid, signal.SIGCONT)

    def rows(self) -> set[tuple[str, str, str]]:
        """(host, address, server) of what Nova's table has given away."""
        return set(self._select(GIVEN_AWAY))

    def migrations(self) -> dict[str, str]:
        """{migration: server} of all that ever were; the API forgets those of deleted servers."""
        return dict(self._select("SELECT uuid, instance_uuid FROM migrations"))

    def _select(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.lab.state / "db" / "nova_cell1.sqlite")) as database:
            return database.execute(query).fetchall()

    def mend(self) -> None:
        """As it was: no faults, everything runs, no server, no cordon, every card free."""
        for host in self.hosts:
            for step in faults.read(self.lab.state, host):
                self.fault(host, step)  # type: ignore[arg-type]
        self.run("lab", "up")
        for server in list(self.compute.servers(all_projects=True)):
            if server.status != "ACTIVE":
                # HTTP 500 for one without a host yet (Nova 34: OrphanedObjectError).
                reset = {"os-resetState": {"state": "active"}}
                self.compute.post(f"/servers/{server.id}/action", json=reset)
            self.delete(server.id)
        # A server's that was moved and deleted soon after goes with nova-compute's next report.
        self.wait(lambda: not self.rows(), "Nova's table has every card free", REPORTS_SECONDS)
        for host in self.hosts:
            self.run("host", "undrain", host)
            self.run("host", "uncordon", host, "--cleaned")
