"""Virtual hosts on the real kernel: what was asked for is what the host sees, before and after."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from virtual_hosts import (
    BOARD,
    GTX,
    GTX_TOO,
    H100,
    K4200,
    NVME,
    T4,
    Starter,
    VirtualHost,
    VirtualHosts,
)

from gpufarm.lab.virthost import host, store
from gpufarm.system import processes

pytestmark = pytest.mark.virthost

KEYS = ("name", "iommu", "cards", "ssh_port", "pid", "healthy", "memory_mb", "age_seconds")


@pytest.fixture
def board(virtual_hosts: VirtualHosts) -> VirtualHost:
    return virtual_hosts.board()


def gpufarm(state: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpufarm", *words],
        env={**os.environ, "GPUFARM_LAB_STATE": str(state), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def listed(state: Path) -> dict[str, dict[str, Any]]:
    done = gpufarm(state, "lab", "host", "list", "-f", "json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def functions(found: VirtualHost) -> dict[str, str]:
    """{address: `CLASS VENDOR:DEVICE`} as lspci in the host says."""
    lines = found.ssh("lspci -Dn").stdout.splitlines()
    words = (line.split() for line in lines)
    return {word[0]: f"{word[1].rstrip(':')} {word[2]}" for word in words}


def groups(found: VirtualHost) -> list[set[str]]:
    """The functions of each IOMMU group; numbers differ between boots."""
    lines = found.ssh("ls -d /sys/kernel/iommu_groups/*/devices/*", check=False).stdout.split()
    by_number: dict[str, set[str]] = {}
    for line in lines:
        parts = line.split("/")
        by_number.setdefault(parts[4], set()).add(parts[6])
    return list(by_number.values())


def driver(found: VirtualHost, address: str) -> str:
    path = f"/sys/bus/pci/devices/{address}/driver"
    return Path(found.ssh(f"readlink {path}", check=False).stdout.strip()).name


def belongs_to(folder: Path) -> list[int]:
    """Processes that run in that folder, or have it in their words."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_the_host_sees_what_was_asked_for(board: VirtualHost) -> None:
    found = functions(board)
    assert {address: found.get(address) for address in (f"{GTX}.0", f"{GTX}.1")} == {
        f"{GTX}.0": "0300 10de:1b80",
        f"{GTX}.1": "0403 10de:10f0",
    }
    assert (found[f"{K4200}.0"], found[f"{K4200}.1"]) == ("0300 10de:11b4", "0403 10de:0e0a")
    assert found[f"{T4}.0"] == "0302 10de:1eb8"
    assert f"{T4}.1" not in found
    assert found[NVME] == "0108 1b36:0010"
    assert board.slots == (GTX, GTX_TOO, H100, T4, K4200)


def test_each_card_is_in_its_group(board: VirtualHost) -> None:
    found = groups(board)
    assert {f"{GTX}.0", f"{GTX}.1"} in found
    assert {f"{T4}.0"} in found
    shared = next(group for group in found if NVME in group)
    bridges = {address for address in shared if functions(board)[address].startswith("0604")}
    assert shared - bridges == {NVME, f"{K4200}.0", f"{K4200}.1"}


def test_every_bar_has_an_address(board: VirtualHost) -> None:
    for address in (f"{GTX}.0", f"{GTX}.1", f"{K4200}.0", f"{K4200}.1", f"{T4}.0", NVME):
        said = board.ssh(f"lspci -vs {address}").stdout
        assert "Memory at" in said, said
        assert "unassigned" not in said
        assert "disabled" not in said


def test_drivers_behave_as_on_hardware(board: VirtualHost) -> None:
    assert driver(board, f"{GTX}.1") == "snd_hda_intel"
    assert driver(board, f"{GTX}.0") == ""  # nouveau has looked at it and left
    assert driver(board, NVME) == "nvme"
    said = board.ssh("lsmod; cat /sys/bus/pci/devices/*/boot_vga; ls /dev/nvme0n1").stdout
    assert re.search(r"^nouveau ", said, re.MULTILINE)
    # The board has a VGA of its own, which is the one that the firmware uses.
    assert board.ssh(f"cat /sys/bus/pci/devices/{GTX}.0/boot_vga").stdout == "0\n"
    assert board.ssh("cat /sys/bus/pci/devices/0000:00:01.0/boot_vga").stdout == "1\n"


def test_links_and_resets_are_those_of_the_card(board: VirtualHost) -> None:
    folder = "/sys/bus/pci/devices"
    read = f"cd {folder}; cat {T4}.0/current_link_width {T4}.0/max_link_width {T4}.0/reset_method"
    assert board.ssh(read).stdout.splitlines() == ["8", "16", "flr bus"]
    before = len(board.resets())
    board.ssh(f"echo flr > {folder}/{T4}.0/reset_method; echo 1 > {folder}/{T4}.0/reset")
    assert [line.split()[:2] for line in board.resets()[before:]] == [["own4.0", "FLR"]]
    board.ssh(f"echo default > {folder}/{T4}.0/reset_method")
    refused = board.ssh(f"echo 1 > {folder}/{GTX}.0/reset", check=False)
    assert refused.returncode != 0
    assert "Inappropriate ioctl" in refused.stderr


def test_a_card_can_be_given_to_vfio_and_back(board: VirtualHost) -> None:
    folder = f"/sys/bus/pci/devices/{T4}.0"
    group = board.ssh(f"basename $(readlink {folder}/iommu_group)").stdout.strip()
    board.ssh(
        f"modprobe vfio-pci; echo vfio-pci > {folder}/driver_override; "
        f"echo {T4}.0 > /sys/bus/pci/drivers_probe"
    )
    assert driver(board, f"{T4}.0") == "vfio-pci"
    board.ssh(f"test -c /dev/vfio/{group}")
    board.ssh(f"echo {T4}.0 > {folder}/driver/unbind; echo > {folder}/driver_override")
    board.ssh(f"test ! -e /dev/vfio/{group}; modprobe -r vfio-pci")


def test_a_reboot_goes_through_grub_and_changes_nothing_else(board: VirtualHost) -> None:
    before = (functions(board), sorted(map(sorted, groups(board))))
    resets = len(board.resets())
    printed = len((board.folder / "serial.log").read_bytes())
    boot = board.ssh("touch /root/mine; cat /proc/sys/kernel/random/boot_id").stdout
    board.reboot()
    assert board.ssh("cat /proc/sys/kernel/random/boot_id").stdout != boot
    assert b"Booting `Debian GNU/Linux'" in (board.folder / "serial.log").read_bytes()[printed:]
    assert (functions(board), sorted(map(sorted, groups(board)))) == before
    assert len(board.resets()) > resets
    assert board.ssh("ls /root/mine; hostname").stdout.split() == ["/root/mine", board.name]
    board.ssh("rm /root/mine")


def test_a_host_without_iommu(virtual_hosts: VirtualHosts) -> None:
    found = virtual_hosts.none()
    assert groups(found) == []
    address = f"{GTX}.0"
    found.ssh(
        f"modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/{address}/driver_override; "
        f"echo {address} > /sys/bus/pci/drivers_probe",
        check=False,
    )
    assert driver(found, address) == ""
    assert "error -22" in found.ssh("dmesg | grep vfio").stdout


def test_amd_and_cards_at_the_addresses_asked_for(virtual_hosts: VirtualHosts) -> None:
    found = virtual_hosts.amd()
    assert found.slots == ("0000:84:00", "0000:88:00")
    seen = functions(found)
    for slot, gpu, audio in zip(found.slots, ("1b80", "11b4"), ("10f0", "0e0a"), strict=True):
        assert (seen[f"{slot}.0"], seen[f"{slot}.1"]) == (f"0300 10de:{gpu}", f"0403 10de:{audio}")
        assert {f"{slot}.0", f"{slot}.1"} in groups(found)
    assert "AMD-Vi" in found.ssh("dmesg").stdout
    assert "AuthenticAMD" in found.ssh("cat /proc/cpuinfo").stdout


def test_two_at_once_and_one_down(virtual_hosts: VirtualHosts) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(virtual_hosts.start, ["h100", "k40c"])
    rows = listed(one.state)
    for found, card in ((one, "0000:01:00.0 h100"), (two, "0000:01:00.0 k40c")):
        row = rows[found.name]
        assert tuple(row) == KEYS
        assert row["cards"] == [card]
        assert (row["iommu"], row["healthy"]) == ("intel", True)
        assert row["memory_mb"] > 100
        assert row["age_seconds"] >= 0
        assert found.ssh("hostname").stdout == f"{found.name}\n"
    assert rows[one.name]["ssh_port"] != rows[two.name]["ssh_port"]
    others = {row["pid"] for name, row in rows.items() if name != one.name}
    done = gpufarm(one.state, "lab", "host", "down", one.name)
    assert done.returncode == 0, done.stderr
    assert belongs_to(one.folder) == []
    assert not one.folder.exists()
    assert {row["pid"] for row in listed(one.state).values()} == others
    assert two.ssh("lspci -n -s 01:00.0").stdout.split()[2] == "10de:1024"
    virtual_hosts.down(two)


def test_the_clock_is_right(board: VirtualHost) -> None:
    assert abs(int(board.ssh("date +%s").stdout) - time.time()) < 60


def test_up_again(board: VirtualHost) -> None:
    before = listed(board.state)[board.name]["pid"]
    words = [word for card in BOARD for word in ("--card", card)]
    done = gpufarm(board.state, "lab", "host", "up", board.name, *words, "-f", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pid"] == before
    other = gpufarm(board.state, "lab", "host", "up", board.name, "--card", "h100")
    assert other.returncode == 1
    assert f"gpufarm lab host down {board.name}" in other.stderr


@pytest.mark.parametrize(
    ("words", "status", "output"),
    [
        (["exit 7"], 7, ""),
        (["--", "lspci", "-n", "-s", "01:00.0"], 0, "01:00.0 0300: 10de:1b80 (rev a1)\n"),
        (["false"], 1, ""),
        (["echo", "a", "|", "tr", "a", "b"], 0, "b\n"),
    ],
)
def test_ssh(board: VirtualHost, words: list[str], status: int, output: str) -> None:
    done = gpufarm(board.state, "lab", "host", "ssh", board.name, *words)
    assert (done.returncode, done.stdout) == (status, output), done.stderr


def test_keys_are_private_and_the_hosts_own_is_pinned(board: VirtualHost, tmp_path: Path) -> None:
    folder = board.state / store.FOLDER
    assert stat.S_IMODE((folder / "id_ed25519").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config = board.ssh_config.read_text()
    assert "StrictHostKeyChecking yes" in config
    known = (board.folder / "known_hosts").read_text()
    kind, key = known.split()[1:]
    wrong = tmp_path / "known_hosts"
    wrong.write_text(f"virtual-host {kind} {key[:-4]}{key[-4:][::-1].swapcase()}\n")
    options = ["-o", f"UserKnownHostsFile={wrong}", "-o", "ControlPath=none"]
    done = subprocess.run(
        ["ssh", "-F", str(board.ssh_config), *options, board.dest, "id"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 255
    assert "uid=0" not in done.stdout
    assert board.ssh("ls -A /root/.ssh 2>/dev/null", check=False).stdout == ""


def test_it_listens_on_this_machine_only(board: VirtualHost) -> None:
    run = store.running(board.folder)
    assert run is not None
    listening = [
        connection.laddr.ip
        for each in (run.keeper, run.qemu)
        for connection in psutil.Process(each.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_a_host_whose_qemu_was_killed(virtual_host: Starter) -> None:
    found = virtual_host("k40c")
    run = store.running(found.folder)
    assert run is not None
    os.kill(run.qemu.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes.alive(run.keeper):
        assert time.monotonic() < deadline, "the keeper outlived QEMU"
        time.sleep(0.05)
    row = listed(found.state)[found.name]
    assert (row["healthy"], row["pid"], row["age_seconds"]) == (False, None, None)
    done = gpufarm(found.state, "lab", "host", "ssh", found.name, "true")
    assert done.returncode == 1
    assert "there is no virtual host" in done.stderr
    host.up(found.state, found.machine, lambda _: None)
    assert listed(found.state)[found.name]["healthy"]
    # The keeper's death ends QEMU too.
    run = store.running(found.folder)
    assert run is not None
    os.kill(run.keeper.pid, signal.SIGKILL)
    while processes.alive(run.qemu):
        assert time.monotonic() < deadline + 60, "QEMU outlived its keeper"
        time.sleep(0.05)


def test_a_start_that_is_killed_leaves_nothing_running(
    virtual_hosts: VirtualHosts, board: VirtualHost
) -> None:
    folder = virtual_hosts.state / store.FOLDER / "killed"
    words = [sys.executable, "-m", "gpufarm", "lab", "host", "up", "killed", "--card", "h100"]
    state = ["--state", str(virtual_hosts.state)]
    with subprocess.Popen([*words, *state], stderr=subprocess.DEVNULL) as starting:
        deadline = time.monotonic() + 60
        while not (folder / "run.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        starting.kill()
    while belongs_to(folder):
        assert time.monotonic() < deadline, "something outlived the command"
        time.sleep(0.1)
    assert "killed" in (virtual_hosts.state / store.FOLDER).joinpath("killed").name
    assert gpufarm(virtual_hosts.state, *words[3:]).returncode == 0
    assert gpufarm(virtual_hosts.state, "lab", "host", "down", "killed").returncode == 0


def test_a_builder_that_is_killed_leaves_no_half_cache(tmp_path: Path) -> None:
    """At any moment: here while packages are unpacked, by processes of mmdebstrap's own."""
    cache = tmp_path / "gpufarm" / "virtual-hosts"
    words = [sys.executable, "-m", "gpufarm", "lab", "host", "up", "x", "--state", str(tmp_path)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as building:
        deadline = time.monotonic() + 120
        while not list(cache.glob("building-*/qemu.tar")):
            assert building.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        building.kill()
    while belongs_to(cache):
        assert time.monotonic() < deadline, "something outlived the builder"
        time.sleep(0.1)
    assert not list(cache.glob("qemu-*"))
    assert not list(cache.glob("image-*"))


def test_a_mirror_that_has_nothing(tmp_path: Path) -> None:
    nowhere = {
        "XDG_CACHE_HOME": str(tmp_path),
        "GPUFARM_DEBIAN_MIRROR": "http://127.0.0.1:1/debian",
    }
    done = gpufarm(tmp_path / "state", "lab", "host", "up", "x", **nowhere)
    assert done.returncode == 1
    assert "no packages from the Debian mirror http://127.0.0.1:1/debian" in done.stderr
    assert "GPUFARM_DEBIAN_MIRROR=URL" in done.stderr
    assert "Connection refused" in done.stderr


def test_lab_reset_ends_virtual_hosts_too(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = gpufarm(state, "lab", "host", "up", "gone", "--card", "h100")
    assert done.returncode == 0, done.stderr
    assert gpufarm(state, "lab", "down").returncode == 0
    assert listed(state)["gone"]["healthy"]
    done = gpufarm(state, "lab", "reset")
    assert done.returncode == 0, done.stderr
    assert not state.exists()
    assert belongs_to(state) == []
