"""Hosts over a real SSH: this machine, by an sshd of the tests' own."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from private_sshd import sshd

from gpufarm.host import facts
from gpufarm.model.errors import CaptureInvalid, HostUnreachable, ProgramError, ProgramTimedOut
from gpufarm.model.facts import HostFacts
from gpufarm.system import agent, run, ssh
from gpufarm.system.capture import Captured
from gpufarm.system.machine import Machine


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sshd(tmp_path_factory.mktemp("sshd")) as client:
        yield client


def over_ssh(destination: str, config: Path) -> HostFacts:
    return facts.read(Captured(ssh.read(destination, config), "/"))


@pytest.mark.parametrize("destination", ["plain", "noisy"])
def test_a_host_says_what_it_says_itself(destination: str, config: Path) -> None:
    assert over_ssh(destination, config) == facts.read(Machine())


def test_one_connection(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen

    def counted(words: list[str], **options: object) -> object:
        started.append(words[0])
        return popen(words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(run.subprocess, "Popen", counted)
    ssh.read("plain", config)
    assert started == ["ssh"]


@pytest.mark.parametrize(
    ("destination", "kind", "message"),
    [
        ("no-shell", HostUnreachable, "no-shell: its sh did not run"),
        ("echo", CaptureInvalid, "echo: no POSIX shell ran there"),
        ("half", CaptureInvalid, "half: what it sent ends early"),
        ("liar", CaptureInvalid, "liar: line 3 of what it sent is odd: 'evil'"),
    ],
)
def test_a_host_that_is_none(
    destination: str, kind: type[Exception], message: str, config: Path
) -> None:
    with pytest.raises(kind, match=f"^{message}"):
        ssh.read(destination, config)


def test_a_host_that_never_ends(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_OUTPUT", 100_000)
    with pytest.raises(ProgramError, match="more than 100000 bytes"):
        ssh.read("endless", config)
    monkeypatch.setattr(ssh, "READ_SECONDS", 1.0)
    with pytest.raises(ProgramTimedOut):
        ssh.read("slow", config)


def test_a_host_that_does_not_answer(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "config"
    other.write_text(config.read_text().replace("Port ", "Port 1 #"))
    with pytest.raises(HostUnreachable, match=r"plain: ssh: .*Connection refused"):
        ssh.read("plain", other)


def test_a_host_that_does_not_know_the_key(config: Path) -> None:
    with pytest.raises(HostUnreachable, match=r"stranger: ssh: .*Permission denied"):
        ssh.read("stranger", config)


@pytest.mark.parametrize(
    "destination",
    ["", "-oProxyCommand=touch /tmp/x", "-p 22", "a b", "a\nb", "host\0", "x" * 400, "--"],
)
def test_what_is_no_destination(destination: str) -> None:
    with pytest.raises(HostUnreachable, match="not a destination of ssh"):
        ssh.read(destination)


@pytest.mark.parametrize("destination", ["ssh://me@host:22", "me@host", "a.b.c", "$(x);y", "[::1]"])
def test_a_destination_is_one_word_behind_all_options(destination: str) -> None:
    words = ssh.words(destination, Path("/c"), "sh -s")
    assert words[-3:] == ["--", destination, "sh -s"]
    assert words[words.index("-F") + 1] == "/c"


@pytest.fixture
def sharing(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration with which commands share a connection, as many people have it."""
    folder = tmp_path_factory.mktemp("s")
    shared = folder / "config"
    options = f"  ControlMaster auto\n  ControlPath {folder}/%n\n  ControlPersist 60\n"
    shared.write_text(config.read_text() + options)
    yield shared
    ssh.part("plain", shared)


def gone(socket: Path) -> bool:
    """ssh -O exit does not wait until the connection's process has removed its socket."""
    deadline = time.monotonic() + 10
    while socket.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not socket.exists()


def test_connections_are_shared_where_the_configuration_says_so(sharing: Path) -> None:
    socket = sharing.with_name("plain")
    ssh.read("plain", sharing)
    assert socket.is_socket()
    ssh.part("plain", sharing)
    assert gone(socket)
    ssh.part("plain", sharing)  # there is none any more, which is fine


def test_what_is_about_a_reboot_does_not_share_them(sharing: Path) -> None:
    socket = sharing.with_name("plain")
    ask = agent.there("plain", sharing)
    assert agent.FIRST in ask("boot-id", b"").stdout
    assert not socket.exists()
    ssh.read("plain", sharing)
    assert socket.is_socket()
    # It says what it would do and ends before it does.
    asked = agent.there("plain", sharing, "echo gpufarm-agent 1; echo end")
    assert agent.FIRST in asked("reboot", b"").stdout
    assert gone(socket)


def test_captures_over_ssh_and_by_hand_are_the_same(config: Path) -> None:
    here = msgspec.to_builtins(facts.capture(Machine()))
    there = msgspec.to_builtins(facts.capture(Captured(ssh.read("plain", config), "/")))
    for part in ("files", "links", "binary", "present", "outputs"):
        assert there[part] == here[part], part
