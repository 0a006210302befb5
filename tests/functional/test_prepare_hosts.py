"""Hosts prepared on a real kernel: every command, the reboot in between, and every way back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_hosts import VirtualHost, VirtualHosts

from gpufarm.host.apply import prepare, roll_back
from gpufarm.host.plan import plan
from gpufarm.host.target import There
from gpufarm.model.errors import HostHeld, HostInterrupted
from gpufarm.model.host_spec import HostSpec
from gpufarm.model.host_spec import read as read_spec
from gpufarm.system import agent, journal

pytestmark = pytest.mark.virthost

CARDS = ("gtx1080", "gtx1080", "h100", "k4200,group=shared")
GIVEN, STAYS, H100 = "0000:01:00", "0000:02:00", "0000:03:00"

LONGEST = 1800
"""Seconds. An initramfs and two reboots take one minute and a half on a machine that is idle."""

STATE = r"""
cd /
find etc boot usr/lib/dracut var/lib/gpufarm -printf '%p %y %m %U:%G %l\n' 2>/dev/null | sort
find etc boot -type f -exec sha256sum {} + | sort -k 2
"""
"""Every name, its rights and its bytes, where a prepared host differs from one that is not."""

DRIVERS = r"""
for each in /sys/bus/pci/devices/*; do
  driver=$(readlink "$each/driver")
  echo "${each##*/} ${driver##*/} $(cat "$each/driver_override")"
done
"""

QUICK = r"""
cat >/usr/local/sbin/update-initramfs <<'END'
#!/bin/sh
for image in /boot/initrd.img-*; do
  cat "$image" /etc/gpufarm/functions >"$image.new" 2>/dev/null
  mv "$image.new" "$image"
done
END
chmod 755 /usr/local/sbin/update-initramfs
"""
"""Makes another image as quickly as that; the real one takes half a minute."""


def spec_file(folder: Path, **content: Any) -> Path:
    path = folder / "cards.yaml"
    path.write_text(json.dumps({"version": 1, **content}))
    return path


def one_of_two(folder: Path, **more: Any) -> Path:
    """One of two equal cards by its address, and the other model by its ids."""
    cards = [{"address": f"{GIVEN}.0"}, {"vendor_id": "10de", "product_id": "2330"}]
    return spec_file(folder, cards=cards, **more)


def drivers(host: VirtualHost) -> dict[str, str]:
    """{address: `driver override`} of every function."""
    lines = host.ssh(DRIVERS).stdout.splitlines()
    return {address: rest for address, _, rest in (line.partition(" ") for line in lines)}


def rows(host: VirtualHost, *words: str) -> list[dict[str, Any]]:
    done = host.gpufarm(*words, "-f", "json", timeout=LONGEST)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def full(virtual_hosts: VirtualHosts) -> VirtualHost:
    """Two equal cards, one with function-level reset, and one that shares its group."""
    return virtual_hosts.reuse(*CARDS)


@pytest.fixture
def quick(full: VirtualHost) -> Iterator[VirtualHost]:
    """The same, and an initramfs is made in no time: for tests without a reboot."""
    full.ssh(QUICK)
    yield full
    full.ssh("rm /usr/local/sbin/update-initramfs")


def test_the_whole_cycle_over_two_reboots(full: VirtualHost, tmp_path: Path) -> None:
    spec = one_of_two(tmp_path, iommu_passthrough=True)
    words = ("--spec", str(spec))
    before, had = full.ssh(STATE).stdout, drivers(full)

    planned = rows(full, "host", "plan", *words)
    assert {step["kind"] for step in planned} == {"file", "command", "sysfs", "reboot"}
    assert full.ssh(STATE).stdout == before

    done = rows(full, "host", "apply", *words, "--reboot")
    assert [step["name"] for step in done] == [step["name"] for step in planned[:-1]]
    has = drivers(full)
    for address in (f"{GIVEN}.0", f"{GIVEN}.1", f"{H100}.0"):
        assert has[address] == "vfio-pci vfio-pci"
    assert has[f"{STAYS}.1"] == "snd_hda_intel (null)"
    assert "iommu=pt" in full.ssh("cat /proc/cmdline").stdout.split()
    log = full.ssh("dmesg").stdout
    assert f"snd_hda_intel {GIVEN}.1" not in log
    assert f"nouveau {GIVEN}.0" not in log

    assert rows(full, "host", "verify", *words) == []
    assert rows(full, "host", "plan", *words) == []
    assert rows(full, "host", "apply", *words) == []

    rows(full, "host", "rollback", *words, "--reboot")
    assert full.ssh(STATE).stdout == before
    assert drivers(full) == had
    assert full.gpufarm("host", "verify", *words, check=False).returncode == 2


def test_bound_and_given_back_without_a_reboot(quick: VirtualHost, tmp_path: Path) -> None:
    words = ("--spec", str(one_of_two(tmp_path)))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    rows(quick, "host", "apply", *words)
    assert drivers(quick)[f"{GIVEN}.1"] == "vfio-pci vfio-pci"
    assert quick.ssh(f"ls /dev/vfio/$(basename $(readlink {sysfs(GIVEN)}.0/iommu_group))").stdout
    assert rows(quick, "host", "verify", *words) == []
    nothing = ("--spec", str(spec_file(tmp_path, cards=[])))
    rows(quick, "host", "apply", *nothing)
    assert drivers(quick) == had
    rows(quick, "host", "rollback")
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def sysfs(slot: str) -> str:
    return f"/sys/bus/pci/devices/{slot}"


def test_the_audio_function_is_removed_and_comes_back(quick: VirtualHost, tmp_path: Path) -> None:
    cards = [{"address": f"{GIVEN}.0", "functions": "remove"}]
    words = ("--spec", str(spec_file(tmp_path, cards=cards)))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    rows(quick, "host", "apply", *words)
    assert f"{GIVEN}.1" not in drivers(quick)
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
    killed = killed_in_turn(quick, "carried out *", spec)
    assert killed == len(steps)
    assert not plan(whole.facts(), spec).feasible
    found = journal.parse(quick.name, whole.ask("show"))
    assert [len([s for s in entry.steps if s.state == "done"]) for entry in found.entries] == [
        0
    ] * len(steps)
    assert drivers(quick)[f"{GIVEN}.1"] == "vfio-pci vfio-pci"

    undone = 0
    rollback = target(quick, "forgotten *")
    while True:
        try:
            roll_back(rollback)
        except HostInterrupted:
            undone += 1
        else:
            break
    assert undone == len(steps)
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def target(host: VirtualHost, stop: str | None = None) -> There:
    """`host`; with `stop` its agent ends by SIGKILL at the first moment of that pattern."""
    script = agent.text()
    if stop:
        head, _, _ = script.rpartition("main\n")
        pattern = stop.replace(" ", "\\ ")
        killer = f"moment() {{ case $1 in {pattern}) kill -9 $$ ;; esac; }}"
        script = f"{head}{killer}\nmain\n"
    runner = agent.there(host.dest, host.ssh_config, script)
    return There(host.dest, host.ssh_config, runner=runner)


def killed_in_turn(host: VirtualHost, stop: str, spec: HostSpec) -> int:
    """How often an apply had to be begun again until it had nothing more to do."""
    stopped, killed = target(host, stop), 0
    while True:
        try:
            prepare(stopped, spec)
        except HostInterrupted:
            killed += 1
        else:
            return killed


def test_a_card_that_a_process_uses_is_not_taken(quick: VirtualHost, tmp_path: Path) -> None:
    spec = read_spec(one_of_two(tmp_path))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    hold = "nohup sh -c 'exec 5<{0}; sleep 600' >/dev/null 2>&1 </dev/null & echo $!"
    audio = quick.ssh(f"ls -d {sysfs(GIVEN)}.1/sound/card*/controlC*").stdout.strip()
    pid = quick.ssh(hold.format(f"/dev/snd/{audio.rpartition('/')[2]}")).stdout.strip()
    with pytest.raises(HostHeld, match=f"{GIVEN}.1 is used by process {pid} sh"):
        prepare(target(quick), spec)
    quick.ssh(f"pkill -P {pid}; kill {pid}; true")
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had

    prepare(target(quick), spec)
    group = quick.ssh(f"basename $(readlink {sysfs(GIVEN)}.0/iommu_group)").stdout.strip()
    pid = quick.ssh(hold.format(f"/dev/vfio/{group}")).stdout.strip()
    with pytest.raises(HostHeld, match=f"is used by process {pid} sh"):
        roll_back(target(quick))
    assert drivers(quick)[f"{GIVEN}.0"] == "vfio-pci vfio-pci"
    quick.ssh(f"pkill -P {pid}; kill {pid}; true")
    roll_back(target(quick))
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def test_a_card_that_shares_its_group_is_refused_with_the_others_named(
    full: VirtualHost, tmp_path: Path
) -> None:
    spec = spec_file(tmp_path, cards=[{"model": "Quadro K4200"}])
    before = full.ssh(STATE).stdout
    done = full.gpufarm("host", "apply", "--spec", str(spec), check=False)
    assert done.returncode == 1
    assert "GROUP_NOT_VIABLE" in done.stderr
    assert "(nvme)" in done.stderr
    assert full.ssh(STATE).stdout == before


def test_one_broken_host_hides_and_stops_no_other(quick: VirtualHost, tmp_path: Path) -> None:
    spec = one_of_two(tmp_path)
    inventory = tmp_path / "hosts"
    inventory.write_text(f"broken-host.invalid\n{quick.dest}\n")
    words = ("--spec", str(spec), "--inventory", str(inventory))
    done = quick.gpufarm("host", "apply", *words, "-f", "json", check=False)
    assert done.returncode == 1
    assert "error: broken-host.invalid: ssh:" in done.stderr
    assert {row["host"] for row in json.loads(done.stdout)} == {quick.dest}
    assert drivers(quick)[f"{H100}.0"] == "vfio-pci vfio-pci"
    rows(quick, "host", "rollback")


def test_without_an_iommu_it_says_what_to_turn_on(
    virtual_hosts: VirtualHosts, tmp_path: Path
) -> None:
    host = virtual_hosts.reuse("gtx1080", iommu="none")
    spec = spec_file(tmp_path, cards=[{"address": f"{GIVEN}.0"}])
    done = host.gpufarm("host", "plan", "--spec", str(spec), check=False)
    assert done.returncode == 1
    assert "the firmware describes no IOMMU" in done.stderr
    assert "turn on VT-d" in done.stderr


def test_on_amd(virtual_hosts: VirtualHosts, tmp_path: Path) -> None:
    host = virtual_hosts.reuse("gtx1080", iommu="amd")
    words = ("--spec", str(spec_file(tmp_path, cards=[{"address": f"{GIVEN}.0"}])))
    host.ssh(QUICK)
    before, had = host.ssh(STATE).stdout, drivers(host)
    done = rows(host, "host", "apply", *words)
    assert not any(step["needs_reboot"] for step in done)
    assert rows(host, "host", "verify", *words) == []
    rows(host, "host", "rollback")
    assert host.ssh(STATE).stdout == before
    assert drivers(host) == had
    host.ssh("rm /usr/local/sbin/update-initramfs")
