"""GPU servers that move between two real hosts, and what is left where: nothing (SV-7)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pair_lab import CARDS, HOSTS, INSTANCES, WRITE, Pair, other
from real_lab import LONGEST
from running_lab import RunningLab

pytestmark = [pytest.mark.virthost, pytest.mark.long]

FARM = Path(__file__).with_name("pair_farm.yaml")

MARK = (
    "virsh qemu-monitor-command {server} --hmp "
    "'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 90 0 4k\"'"
)
MARKED = f"qemu-io -r -U -f qcow2 -c 'read -P 90 0 4k' {INSTANCES}/{{server}}/disk"
"""The guest itself reads and writes no disk."""


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
    for source in HOSTS:
        rows = pair.json("host", "drain", source, "--reason", "new firmware", WRITE)
        assert all(row["outcome"] == "moved" for row in rows), rows
        for server in servers:
            pair.runs_on(server, other(source))
        pair.run("host", "undrain", source)
        pair.all_is_true(**dict.fromkeys(servers, other(source)))


def test_the_source_is_killed_while_the_disk_is_copied(pair: Pair) -> None:
    server, source = pair.create("k1")
    pair.there(source, MARK.format(server=server))
    with pair.moving(server) as move:
        pair.until_task(server, "resize_migrating")
        pair.kill_when(source, f"test -e {INSTANCES}/{server}_resize")
        pair.run("lab", "up")
        said = pair.moved(server, move)
    assert f"it is back on {source}" in said
    pair.runs_on(server, source)
    pair.there(source, MARKED.format(server=server))
    assert f"what was copied by then stays on {other(source)}" in said
    pair.there(other(source), f"rm -r {INSTANCES}/{server}")
    pair.all_is_true(**{server: source})


def test_the_target_is_killed_while_it_starts_the_server(pair: Pair) -> None:
    server, source = pair.create("k2")
    pair.there(source, MARK.format(server=server))
    with pair.moving(server) as move:
        pair.until_task(server, "resize_finish")
        pair.kill_when(other(source), "true")
        pair.run("lab", "up")
        said = pair.moved(server, move)
    pair.runs_on(server, other(source))
    pair.there(other(source), MARKED.format(server=server))
    assert f"`virsh undefine {server}`" in said
    assert f"the folder {server}_resize" in said
    pair.there(source, f"virsh undefine {server} && rm -r {INSTANCES}/{server}_resize")
    pair.all_is_true(**{server: other(source)})


def test_the_source_is_killed_while_it_cleans_up(pair: Pair) -> None:
    """It has removed the folder, and waits for libvirt."""
    server, source = pair.create("k3")
    with pair.moving(server) as move:
        pair.until_task(server, "resize_finish")
        pair.there(source, "systemctl kill --signal=STOP libvirtd")
        pair.kill_when(source, f"! test -e {INSTANCES}/{server}_resize")
        pair.there(source, "systemctl kill --signal=CONT libvirtd")
        pair.run("lab", "up")
        said = pair.moved(server, move)
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
    assert "not able to execute ssh command" in refused.stderr
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
