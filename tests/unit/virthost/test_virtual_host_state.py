"""A virtual host's files, its SSH configuration, its monitor, and when it is ready."""

import json
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gpufarm.lab.virthost import guest, host, qmp, running, settling, store
from gpufarm.lab.virthost.cards import parse
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine
from gpufarm.model.errors import (
    CommandFailed,
    LabBusy,
    LabError,
    NoVirtualHost,
    VirtualHostFailed,
)
from gpufarm.system import files
from gpufarm.system.processes import ProcessId

HOST = store.Host(
    machine=Machine(
        name="h1",
        cards=(parse("gtx1080"), parse("h100,group=shared")),
        iommu="amd",
        disks=(Path("/x.img"),),
    ),
    created=1.5,
    port=2222,
)


def save(state: Path, found: store.Host = HOST) -> None:
    store.folder(state, found.machine.name).mkdir(parents=True)
    store.save(state, found)


def test_a_host_is_read_as_it_was_saved(tmp_path: Path) -> None:
    save(tmp_path)
    assert store.load(tmp_path, "h1") == HOST
    assert list(store.names(tmp_path)) == ["h1"]


def test_no_such_host(tmp_path: Path) -> None:
    with pytest.raises(NoVirtualHost, match="gpufarm lab host up"):
        store.load(tmp_path, "h1")
    save(tmp_path)
    for ask in (store.load, host.down, host.reach):
        with pytest.raises(NoVirtualHost, match="there are: h1"):
            ask(tmp_path, "other")


@pytest.mark.parametrize("name", ["../lab", "a/b", "..", "", "ssh_config\n"])
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    for ask in (store.load, store.folder, host.down, host.reach):
        with pytest.raises((ValueError, NoVirtualHost)):
            ask(tmp_path, name)


def test_a_broken_file_is_no_host(tmp_path: Path) -> None:
    save(tmp_path)
    (store.folder(tmp_path, "h1") / "host.json").write_text("{")
    with pytest.raises(NoVirtualHost):
        store.load(tmp_path, "h1")


def test_a_host_that_does_not_run(tmp_path: Path) -> None:
    save(tmp_path)
    where = store.folder(tmp_path, "h1")
    gone = ProcessId(2**22 + 1, 1.0)
    store.save_run(where, store.Run(gone, gone))
    (row,) = host.status(tmp_path)
    assert (row.name, row.healthy, row.pid, row.memory_mb, row.age_seconds) == (
        *("h1", False, None, 0.0, None),
    )
    assert row.cards == ("0000:01:00.0 gtx1080", "0000:0c:00.0 h100")
    (where / "qemu.log").write_text("QEMU says why\n")
    with pytest.raises(VirtualHostFailed, match="QEMU says why") as caught:
        running.check(where, "h1")
    assert caught.value.folder == str(where)
    host.down(tmp_path, "h1")
    assert not where.exists()


def test_a_pid_that_belongs_to_another_is_left_alone(tmp_path: Path) -> None:
    """Processes are known by their start time too."""
    save(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        taken = ProcessId(other.pid, 12345.0)
        store.save_run(store.folder(tmp_path, "h1"), store.Run(taken, taken))
        host.down(tmp_path, "h1")
        assert other.poll() is None
        other.kill()


def test_another_command_changes_it(tmp_path: Path) -> None:
    save(tmp_path)
    with (
        files.lock(tmp_path / store.FOLDER / "h1.lock", wait=False),
        pytest.raises(LabBusy, match="virtual host h1"),
    ):
        host.down(tmp_path, "h1")


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = guest.public_key(tmp_path)
    assert guest.public_key(tmp_path) == first
    assert first.startswith("ssh-ed25519 ")
    assert len(first) == 81  # the firmware item's size is part of a saved state
    private = tmp_path / store.FOLDER / guest.KEY
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    other = guest.public_key(tmp_path / "other")
    assert other != first


def test_ssh_reads_the_configuration_as_meant(tmp_path: Path) -> None:
    state = tmp_path / "with space and 50%"
    save(state)
    guest.public_key(state)
    config = guest.configure(state)
    said = subprocess.run(
        ["ssh", "-G", "-F", str(config), "h1"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(line.split(" ", 1) for line in said.splitlines())
    assert (found["hostname"], found["port"], found["user"]) == ("127.0.0.1", "2222", "root")
    assert found["stricthostkeychecking"] in {"true", "yes"}
    assert found["hostkeyalias"] == "virtual-host"
    assert found["identitiesonly"] == "yes"
    known = subprocess.run(
        ["ssh", "-G", "-F", str(config), "h1", "-o", "Port=1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(store.folder(state, "h1") / "known_hosts") in known.replace("%%", "%")


def test_commands_share_a_connection_by_a_socket_that_is_its_owners(tmp_path: Path) -> None:
    near = guest.stanza("h1", 1, tmp_path / "key", Path("/s/h1/known_hosts"))
    assert 'ControlPath "/s/h1/ssh"\n' in near
    far = guest.stanza("h1", 1, tmp_path / "key", Path("/s" * 50, "h1/known_hosts"))
    assert "ControlPath none\n" in far


def test_a_path_that_ssh_cannot_be_told_of() -> None:
    for path in ('/a"b', "/a${HOME}", "/a\nb"):
        with pytest.raises(LabError, match="another --state"):
            guest.stanza("h1", 1, Path(path), Path("/known"))


def answering(*lines: object) -> tuple[Callable[[Path], None], list[dict[str, object]]]:
    """A monitor that sends those messages, one for each that it gets; and what it got."""
    got: list[dict[str, object]] = []

    def serve(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(1)
            ready.set()
            connection, _ = listening.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write(json.dumps({"QMP": {}}) + "\n")
                stream.flush()
                for line in ({"return": {}}, *lines):
                    got.append(json.loads(stream.readline()))
                    stream.write(json.dumps({"event": "NOISE"}) + "\n" + json.dumps(line) + "\n")
                    stream.flush()

    ready = threading.Event()

    def start(path: Path) -> None:
        threading.Thread(target=serve, args=(path,), daemon=True).start()
        assert ready.wait(10)

    return start, got


def test_the_monitor(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # longer than the path of a socket may be
    deep.mkdir()
    short = tmp_path / "qmp"
    start, got = answering({"return": "fine"}, {"error": {"desc": "no such bus"}})
    start(short)
    (deep / "qmp").symlink_to(short)
    with qmp.Qmp(deep / "qmp") as monitor:
        assert monitor.human("info pci") == "fine"
        with pytest.raises(CommandFailed, match="no such bus"):
            monitor.execute("device_add", {"driver": "x"})
        with pytest.raises((CommandFailed, OSError)):
            monitor.execute("quit")
    assert [each["execute"] for each in got] == [
        *("qmp_capabilities", "human-monitor-command", "device_add"),
    ]


def test_a_state_that_does_not_load(tmp_path: Path) -> None:
    start, _ = answering(
        {"return": {"status": "active"}}, {"return": {"status": "failed", "error-desc": "torn"}}
    )
    start(tmp_path / "qmp")
    with (
        qmp.Qmp(tmp_path / "qmp") as monitor,
        pytest.raises(CommandFailed, match="torn"),
    ):
        monitor.wait_for_migration(10)


def test_no_monitor_comes(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no monitor within"):
        qmp.connect(tmp_path / "qmp", 0.1, lambda: None)

    def check() -> None:
        raise VirtualHostFailed("h1", "QEMU has ended", "/x")

    with pytest.raises(VirtualHostFailed):
        qmp.connect(tmp_path / "qmp", 10, check)


LISTING = "0000:01:00.0/vendor:0x10de\n0000:01:00.0/device:0x1b80\n"


def test_what_a_host_sees() -> None:
    assert settling.seen(f"running\n{LISTING}") == {"0000:01:00.0": ("10de", "1b80")}
    expected = settling.expected(HOST.machine)
    assert expected["0000:01:00.1"] == ("10de", "10f0")
    assert expected["0000:0c:00.0"] == ("10de", "2330")
    assert expected["0000:0b:00.0"] == settling.NVME_IDS


def test_units_that_failed_are_named() -> None:
    reached = Guest("h1", Path("/state/ssh_config"))
    settling.check_units(reached, f"running\n{LISTING}")
    with pytest.raises(VirtualHostFailed, match="its units are degraded") as caught:
        settling.check_units(reached, f"degraded\nssh.service loaded failed\n{LISTING}")
    assert caught.value.lines == ("ssh.service loaded failed",)
    with pytest.raises(VirtualHostFailed, match="unknown"):
        settling.check_units(reached, LISTING)


def test_nobody_answers() -> None:
    with pytest.raises(VirtualHostFailed, match="SSH does not answer within"):
        guest.first_answer(Guest("h1", Path("/x/y")), 1, lambda: "", 0.1, lambda: None)
