"""`gpufarm explain` on the lab: a flavor, a server in ERROR, and who may ask."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from gpu_farm import Create, create_words, delete_servers
from running_lab import RunningLab

pytestmark = pytest.mark.lab


def explain(lab: RunningLab, *words: str, status: int = 0) -> dict[str, Any]:
    done = lab.run("explain", *words, "-f", "json", check=False)
    assert done.returncode == status, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def of_host(shown: dict[str, Any], host: str) -> list[tuple[str, str]]:
    return [(each["code"], each["source"]) for each in shown["reasons"] if each["host"] == host]


def test_until_the_card_is_gone(farm: RunningLab, create: Create) -> None:
    shown = explain(farm, "t.k40c")
    assert (shown["admitted"], shown["can_start"]) == (True, 1)
    assert of_host(shown, "k40c-01") == []
    assert of_host(shown, "plain-1") == [("NO_FREE_CARD", "placement")]
    made = create("t-1", "t.k40c")
    shown = explain(farm, "t.k40c", status=2)
    assert of_host(shown, "k40c-01") == [("NO_FREE_CARD", "placement")]
    (cure,) = shown["frees_when"]
    assert cure["of"] == [made["id"]]


def test_a_running_server_cannot_be_live_migrated(farm: RunningLab, create: Create) -> None:
    """OH-11: the reason is given, and Nova does refuse."""
    made = create("t-1", "t.1080")
    reason = explain(farm, "t-1")["reasons"][0]
    assert (reason["code"], reason["blocks"]) == ("LIVE_MIGRATION", False)
    assert "t1080" in reason["message"]
    compute = farm.connection.compute
    body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    compute.post(f"/servers/{made['id']}/action", json=body)
    path = f"/os-migrations?instance_uuid={made['id']}"
    for _ in range(100):
        # The conductor makes it once the API has answered.
        found = [each["status"] for each in compute.get(path).json()["migrations"]]
        if found == ["error"]:
            break
        time.sleep(0.3)
    assert found == ["error"]
    assert compute.get_server(made["id"])["compute_host"] == made["host"]


def test_a_server_in_error(farm: RunningLab, create: Create) -> None:
    create("t-1", "t.k40c")
    compute, image = farm.connection.compute, farm.connection.image.find_image("t.image")
    flavor = compute.find_flavor("t.k40c")
    lost = compute.create_server(
        name="t-2", flavor_id=flavor.id, image_id=image.id, networks="none"
    )
    compute.wait_for_server(lost, status="ERROR", failures=["ACTIVE"], interval=0.3, wait=60)
    shown = explain(farm, "t-2", status=2)
    first = shown["reasons"][0]
    assert (first["code"], first["host"], first["blocks"]) == ("FAULT", None, False)
    assert first["message"].startswith("Nova said: No valid host was found")
    assert of_host(shown, "k40c-01") == [("NO_FREE_CARD", "placement")]
    delete_servers(farm, "t-1")
    assert explain(farm, "t-2")["admitted"]


def test_a_card_that_a_guest_holds(farm: RunningLab, create: Create) -> None:
    """What a hypervisor says of a card that counts as free."""
    said = "PCI device 0000:86:00.0 is in use by driver QEMU, domain instance-00000007"
    farm.run("lab", "fault", "k40c-01", "spawn", "--fail", said)
    try:
        assert farm.run(*create_words("t-1", "t.k40c"), check=False).returncode == 1
    finally:
        farm.run("lab", "fault", "k40c-01", "spawn", "--clear")
    message = explain(farm, "t-1")["reasons"][0]["message"]
    assert message.startswith("Nova said: ")
    assert said in message or "each host that the scheduler chose" in message


def test_what_is_asked_for_beside_the_flavor(farm: RunningLab) -> None:
    shown = explain(farm, "t.1080", "--zone", "t-nowhere", status=2)
    assert shown["reasons"][0]["code"] == "ZONE"
    shown = explain(farm, "t.1080", "--count", "3", status=2)
    assert (shown["admitted"], shown["can_start"]) == (False, 2)
    project = farm.connection.current_project_id
    assert explain(farm, "t.1080", "--project", project, "--image", "t.image")["admitted"]


def test_filters_of_a_file(farm: RunningLab, tmp_path: Path) -> None:
    """A filter that gpufarm does not know is named; the verdict says what it rests on."""
    conf = tmp_path / "nova.conf"
    conf.write_text("[filter_scheduler]\nenabled_filters = ComputeFilter,\n  RackFilter\n")
    done = farm.run("explain", "t.1080", "--nova-conf", str(conf), "-f", "json")
    (doubt,) = [each for each in json.loads(done.stdout)["reasons"] if not each["blocks"]]
    assert (doubt["code"], doubt["source"]) == ("FILTER_UNKNOWN", "RackFilter")
    assert str(conf) in done.stderr


def test_the_table_fits(farm: RunningLab) -> None:
    done = farm.run("explain", "t.k40c-large", check=False)
    assert done.returncode == 2
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert " more" in done.stdout


def test_what_is_not_there(farm: RunningLab) -> None:
    done = farm.run("explain", "t.none", check=False)
    assert done.returncode == 1
    assert "no flavor or server 't.none'" in done.stderr
