"""GPU servers that move between two real hosts, and what is left where: nothing (SV-7)."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running_lab import RunningLab

from gpufarm.guest import seen
from gpufarm.lab.virthost import running, store

pytestmark = [pytest.mark.virthost, pytest.mark.long]

HOSTS = ONE, TWO = ("real-1", "real-2")
CARDS = ("0000:01:00", "0000:02:00")
"""Two of a kind on each: with one, a move could not leak the other in Placement."""
FARM = Path(__file__).with_name("pair_farm.yaml")
LONGEST = 1200
PATIENCE = 400.0
WRITE = "--allow-database-write"
SOON = ("--older-than", "0.1")
NEW_SERVER = ("--flavor", "g1.gpu", "--image", "gpu-console", "--network", "none")
INSTANCES = "/var/lib/nova/instances"

MARK = (
    "virsh qemu-monitor-command {server} --hmp "
    "'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 90 0 4k\"'"
)
MARKED = f"qemu-io -r -U -f qcow2 -c 'read -P 90 0 4k' {INSTANCES}/{{server}}/disk"
"""The guest itself reads and writes no disk."""


@dataclass
class Pair:
    lab: RunningLab

    @property
    def compute(self) -> Any:
        return self.lab.connection.compute

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.lab.run(*args, check=check, timeout=LONGEST)

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "gpufarm", *args],
            env=self.lab.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *args: str, status: int = 0) -> Any:
        done = self.run(*args, "-f", "json", check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)

    def there(self, host: str, script: str) -> str:
        return self.run("lab", "host", "ssh", host, "--", script).stdout

    def create(self, name: str) -> tuple[str, str]:
        """(id, host) of a server whose guest has listed its functions."""
        made = self.json("server", "create", name, *NEW_SERVER, "--until", "console")
        return made["id"], made["host"]

    def server(self, server: str) -> dict[str, Any]:
        answer = self.compute.get(f"/servers/{server}")
        return dict(answer.json()["server"]) if answer.ok else {}

    def host_of(self, server: str) -> str:
        return str(self.server(server)["OS-EXT-SRV-ATTR:host"])

    def migrations(self, server: str) -> list[str]:
        answer = self.compute.get(f"/os-migrations?instance_uuid={server}").json()
        return [each["status"] for each in answer["migrations"]]

    def until_task(self, server: str, task: str) -> None:
        self.wait(lambda: self.server(server).get("OS-EXT-STS:task_state") == task, task)

    def wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {PATIENCE:g} s: {what}")
            time.sleep(0.3)

    def signal_compute(self, host: str, signal: str) -> None:
        self.there(host, f"systemctl kill --signal={signal} nova-compute")

    def dies(self, host: str) -> None:
        """Its power is cut; Nova would see that by itself after a minute."""
        running.end(store.folder(self.lab.state, host))
        service = self.service(host)["id"]
        assert self.compute.put(f"/os-services/{service}", json={"forced_down": True}).ok

    def service(self, host: str) -> dict[str, Any]:
        path = f"/os-services?binary=nova-compute&host={host}"
        return dict(self.compute.get(path).json()["services"][0])

    def runs_on(self, server: str, host: str) -> None:
        """It does, its guest sees the card that is claimed for it, and shows so."""
        found = self.server(server)
        assert (found["status"], found["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
        assert found["OS-EXT-SRV-ATTR:host"] == host
        assert self.there(host, "virsh list --uuid").split().count(server) == 1
        self.wait(lambda: self._console(server).whole, "its guest has listed its functions")
        checks = self.json("server", "verify", server)
        assert {row["result"] for row in checks} <= {"ok", "not checked"}
        assert ("functions", "ok") in {(row["check"], row["result"]) for row in checks}

    def _console(self, server: str) -> seen.Seen:
        return seen.parse(self.compute.get_server_console_output(server)["output"] or "")

    def all_is_true(self, **servers: str) -> None:
        """{server: host} are all that there is: by Nova, Placement, libvirt, and on the hosts."""
        for host in HOSTS:
            here = {server for server, at in servers.items() if at == host}
            assert set(self.there(host, "virsh list --all --uuid").split()) == here
            folders = self.there(host, f"cd {INSTANCES} && ls -d *-*-*-*-* 2>/dev/null || :")
            assert set(folders.split()) == here
            drivers = " ".join(f"/sys/bus/pci/devices/{card}.*/driver" for card in CARDS)
            bound = self.there(host, f"basename -a $(readlink -f {drivers})").split()
            assert bound == ["vfio-pci"] * 4
        self.wait(lambda: self._claims() == [], "claims are true")
        free = {row["host"]: row["free"] for row in self.json("capacity")["cards"]}
        used = list(servers.values())
        assert free == {host: len(CARDS) - used.count(host) for host in HOSTS}

    def _claims(self) -> list[str]:
        done = self.run("claims", "check", "--older-than", "0", "-f", "json", check=False)
        return [f"{each['code']} {each['why']}" for each in json.loads(done.stdout)]

    def mend(self) -> None:
        """As it was: every host runs, and no server is there."""
        self.run("lab", "up")
        for server in list(self.compute.servers(all_projects=True)):
            reset = {"os-resetState": {"state": "active"}}
            self.compute.post(f"/servers/{server.id}/action", json=reset)
            self.compute.delete_server(server.id)
            self.wait(lambda server=server: not self.server(server.id), "deleted")  # type: ignore[misc]
        for host in HOSTS:
            self.run("host", "undrain", host)
        self.wait(lambda: self._claims() == [], "claims are true")


@pytest.fixture(scope="module")
def pair_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    home = tmp_path_factory.mktemp("pair")
    found = RunningLab(home / "state", {"XDG_STATE_HOME": str(home / "home")})
    cards = [word for _ in CARDS for word in ("--card", "gtx1080")]
    found.run("lab", "up", "--real-hosts", "2", *cards, timeout=LONGEST)
    found.run("farm", "apply", str(FARM), timeout=LONGEST)
    yield found
    found.run("lab", "reset")


@pytest.fixture
def pair(pair_lab: RunningLab) -> Iterator[Pair]:
    found = Pair(pair_lab)
    yield found
    found.mend()


def other(host: str) -> str:
    return TWO if host == ONE else ONE


def test_there_and_back(pair: Pair) -> None:
    server, host = pair.create("m1")
    pair.there(host, MARK.format(server=server))
    for to in (other(host), host):
        words = ("--to", to) if to == host else ("--until", "console")
        moved = pair.json("server", "migrate", server, WRITE, *words)
        assert (moved["host"], len(moved["cards"])) == (to, 1)
        pair.runs_on(server, to)
        pair.there(to, MARKED.format(server=server))
        pair.all_is_true(**{server: to})


def test_a_host_is_emptied_and_the_other_one_too(pair: Pair) -> None:
    servers = dict(pair.create(name) for name in ("d1", "d2"))
    for source in (ONE, TWO, ONE):
        rows = pair.json("host", "drain", source, "--reason", "new firmware", WRITE)
        assert all(row["outcome"] == "moved" for row in rows), rows
        for server in servers:
            pair.runs_on(server, other(source))
        pair.run("host", "undrain", source)
        pair.all_is_true(**dict.fromkeys(servers, other(source)))


def test_the_source_is_killed_while_the_disk_is_copied(pair: Pair) -> None:
    server, source = pair.create("k1")
    pair.there(source, MARK.format(server=server))
    with pair.begin("server", "migrate", server, WRITE, *SOON) as move:
        pair.until_task(server, "resize_migrating")
        pair.signal_compute(source, "KILL")
        pair.run("lab", "up")
        said = move.communicate(timeout=LONGEST)[1]
    assert move.returncode == 1, said
    assert f"it is back on {source}" in said
    pair.runs_on(server, source)
    pair.there(source, MARKED.format(server=server))
    assert f"what was copied by then stays on {other(source)}" in said
    pair.there(other(source), f"rm -r {INSTANCES}/{server}")
    pair.all_is_true(**{server: source})


def test_the_target_is_killed_while_it_starts_the_server(pair: Pair) -> None:
    server, source = pair.create("k2")
    pair.there(source, MARK.format(server=server))
    with pair.begin("server", "migrate", server, WRITE, *SOON) as move:
        pair.until_task(server, "resize_finish")
        pair.signal_compute(other(source), "KILL")
        pair.run("lab", "up")
        said = move.communicate(timeout=LONGEST)[1]
    assert move.returncode == 0, said
    pair.runs_on(server, other(source))
    pair.there(other(source), MARKED.format(server=server))
    assert f"`virsh undefine {server}`" in said
    assert f"the folder {server}_resize" in said
    pair.there(source, f"virsh undefine {server} && rm -r {INSTANCES}/{server}_resize")
    pair.all_is_true(**{server: other(source)})


def test_the_source_is_killed_while_it_cleans_up(pair: Pair) -> None:
    """It has removed the folder, and waits for libvirt."""
    server, source = pair.create("k3")
    with pair.begin("server", "migrate", server, WRITE, *SOON) as move:
        pair.until_task(server, "resize_finish")
        pair.there(source, "systemctl kill --signal=STOP libvirtd")
        pair.wait(
            lambda: not pair.there(source, f"ls -d {INSTANCES}/{server}_resize || :"), "removed"
        )
        pair.signal_compute(source, "KILL")
        pair.there(source, "systemctl kill --signal=CONT libvirtd")
        pair.run("lab", "up")
        said = move.communicate(timeout=LONGEST)[1]
    assert move.returncode == 0, said
    pair.runs_on(server, other(source))
    assert f"`virsh undefine {server}`" in said
    pair.there(source, f"virsh undefine {server}")
    pair.all_is_true(**{server: other(source)})


def test_a_host_that_does_not_let_the_other_in(pair: Pair) -> None:
    """As where the keys of nova's user are missing: the server runs on where it was."""
    server, source = pair.create("k4")
    keys = "/root/.ssh/authorized_keys"
    pair.there(other(source), f"mv {keys} {keys}.away")
    refused = pair.run("server", "migrate", server, WRITE, check=False)
    pair.there(other(source), f"mv {keys}.away {keys}")
    assert refused.returncode == 1
    assert f"it is back on {source}, ACTIVE" in refused.stderr
    assert "Permission denied" in refused.stderr
    pair.runs_on(server, source)
    pair.all_is_true(**{server: source})


def test_a_host_is_dead_and_comes_back(pair: Pair) -> None:
    server, source = pair.create("e1")
    pair.dies(source)
    dead = ("--reason", "no power", "--dead", "--fenced", "--rebuild-disks")
    (row,) = pair.json("host", "drain", source, *dead)
    assert (row["outcome"], row["host"]) == ("moved", other(source))
    pair.runs_on(server, other(source))
    assert pair.run("host", "undrain", source, check=False).returncode == 1
    pair.run("lab", "up")
    pair.run("host", "undrain", source)
    assert pair.service(source)["status"] == "enabled"
    pair.all_is_true(**{server: other(source)})
