"""The embedded OpenStack: started, ended, broken and started again."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from running_lab import RunningLab

from gpufarm.lab import ports, state
from gpufarm.system import processes

KEYS = {"service", "host", "healthy", "address", "memory_mb", "age_seconds"}
HOST = {
    "version": 1,
    "name": "tiny",
    "vcpus": 4,
    "memory_mb": 8192,
    "disk_gb": 100,
    "pci_functions": [
        {
            "address": "0000:05:00.0",
            "vendor_id": "10de",
            "product_id": "1024",
            "class_id": "030200",
            "iommu_group": 3,
        }
    ],
}

pytestmark = pytest.mark.lab


def status(lab: RunningLab, check: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        lab.run("lab", "status", "-f", "json", check=check).stdout
    )
    return found


def pids(lab: RunningLab) -> dict[str, int]:
    """{process: pid} of every process of the lab, its supervisor too."""
    found = {}
    for path in (lab.state / "run").glob("*.json"):
        data = json.loads(path.read_text())
        if "process" in data or "pid" in data:
            found[path.stem] = data.get("process", data)["pid"]
    return found


def host_file(folder: Path, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{changed.get('name', HOST['name'])}.yaml"
    path.write_text(yaml.safe_dump({**HOST, **changed}))
    return path


def nothing_runs(folder: Path) -> bool:
    return not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in (process.info["cmdline"] or [])
    ]


def test_every_service_is_healthy_and_says_where_it_is(lab: RunningLab) -> None:
    rows = status(lab)
    assert all(set(row) == KEYS for row in rows)
    assert all(row["healthy"] for row in rows)
    names = {row["service"] for row in rows}
    assert names == {
        *("supervisor", "keystone", "placement", "glance", "neutron"),
        *("nova-api", "nova-conductor", "nova-scheduler", "nova-compute"),
    }
    hosts = {row["host"] for row in rows if row["service"] == "nova-compute"}
    assert hosts == {path.stem for path in (lab.state / "hosts").glob("*.json")}
    for row in rows:
        assert row["memory_mb"] > 0
        assert row["age_seconds"] >= 0
        if row["service"] in state.APIS:
            assert re.match(r"http://127\.0\.0\.1:\d+", row["address"])


def test_up_again_changes_nothing(lab: RunningLab) -> None:
    before = pids(lab)
    lab.run("lab", "up")
    assert pids(lab) == before


def test_it_listens_on_this_machine_only(lab: RunningLab) -> None:
    listening = [
        connection.laddr.ip
        for pid in pids(lab).values()
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= len(state.APIS)
    assert set(listening) == {"127.0.0.1"}


def test_files_with_secrets_are_for_the_owner_only(lab: RunningLab) -> None:
    data = json.loads((lab.state / "secrets.json").read_text())
    passwords = [data["admin"], data["broker"], *data["services"].values()]
    for path in lab.state.rglob("*"):
        if path.suffix in {".sqlite", ".sqlite-wal", ".sqlite-shm"}:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        elif path.is_file():
            content = path.read_bytes().decode(errors="replace")
            if any(password in content for password in passwords):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
                assert path.parent.name != "log", f"a password in {path}"
    assert stat.S_IMODE(lab.state.stat().st_mode) == 0o700


def test_no_password_is_in_a_process_list(lab: RunningLab) -> None:
    data = json.loads((lab.state / "secrets.json").read_text())
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        assert data["admin"] not in line
        assert data["broker"] not in line


def test_env_is_what_openstack_needs(lab: RunningLab) -> None:
    exports = lab.run("lab", "env").stdout
    script = f"{exports}\n{sys.executable} -m openstackclient.shell token issue -f value -c id"
    environment = {name: value for name, value in os.environ.items() if name[:3] != "OS_"}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 20


def test_a_service_that_died_is_seen_and_started_again(lab: RunningLab) -> None:
    before = pids(lab)
    os.kill(before["glance"], signal.SIGKILL)
    done = lab.run("lab", "status", "-f", "json", check=False)
    assert done.returncode == 2
    assert [row["service"] for row in json.loads(done.stdout) if not row["healthy"]] == ["glance"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", state.load(lab.state).ports["glance"]))
    lab.run("lab", "up")
    assert all(row["healthy"] for row in status(lab))
    after = pids(lab)
    assert {name for name in after if after[name] != before[name]} == {"glance"}
    assert list(lab.connection.image.images()) is not None


def test_a_fault_reaches_the_driver(lab: RunningLab) -> None:
    host = status(lab)[-1]["host"]
    lab.run("lab", "fault", host, "spawn", "--fail", "no space left", "--times", "1")
    listed = json.loads(lab.run("lab", "fault", host, "-f", "json").stdout)
    assert listed == [
        {"host": host, "step": "spawn", "delay": 0.0, "error": "no space left", "times": 1}
    ]
    lab.run("lab", "fault", host, "spawn", "--clear")
    assert json.loads(lab.run("lab", "fault", host, "-f", "json").stdout) == []
    wrong = lab.run("lab", "fault", "nobody", "spawn", "--clear", check=False)
    assert wrong.returncode == 1
    assert "nobody" in wrong.stderr


def test_a_second_lab_runs_beside_it(lab: RunningLab, own_lab: RunningLab, tmp_path: Path) -> None:
    own_lab.state = tmp_path / "zweites Labor, größer"
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    ours, theirs = status(lab), status(own_lab)
    addresses = [row["address"] for row in ours + theirs if row["address"]]
    assert len(set(addresses)) == len(addresses)
    own_lab.run("lab", "down")
    assert nothing_runs(own_lab.state)
    assert all(row["healthy"] for row in status(lab))


def test_servers_and_claims_survive_down_and_up(own_lab: RunningLab, tmp_path: Path) -> None:
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    farm = tmp_path / "farm.yaml"
    farm.write_text(
        "version: 1\nname: tiny\nrelease: 34\n"
        'cards:\n  k40c: {vendor_id: "10de", product_id: "1024"}\n'
        "flavors:\n  gpu: {vcpus: 1, memory_mb: 512, disk_gb: 1, cards: {k40c: 1}}\n"
        f"images:\n  blank: {{file: {_blank(tmp_path)}}}\n"
    )
    own_lab.run("farm", "apply", str(farm))
    create = ("server", "create", "one", "--flavor", "gpu", "--image", "blank", "--network", "lab")
    made = json.loads(own_lab.run(*create, "-f", "json").stdout)
    capacity = own_lab.run("capacity", "-f", "json").stdout
    taken = json.loads((own_lab.state / "lab.json").read_text())["ports"]["placement"]
    own_lab.run("lab", "down")
    assert nothing_runs(own_lab.state)
    # Somebody else has taken a port meanwhile, and the machine may have crashed.
    with socket.create_server((ports.LOOPBACK, taken)):
        own_lab.run("lab", "up")
        assert json.loads((own_lab.state / "lab.json").read_text())["ports"]["placement"] != taken
        again = json.loads(own_lab.run(*create, "--or-show", "-f", "json").stdout)
        assert (again["id"], again["status"], again["cards"]) == (
            made["id"],
            "ACTIVE",
            made["cards"],
        )
        assert own_lab.run("capacity", "-f", "json").stdout == capacity
        assert own_lab.run("farm", "plan", str(farm), "-f", "json").stdout.strip() == "[]"


def _blank(folder: Path) -> Path:
    path = folder / "blank.img"
    path.write_bytes(bytes(512))
    return path


def test_a_step_fails_as_often_as_it_was_told(own_lab: RunningLab, tmp_path: Path) -> None:
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    farm = tmp_path / "farm.yaml"
    farm.write_text(
        "version: 1\nname: tiny\nrelease: 34\n"
        "flavors:\n  plain: {vcpus: 1, memory_mb: 512, disk_gb: 1}\n"
        f"images:\n  blank: {{file: {_blank(tmp_path)}}}\n"
    )
    own_lab.run("farm", "apply", str(farm))
    own_lab.run("lab", "fault", "tiny", "spawn", "--fail", "the disk is on fire", "--times", "1")
    create = ("--flavor", "plain", "--image", "blank", "--network", "lab")
    done = own_lab.run("server", "create", "one", *create, check=False)
    assert done.returncode == 1
    assert "the disk is on fire" in (own_lab.state / "log" / "nova.log").read_text()
    own_lab.run("lab", "fault", "tiny", "spawn", "--delay", "1.5", "--times", "1")
    started = time.monotonic()
    own_lab.run("server", "create", "two", *create)
    assert time.monotonic() - started > 1.5
    assert json.loads(own_lab.run("lab", "fault", "tiny", "-f", "json").stdout) == []


def test_a_guest_outside_of_nova_holds_a_card(own_lab: RunningLab, tmp_path: Path) -> None:
    """Refused with libvirt's own words, which only nova-compute's log tells."""
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    farm = tmp_path / "farm.yaml"
    farm.write_text(
        "version: 1\nname: tiny\nrelease: 34\n"
        'cards:\n  k40c: {vendor_id: "10de", product_id: "1024"}\n'
        "flavors:\n  gpu: {vcpus: 1, memory_mb: 512, disk_gb: 1, cards: {k40c: 1}}\n"
        f"images:\n  blank: {{file: {_blank(tmp_path)}}}\n"
    )
    own_lab.run("lab", "down")
    stranger = {"name": "windows-by-hand", "power_state": 1, "devices": ["0000:05:00.0"]}
    (own_lab.state / "guests" / "tiny.json").write_text(json.dumps({"stranger": stranger}))
    own_lab.run("lab", "up")
    own_lab.run("farm", "apply", str(farm))
    done = own_lab.run(
        *("server", "create", "one", "--flavor", "gpu", "--image", "blank", "--network", "lab"),
        check=False,
    )
    assert done.returncode == 1
    log = (own_lab.state / "log" / "nova.log").read_text()
    assert (
        "Requested operation is not valid: PCI device 0000:05:00.0 is in use by driver QEMU, "
        "domain windows-by-hand"
    ) in log


def test_a_start_that_is_killed_is_resumed(own_lab: RunningLab, tmp_path: Path) -> None:
    arguments = ["lab", "up", "--hosts", str(host_file(tmp_path / "hosts"))]
    for delay in (0.3, 1.2, 2.5):
        with subprocess.Popen(
            [sys.executable, "-m", "gpufarm", *arguments],
            env=own_lab.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as starting:
            time.sleep(delay)
            starting.kill()
    own_lab.run(*arguments)
    assert all(row["healthy"] for row in status(own_lab))


def test_a_service_that_dies_during_up_ends_it(own_lab: RunningLab, tmp_path: Path) -> None:
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    own_lab.run("lab", "down")
    wrong = own_lab.state / "etc" / "nova" / "farm" / "controller.conf"
    wrong.write_text("[pci]\nalias = no json\n")
    done = own_lab.run("lab", "up", check=False)
    assert done.returncode == 1
    assert "nova died while the lab was starting" in done.stderr
    assert "PciInvalidAlias" in done.stderr
    assert 'Traceback (most recent call last):\n  File "/work' not in done.stderr
    assert nothing_runs(own_lab.state)
    wrong.unlink()
    own_lab.run("lab", "up")
    assert all(row["healthy"] for row in status(own_lab))


def test_down_of_a_lab_whose_supervisor_was_killed(own_lab: RunningLab, tmp_path: Path) -> None:
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    before = pids(own_lab)
    os.kill(before["supervisor"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(processes.identify(pid) for pid in before.values()):
        assert time.monotonic() < deadline, "a service outlived its supervisor"
        time.sleep(0.05)
    done = own_lab.run("lab", "status", "-f", "json", check=False)
    assert done.returncode == 2
    assert not any(row["healthy"] for row in json.loads(done.stdout))
    own_lab.run("lab", "up")
    assert all(row["healthy"] for row in status(own_lab))


def test_a_changed_host_file_is_taken_over(own_lab: RunningLab, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    own_lab.run("lab", "up", "--hosts", str(host_file(hosts)))
    host_file(hosts, vcpus=8)
    host_file(hosts, name="other")
    own_lab.run("lab", "up", "--hosts", str(hosts))
    computes = {row["host"] for row in status(own_lab) if row["service"] == "nova-compute"}
    assert computes == {"tiny", "other"}
    found = {h.name: h for h in own_lab.connection.compute.hypervisors(details=True)}
    assert set(found) == {"tiny", "other"}
    providers = own_lab.connection.placement.get("/resource_providers").json()
    tiny = next(p for p in providers["resource_providers"] if p["name"] == "tiny")
    inventory = own_lab.connection.placement.get(
        f"/resource_providers/{tiny['uuid']}/inventories"
    ).json()["inventories"]
    assert inventory["VCPU"]["total"] == 8


def test_an_impossible_host_is_refused_before_anything_starts(
    own_lab: RunningLab, tmp_path: Path
) -> None:
    function = {**HOST["pci_functions"][0], "address": "0000:05:00.1"}  # type: ignore[index]
    path = host_file(tmp_path / "hosts", pci_functions=[function])
    done = own_lab.run("lab", "up", "--hosts", str(path), check=False)
    assert done.returncode == 1
    assert "function 0000:05:00.1 without function 0" in done.stderr
    assert not own_lab.state.exists()


def test_a_folder_that_cannot_be_made(own_lab: RunningLab, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = own_lab.run("lab", "up", "--state", str(blocked / "lab"), check=False)
    assert done.returncode == 1
    assert "cannot be made: Not a directory" in done.stderr


@pytest.mark.parametrize("name", ["50%", "$HOME", "what?", "a#b", "a;b", 'a"b', "a\nb"])
def test_a_folder_whose_name_a_service_would_misread(
    own_lab: RunningLab, tmp_path: Path, name: str
) -> None:
    done = own_lab.run("lab", "up", "--state", str(tmp_path / name), check=False)
    assert done.returncode == 1
    assert "a lab cannot lie in a path with" in done.stderr
    assert not (tmp_path / name).exists()


def test_reset_of_a_folder_that_is_no_lab(own_lab: RunningLab, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    own_lab.run("lab", "down", "--state", str(precious))
    done = own_lab.run("lab", "reset", "--state", str(precious), check=False)
    assert done.returncode == 1
    done = own_lab.run("lab", "up", "--state", str(precious), check=False)
    assert done.returncode == 1
    assert "holds files that are no lab's" in done.stderr
    assert [path.name for path in precious.iterdir()] == ["thesis.tex"]


def test_reset_leaves_what_is_not_the_labs(own_lab: RunningLab) -> None:
    own_lab.state.mkdir()
    (own_lab.state / "lock").touch()
    (own_lab.state / "secrets.json").write_text("{}")
    (own_lab.state / "thesis.tex").write_text("years of work")
    own_lab.run("lab", "reset")
    assert [path.name for path in own_lab.state.iterdir()] == ["thesis.tex"]
    (own_lab.state / "thesis.tex").unlink()


def test_an_empty_state_is_wrong_usage(own_lab: RunningLab) -> None:
    for command in ("up", "status", "down", "reset"):
        assert own_lab.run("lab", command, "--state", "", check=False).returncode == 64


def test_hosts_with_which_a_lab_does_not_start_are_not_kept(
    own_lab: RunningLab, tmp_path: Path
) -> None:
    own_lab.run("lab", "up", "--hosts", str(host_file(tmp_path / "hosts")))
    for name in ("nova", "controller"):
        path = host_file(tmp_path / "wrong", name=name)
        done = own_lab.run("lab", "up", "--hosts", str(path), check=False)
        assert done.returncode == 1
        assert f"cannot be named {name}" in done.stderr
    assert all(row["healthy"] for row in status(own_lab))
    assert json.loads((own_lab.state / "lab.json").read_text())["hosts"] == ["tiny"]


@pytest.mark.split
def test_split_mode_survives_the_death_of_one_nova_compute(
    own_lab: RunningLab, tmp_path: Path
) -> None:
    own_lab.run("lab", "up", "--mode", "split", "--hosts", str(host_file(tmp_path, count=2)))
    before = pids(own_lab)
    os.kill(before["nova-compute@tiny-2"], signal.SIGKILL)
    rows = status(own_lab, check=False)
    unhealthy = [(row["service"], row["host"]) for row in rows if not row["healthy"]]
    assert unhealthy == [("nova-compute", "tiny-2")]
    own_lab.run("lab", "up")
    after = pids(own_lab)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"nova-compute@tiny-2"}
    refused = own_lab.run("lab", "up", "--mode", "single", check=False)
    assert refused.returncode == 1
    assert "runs in mode split" in refused.stderr
    own_lab.run("lab", "down")
    assert not any(processes.identify(pid) for pid in after.values())
    own_lab.run("lab", "up", "--mode", "single")
    assert all(row["healthy"] for row in status(own_lab))
