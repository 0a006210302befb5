"""`gpufarm capacity` beside what Placement and Nova's own table say."""

import json
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gpu_farm import Create, can_start, capacity, row
from running_lab import RunningLab

from gpufarm.cloud import placement, placement_database

pytestmark = pytest.mark.lab

HOSTS = {"gtx1080-01": "10de:1b80", "k40c-01": "10de:1024", "hgx-01": "10de:2330"}
CLASSES = {"t1080": "CUSTOM_PCI_10DE_1B80", "tk40c": "CUSTOM_PCI_10DE_1024"}
CLASSES["th100"] = "CUSTOM_T_H100"


def pci_devices(lab: RunningLab) -> dict[str, Counter[str]]:
    """{host: how many of its cards are in which state} in Nova's own table."""
    query = (
        "SELECT n.host, p.vendor_id || ':' || p.product_id, p.status FROM pci_devices p "
        "JOIN compute_nodes n ON n.id = p.compute_node_id WHERE p.deleted = 0"
    )
    with closing(sqlite3.connect(lab.state / "db" / "nova_cell1.sqlite")) as database:
        rows = database.execute(query).fetchall()
    return {
        name: Counter(status for host, ids, status in rows if (host, ids) == (name, model))
        for name, model in HOSTS.items()
    }


def free_in_placement(lab: RunningLab, resource_class: str) -> Counter[str]:
    """{host: cards that Placement has candidates with}."""
    answer = lab.connection.placement.get(f"/allocation_candidates?resources={resource_class}:1")
    names = {
        provider["uuid"]: provider["name"]
        for provider in lab.connection.placement.get("/resource_providers").json()[
            "resource_providers"
        ]
    }
    devices = {
        uuid for request in answer.json()["allocation_requests"] for uuid in request["allocations"]
    }
    return Counter(names[device].rpartition("_")[0] for device in devices)


def agrees(lab: RunningLab, shown: dict[str, Any]) -> None:
    """The table, Placement's candidates and Nova's pci_devices say the same."""
    devices = pci_devices(lab)
    for line in shown["cards"]:
        counted = devices[line["host"]]
        assert line["total"] == counted.total(), line
        assert line["used"] == counted["allocated"] + counted["claimed"], line
        free = free_in_placement(lab, CLASSES[line["card"]])
        assert line["free"] == free[line["host"]], line
    assert {line["host"] for line in shown["cards"]} == set(HOSTS)


def test_agrees_with_placement_and_nova(farm: RunningLab, create: Create) -> None:
    empty = capacity(farm)
    agrees(farm, empty)
    assert row(empty, "hgx-01") == {
        "card": "th100",
        "host": "hgx-01",
        "total": 8,
        "used": 0,
        "free": 8,
        "cordoned": 0,
        "leaked": 0,
    }
    assert can_start(empty) == {
        "t.1080": (2, "gpu"),
        "t.1080-fast": (0, "traits"),
        "t.1080x2": (1, "gpu"),
        "t.h100-far": (2, "gpu"),
        "t.h100-near": (2, "gpu"),
        "t.h100-numa": (6, "memory"),
        "t.h100-wide": (4, "memory"),
        "t.h100x3": (2, "gpu"),
        "t.k40c": (1, "gpu"),
        "t.k40c-large": (0, "memory"),
    }
    create("t-1", "t.h100x3")
    create("t-2", "t.1080")
    shown = capacity(farm)
    agrees(farm, shown)
    assert row(shown, "hgx-01")["used"] == 3
    starts = can_start(shown)
    assert starts["t.h100x3"] == (1, "gpu")
    assert starts["t.1080"] == (1, "gpu")
    assert starts["t.1080x2"] == (0, "gpu")


def openstack(lab: RunningLab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("openstack"), *words],
        env=lab.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_shells_show_the_same(farm: RunningLab) -> None:
    theirs = openstack(farm, "gpu", "capacity", "-f", "json")
    assert theirs.returncode == 0, theirs.stderr
    assert json.loads(theirs.stdout) == capacity(farm)


def test_openstack_with_a_wrong_password_says_so_in_our_words(farm: RunningLab) -> None:
    done = openstack(farm, "--os-password", "wrong", "gpu", "capacity")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: connecting: ")
    assert "the credentials were not accepted (HTTP 401)" in done.stderr


def test_placements_database_says_the_same_as_its_api(
    farm: RunningLab, create: Create, tmp_path: Path
) -> None:
    create("t-1", "t.h100x3")
    api = placement.providers(farm.connection)
    url = f"sqlite:///{farm.state}/db/placement.sqlite?timeout=60"
    assert placement_database.providers(url) == api
    assert any(provider.allocations for provider in api)
    named = tmp_path / "placement.url"
    named.touch(0o600)
    named.write_text(url)
    done = farm.run("capacity", "--placement-database", str(named), "-f", "json")
    assert json.loads(done.stdout) == capacity(farm)
    named.chmod(0o644)
    refused = farm.run("capacity", "--placement-database", str(named), check=False)
    assert refused.returncode == 1
    assert f"chmod 600 {named}" in refused.stderr


def test_formats(farm: RunningLab) -> None:
    table = farm.run("capacity").stdout
    assert max(len(line) for line in table.splitlines()) <= 100
    assert "t.h100x3" in table
    csv = farm.run("capacity", "--only", "flavors", "-f", "csv", "-c", "flavor", "-c", "can_start")
    assert csv.stdout.splitlines()[:2] == ['"flavor","can_start"', '"t.1080",2']
    value = farm.run("capacity", "-f", "value", "-c", "host", "-c", "free")
    assert "hgx-01 8" in value.stdout.splitlines()
    assert value.stderr == ""


def test_watch(farm: RunningLab) -> None:
    """Shown again and again, until Ctrl-C."""
    words = [sys.executable, "-m", "gpufarm", "capacity", "--watch", "0.2", "--only", "flavors"]
    with subprocess.Popen(
        [*words, "-f", "value", "-c", "flavor", "-c", "can_start"],
        env=farm.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        lines = iter(running.stdout)
        seen = Counter[str]()
        while seen["t.k40c 1\n"] < 3:
            seen[next(lines)] += 1
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 130


@contextmanager
def device(lab: RunningLab, host: str) -> Iterator[dict[str, Any]]:
    """The first card's provider; its inventory is as before afterwards."""
    placement = lab.connection.placement
    found = placement.get("/resource_providers?required=COMPUTE_MANAGED_PCI_DEVICE").json()
    first, *_ = sorted(
        (entry for entry in found["resource_providers"] if entry["name"].startswith(host)),
        key=lambda entry: str(entry["name"]),
    )
    yield first


def reserve(lab: RunningLab, entry: dict[str, Any], resource_class: str, reserved: int) -> None:
    path = f"/resource_providers/{entry['uuid']}/inventories/{resource_class}"
    stock = lab.connection.placement.get(path).json()
    answer = lab.connection.placement.put(path, json={**stock, "reserved": reserved})
    assert answer.status_code == 200, answer.text


def test_a_cordoned_card(farm: RunningLab) -> None:
    with device(farm, "gtx1080-01") as entry:
        reserve(farm, entry, CLASSES["t1080"], 1)
        try:
            shown = capacity(farm)
        finally:
            reserve(farm, entry, CLASSES["t1080"], 0)
    line = row(shown, "gtx1080-01")
    assert (line["free"], line["cordoned"], line["used"]) == (1, 1, 0)
    assert can_start(shown)["t.1080"] == (1, "gpu")


def test_a_leaked_card(farm: RunningLab) -> None:
    """An allocation of a consumer that Nova never heard of."""
    consumer = f"/allocations/{uuid.uuid4()}"
    project, user = farm.connection.current_project_id, farm.connection.current_user_id
    with device(farm, "gtx1080-01") as entry:
        answer = farm.connection.placement.put(
            consumer,
            json={
                "allocations": {entry["uuid"]: {"resources": {CLASSES["t1080"]: 1}}},
                "consumer_generation": None,
                "project_id": project,
                "user_id": user,
                "consumer_type": "INSTANCE",
            },
        )
        assert answer.status_code == 204, answer.text
        try:
            line = row(capacity(farm), "gtx1080-01")
        finally:
            farm.connection.placement.delete(consumer)
    assert (line["total"], line["free"], line["leaked"], line["used"]) == (2, 1, 1, 0)
    assert row(capacity(farm), "gtx1080-01")["leaked"] == 0


def test_a_host_that_is_switched_off(farm: RunningLab) -> None:
    compute = farm.connection.compute
    (service,) = compute.services(host="k40c-01", binary="nova-compute")
    compute.disable_service(service)
    try:
        shown = capacity(farm)
    finally:
        compute.enable_service(service)
    assert row(shown, "k40c-01")["free"] == 1
    assert can_start(shown)["t.k40c"] == (0, "host state")
