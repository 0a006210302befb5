"""Real hosts of a lab: what their Nova is told, what they reach, when they count as up."""

import argparse
import shlex
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.cli import lab_real
from gpufarm.cli.base import UsageError
from gpufarm.cli.shell import main
from gpufarm.lab import config, farm, state, up
from gpufarm.lab.real import hosts, network, nova_disk, settings
from gpufarm.lab.state import Lab, Secrets
from gpufarm.lab.virthost import cards, image, machine, qemu
from gpufarm.lab.virthost.machine import Machine, Reach
from gpufarm.model.errors import LabError, LabNotRunning, NoVirtualHost
from gpufarm.model.settings import parse

PORTS = {name: 40000 + i for i, name in enumerate((*state.APIS, *state.BROKER_PORTS))}
SECRETS = Secrets("s3cret-admin", "s3cret-broker", dict.fromkeys(state.SERVICE_USERS, "s3cret"))
GTX = cards.parse("gtx1080")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(state=tmp_path, mode="split", ports=PORTS, hosts=(), real=("real-1",))


def test_its_nova_finds_every_service_where_qemu_leads_it(lab: Lab) -> None:
    text = settings.nova_conf(lab, SECRETS, "real-1")
    assert "127.0.0.1" not in text
    found = parse(text).sections
    reached = {str(reach.port) for reach in settings.reaches(lab)}
    for section in ("placement", "glance", "neutron"):
        for option in ("auth_url", "endpoint_override"):
            (url,) = found[section][option]
            address, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
            assert address == qemu.SERVICES_ADDRESS
            assert port in reached
    assert found["DEFAULT"]["host"] == ("real-1",)


def test_no_other_service_of_the_lab_is_reached(lab: Lab) -> None:
    here = {reach.here for reach in settings.reaches(lab)}
    names = {"keystone", "placement", "glance", "neutron", "rabbitmq"}
    assert here == {PORTS[name] for name in names}


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=6))
def test_a_host_reaches_what_it_was_given_and_nothing_else(pairs: list[tuple[int, int]]) -> None:
    reaches = tuple(Reach(*pair) for pair in pairs)
    words = qemu.arguments(Machine(name="a", reaches=reaches))
    (network,) = (word for word in words if word.startswith("user,"))
    _, _, restrict, *forwards = network.split(",")
    assert restrict == "restrict=on"
    assert forwards == [
        f"guestfwd=tcp:10.0.2.100:{port}-cmd:./busybox nc 127.0.0.1 {here}" for port, here in pairs
    ]


def test_each_host_reaches_the_ssh_of_every_other_and_no_more(tmp_path: Path) -> None:
    """What QEMU runs for a connection finds the port that the other host has by then."""
    words = qemu.arguments(Machine(name="real-2", peers=network.peers("real-2")))
    (text,) = (word for word in words if word.startswith("user,"))
    _, _, restrict, *forwards = text.split(",")
    assert restrict == "restrict=on"
    assert len(forwards) == network.MOST - 1
    assert not any("../real-2/" in each for each in forwards)
    rule, _, command = forwards[0].partition("-cmd:")
    assert rule == f"guestfwd=tcp:{network.address('real-1')}:22"

    here, there = tmp_path / "real-2", tmp_path / "real-1"
    for each in (here, there):
        each.mkdir()
    relay = here / qemu.RELAY
    relay.write_text('#!/bin/sh\n[ "$1" = nc ] && echo "$@" && exit\nshift && exec sh "$@"\n')
    relay.chmod(0o700)
    (there / qemu.PORT_FILE).write_text("40022\n")
    said = subprocess.run(shlex.split(command), cwd=here, capture_output=True, check=True)
    assert said.stdout == b"nc 127.0.0.1 40022\n"


def test_the_hosts_know_each_other_by_name_address_and_key() -> None:
    keys = {"real-1": "ssh-ed25519 AAA1", "real-2": "ssh-ed25519 AAA2"}
    found = network.files("real-2", "PRIVATE\n", "ssh-ed25519 PUBLIC\n", keys)
    assert found["/root/.ssh/known_hosts"][0].splitlines() == [
        "real-1,10.0.2.101 ssh-ed25519 AAA1",
        "real-2,10.0.2.102 ssh-ed25519 AAA2",
    ]
    assert "10.0.2.101 real-1\n10.0.2.102 real-2\n" in found["/etc/hosts"][0]
    assert "Address=10.0.2.102/32" in found[f"{network.NETWORKD}20-own.network"][0]
    rights = {path: rights for path, (_, rights) in found.items() if "/.ssh/" in path}
    assert set(rights.values()) == {0o600}
    assert found["/root/.ssh/authorized_keys"][0] == "restrict ssh-ed25519 PUBLIC\n"


def test_nova_on_a_host_says_where_the_others_find_it(lab: Lab) -> None:
    found = parse(settings.nova_conf(lab, SECRETS, "real-2")).sections
    assert found["DEFAULT"]["my_ip"] == (network.address("real-2"),)


def test_a_host_with_services_goes_on_from_a_state_saved_without() -> None:
    wanted = Machine(
        name="a", cards=(GTX,), reaches=(Reach(5000, 1),), peers=network.peers("real-1")
    )
    assert image.resumes(wanted)
    assert not image.resumes(wanted, Machine(name="b", memory_mb=2048))


def test_nova_has_all_that_it_needs_but_what_is_left_out() -> None:
    found = nova_disk.pins()
    assert found["nova"].startswith("34.")
    assert {"cotyledon", "os-vif", "oslo-messaging", "lxml"} <= found.keys()
    assert not nova_disk.LEFT_OUT & found.keys()


def report(lab: Lab, seen: str | None, *, node: bool = True) -> None:
    """What the cell's database says of real-1."""
    path = lab.path("db", f"{config.NOVA_CELL_DATABASE}.sqlite")
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE services (host, binary, deleted, last_seen_up)")
        connection.execute("CREATE TABLE compute_nodes (host, deleted)")
        row = ("real-1", "nova-compute", 0, seen)
        connection.execute("INSERT INTO services VALUES (?, ?, ?, ?)", row)
        if node:
            connection.execute("INSERT INTO compute_nodes VALUES ('real-1', 0)")


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(seconds))


def test_a_host_is_up_once_it_has_reported_with_its_hardware(lab: Lab) -> None:
    now = time.time()
    assert not hosts._reports(lab, "real-1", now)
    for seen, node, since, up_now in (
        (at(now), True, now - 5, True),
        (at(now), False, now - 5, False),
        (at(now - 10), True, now - 5, False),
        (None, True, now - 5, False),
    ):
        report(lab, seen, node=node)
        assert hosts._reports(lab, "real-1", since) is up_now


def test_every_card_of_a_host_is_prepared_once() -> None:
    found = lab_real.spec(Machine(name="a", cards=(GTX, GTX, cards.parse("h100"))))
    assert [each.words for each in found.cards] == ["10de:1b80", "10de:2330"]


@pytest.mark.parametrize(
    "words",
    [
        ("--card", "gtx1080"),
        ("--real-hosts", "-1"),
        ("--real-hosts", "1", "--mode", "single"),
        ("--real-hosts", "1", *("--card", "gtx1080") * 9),
        ("--real-hosts", str(network.MOST + 1)),
    ],
)
def test_what_contradicts_itself_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    assert main(["lab", "up", "--state", str(tmp_path / "lab"), *words]) == 64
    assert not (tmp_path / "lab").exists()


def test_without_options_there_are_no_real_hosts() -> None:
    assert lab_real.asked(argparse.Namespace(real_hosts=0, card=[], mode=None)) == ()
    with pytest.raises(UsageError):
        lab_real.asked(argparse.Namespace(real_hosts=0, card=[GTX], mode=None))


def test_a_host_leaves_a_lab_only_while_that_runs(lab: Lab) -> None:
    lab_real.leave(lab.state / "none", "real-1")
    state.save(lab)
    lab_real.leave(lab.state, "gpu1")
    with pytest.raises(LabNotRunning):
        lab_real.leave(lab.state, "real-1")
    assert state.load(lab.state).real == ("real-1",)


def test_names_are_those_of_hosts() -> None:
    assert [each.name for each in hosts.named(2, (GTX,))] == ["real-1", "real-2"]
    for each in hosts.named(2, (GTX,)):
        machine.check_name(each.name)


def test_a_simulated_host_with_a_real_one_s_name_is_refused(tmp_path: Path) -> None:
    (simulated,) = (hosts._hardware(Machine(name="real-1", cards=(GTX,))),)
    request = up.Request(
        state=tmp_path / "lab", mode="split", hosts=(simulated,), real=hosts.named(1, (GTX,))
    )
    with pytest.raises(LabError, match="real-1 cannot be a simulated host and a real one"):
        up.up(request, (), lambda _: None)


def test_what_runs_is_read_while_a_real_host_is_off(lab: Lab) -> None:
    with pytest.raises(NoVirtualHost):
        farm.settings_now(lab)
    assert set(farm.settings_now(lab, of_running=True)) == {config.CONTROLLER, config.PLACEMENT}
