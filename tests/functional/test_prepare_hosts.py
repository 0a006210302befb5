"""Hosts prepared on a real kernel: every command, the reboot in between, and every way back."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from preparing import (
    LONGEST,
    STATE,
    drivers,
    one_of_two,
    rows,
    spec_file,
    sysfs,
    target,
    unprepared,
)
from virtual_hosts import GTX, GTX_TOO, H100, Starter, VirtualHost, VirtualHosts

from gpufarm.host.apply import prepare, roll_back
from gpufarm.host.plan import plan
from gpufarm.model.errors import HostHeld, HostInterrupted
from gpufarm.model.host_spec import read as read_spec
from gpufarm.system import agent, journal

pytestmark = pytest.mark.virthost


@pytest.fixture
def board(virtual_hosts: VirtualHosts) -> VirtualHost:
    """Two equal cards, one with function-level reset, and one that shares its group."""
    return virtual_hosts.board()


def test_the_whole_cycle_over_two_reboots(board: VirtualHost, tmp_path: Path) -> None:
    spec = one_of_two(tmp_path, iommu_passthrough=True)
    words = ("--spec", str(spec))
    before, had = board.ssh(STATE).stdout, drivers(board)

    planned = rows(board, "host", "plan", *words)
    assert {step["kind"] for step in planned} == {"file", "command", "sysfs", "reboot"}
    assert board.ssh(STATE).stdout == before

    done = rows(board, "host", "apply", *words, "--reboot")
    assert [step["name"] for step in done] == [step["name"] for step in planned[:-1]]
    has = drivers(board)
    for address in (f"{GTX}.0", f"{GTX}.1", f"{H100}.0"):
        assert has[address] == "vfio-pci vfio-pci"
    assert has[f"{GTX_TOO}.1"] == "snd_hda_intel (null)"
    assert "iommu=pt" in board.ssh("cat /proc/cmdline").stdout.split()
    log = board.ssh("dmesg").stdout
    assert f"snd_hda_intel {GTX}.1" not in log
    assert f"nouveau {GTX}.0" not in log

    assert rows(board, "host", "verify", *words) == []
    assert rows(board, "host", "plan", *words) == []
    assert rows(board, "host", "apply", *words) == []

    rows(board, "host", "rollback", *words, "--reboot")
    assert board.ssh(STATE).stdout == before
    assert drivers(board) == had
    assert board.gpufarm("host", "verify", *words, check=False).returncode == 2


def test_bound_and_given_back_without_a_reboot(quick: VirtualHost, tmp_path: Path) -> None:
    words = ("--spec", str(one_of_two(tmp_path)))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    assert had[f"{GTX}.1"] == had[f"{GTX_TOO}.1"] == "snd_hda_intel (null)"
    resets = quick.ssh(f"cat {sysfs(GTX)}.0/reset_method {sysfs(H100)}.0/reset_method", check=False)
    assert resets.stdout.splitlines()[-1] == "flr bus"
    assert "flr" not in "".join(resets.stdout.splitlines()[:-1])
    rows(quick, "host", "apply", *words)
    assert drivers(quick)[f"{GTX}.0"] == drivers(quick)[f"{H100}.0"] == "vfio-pci vfio-pci"
    assert drivers(quick)[f"{GTX}.1"] == "vfio-pci vfio-pci"
    assert drivers(quick)[f"{GTX_TOO}.1"] == "snd_hda_intel (null)"
    assert quick.ssh(f"ls /dev/vfio/$(basename $(readlink {sysfs(GTX)}.0/iommu_group))").stdout
    assert rows(quick, "host", "verify", *words) == []
    nothing = ("--spec", str(spec_file(tmp_path, cards=[])))
    rows(quick, "host", "apply", *nothing)
    assert drivers(quick) == had
    rows(quick, "host", "rollback")
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def test_the_audio_function_is_removed_and_comes_back(quick: VirtualHost, tmp_path: Path) -> None:
    cards = [{"address": f"{GTX}.0", "functions": "remove"}]
    words = ("--spec", str(spec_file(tmp_path, cards=cards)))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    rows(quick, "host", "apply", *words)
    assert f"{GTX}.1" not in drivers(quick)
    assert rows(quick, "host", "verify", *words) == []
    rows(quick, "host", "rollback")
    assert drivers(quick) == had
    assert quick.ssh(STATE).stdout == before


def test_an_apply_killed_after_every_step_and_a_rollback_too(
    quick: VirtualHost, tmp_path: Path
) -> None:
    spec = read_spec(one_of_two(tmp_path, iommu_passthrough=True))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    whole = target(quick)
    steps = plan(whole.facts(), spec).feasible
    assert {type(step).__name__ for step in steps} == {"WriteFile", "RunCommand", "BindFunction"}
    for step in steps:
        with pytest.raises(HostInterrupted):
            prepare(target(quick, step), spec)
    assert not prepare(whole, spec).steps
    assert drivers(quick)[f"{GTX}.1"] == "vfio-pci vfio-pci"

    entries = journal.parse(quick.name, whole.ask("show")).entries
    assert len(entries) == len(steps)
    begun = sum(each.state != "waiting" for entry in entries for each in entry.steps)
    # What a command makes is made again as long as nothing says what it was made of.
    assert begun == len(steps) + 1
    script, _, _ = agent.text().rpartition("main\n")
    killed = f"{script}moment() {{ case $1 in forgotten*) kill -9 $$ ;; esac; }}\nmain\n"
    runner = agent.there(quick.dest, quick.ssh_config, killed)
    for _ in range(begun):
        with pytest.raises(HostInterrupted):
            agent.ask(runner, quick.name, "rollback")
    roll_back(whole)
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def test_a_card_that_a_process_uses_is_not_taken(quick: VirtualHost, tmp_path: Path) -> None:
    spec = read_spec(one_of_two(tmp_path))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    hold = "nohup sh -c 'exec 5<{0}; sleep 600' >/dev/null 2>&1 </dev/null & echo $!"
    audio = quick.ssh(f"ls -d {sysfs(GTX)}.1/sound/card*/controlC*").stdout.strip()
    pid = quick.ssh(hold.format(f"/dev/snd/{audio.rpartition('/')[2]}")).stdout.strip()
    with pytest.raises(HostHeld, match=f"{GTX}.1 is used by process {pid} sh"):
        prepare(target(quick), spec)
    quick.ssh(f"pkill -P {pid}; kill {pid}; true")
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had

    prepare(target(quick), spec)
    group = quick.ssh(f"basename $(readlink {sysfs(GTX)}.0/iommu_group)").stdout.strip()
    pid = quick.ssh(hold.format(f"/dev/vfio/{group}")).stdout.strip()
    with pytest.raises(HostHeld, match=f"is used by process {pid} sh"):
        roll_back(target(quick))
    assert drivers(quick)[f"{GTX}.0"] == "vfio-pci vfio-pci"
    quick.ssh(f"pkill -P {pid}; kill {pid}; true")
    roll_back(target(quick))
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def test_six_hosts_in_one_wave_one_of_them_broken(virtual_host: Starter, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        hosts = list(pool.map(virtual_host, ["gtx1080"] * 6))
    *others, broken = hosts
    # Where nothing is put into it, the unit that runs on the root binds.
    for host in hosts:
        host.ssh("ln -s /bin/true /usr/local/sbin/update-initramfs")
    broken.ssh("ln -sf /bin/false /usr/local/sbin/update-initramfs")
    spec = spec_file(tmp_path, cards=[{"address": f"{GTX}.0"}])
    inventory = tmp_path / "hosts"
    inventory.write_text("".join(f"{host.dest}\n" for host in hosts))
    words = ("--spec", str(spec), "--inventory", str(inventory), "-f", "json")

    done = on_all(broken, "apply", *words, "--reboot", "--wave", "6")
    assert done.returncode == 1
    assert f"error: {broken.name}: " in done.stderr
    assert "update-initramfs -u -k all ended with status 1" in done.stderr
    assert {row["host"] for row in json.loads(done.stdout)} == {host.name for host in others}
    for host in others:
        assert f"{host.name}: " in done.stderr
        assert drivers(host)[f"{GTX}.1"] == "vfio-pci vfio-pci"
    assert drivers(broken)[f"{GTX}.1"] == "snd_hda_intel (null)"

    broken.ssh("ln -sf /bin/true /usr/local/sbin/update-initramfs")
    again = on_all(broken, "apply", *words)
    assert {row["host"] for row in json.loads(again.stdout)} == {broken.name}
    assert json.loads(on_all(broken, "verify", *words).stdout) == []


def on_all(host: VirtualHost, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command on the hosts that its words name, by the configuration that has them all."""
    command = [sys.executable, "-m", "gpufarm", "host", *words]
    return subprocess.run(
        [*command, "--ssh-config", str(host.ssh_config)],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def test_without_an_iommu_it_says_what_to_turn_on(
    virtual_hosts: VirtualHosts, tmp_path: Path
) -> None:
    host = virtual_hosts.none()
    spec = spec_file(tmp_path, cards=[{"address": f"{GTX}.0"}])
    done = host.gpufarm("host", "plan", "--spec", str(spec), check=False)
    assert done.returncode == 1
    assert "the firmware describes no IOMMU" in done.stderr
    assert "turn on VT-d" in done.stderr


def test_on_amd(virtual_hosts: VirtualHosts, tmp_path: Path) -> None:
    with unprepared(virtual_hosts, virtual_hosts.amd()) as host:
        words = ("--spec", str(spec_file(tmp_path, cards=[{"model": "GeForce GTX 1080"}])))
        before, had = host.ssh(STATE).stdout, drivers(host)
        done = rows(host, "host", "apply", *words)
        assert not any(step["needs_reboot"] for step in done)
        assert drivers(host)[f"{host.slots[0]}.1"] == "vfio-pci vfio-pci"
        assert rows(host, "host", "verify", *words) == []
        rows(host, "host", "rollback")
        assert host.ssh(STATE).stdout == before
        assert drivers(host) == had
