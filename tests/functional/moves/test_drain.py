"""`gpufarm host drain`, `undrain`: every server of a host moved, interrupted, refused."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from claims_lab import ClaimsLab

pytestmark = [pytest.mark.lab, pytest.mark.split]

HOSTS = ("moves-1", "moves-2", "moves-3")
SOURCE, TARGET, OTHER = HOSTS
WRITE = "--allow-database-write"
WHY = ("--reason", "new firmware")


def drain(lab: ClaimsLab, *more: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit status, rows by the server's name, and what was said."""
    done = lab.run("host", "drain", SOURCE, *WHY, WRITE, *more, "-f", "json", check=False)
    rows = json.loads(done.stdout) if done.stdout else []
    return done.returncode, {row["server"]: row for row in rows}, done.stderr


def service(lab: ClaimsLab) -> dict[str, Any]:
    found = lab.compute.get(f"/os-services?binary=nova-compute&host={SOURCE}").json()["services"]
    return dict(found[0])


def on(lab: ClaimsLab, host: str) -> set[str]:
    found = lab.compute.get(f"/servers?all_tenants=1&host={host}").json()["servers"]
    return {each["name"] for each in found}


def states(lab: ClaimsLab, host: str) -> set[str]:
    return {row["state"] for row in lab.json("card", "list", "--host", host)}


def test_emptied_and_opened_again(moving: ClaimsLab) -> None:
    moving.boot("t.one", SOURCE, name="a")
    moving.boot("t.two", SOURCE, name="b")
    plain = moving.boot("t.plain", SOURCE, name="plain")
    moving.boot("t.two", TARGET, name="there")
    status, rows, _ = drain(moving, "--dry-run")
    assert status == 0
    assert {name: row["host"] for name, row in rows.items()} == {
        "b": OTHER,
        "a": TARGET,
        "plain": TARGET,
    }
    assert service(moving)["status"] == "enabled", "a dry run changes nothing"

    status, rows, said = drain(moving)
    assert status == 0, (rows, said)
    assert {row["outcome"] for row in rows.values()} == {"moved"}
    assert on(moving, SOURCE) == set()
    assert on(moving, OTHER) == {"b"}
    assert service(moving)["disabled_reason"] == "gpufarm drain: new firmware"
    assert states(moving, SOURCE) == {"cordoned"}
    answer = moving.compute.get(f"/os-migrations?instance_uuid={plain}").json()["migrations"]
    assert [each["migration_type"] for each in answer] == ["live-migration"]
    moving.wait(lambda: len(moving.rows()) == 5, "Nova's table is clean", 60)
    assert moving.run("claims", "check", "--older-than", "0", check=False).returncode == 0
    assert drain(moving)[:2] == (0, {})

    moving.run("host", "undrain", SOURCE)
    assert service(moving)["status"] == "enabled"
    assert states(moving, SOURCE) == {"free"}
    assert "was not drained" in moving.run("host", "undrain", SOURCE).stderr


def test_what_cannot_be_moved_is_listed_and_stays(moving: ClaimsLab) -> None:
    moving.boot("t.two", SOURCE, name="large")
    paused = moving.boot("t.plain", SOURCE, name="paused")
    moving.act(paused, pause=None)
    moving.until(paused, "PAUSED")
    moving.boot("t.one", SOURCE, name="small")
    moving.boot("t.two", TARGET, name="x")
    moving.boot("t.two", OTHER, name="y")
    moving.run("card", "cordon", "0000:07:00.0", "--host", SOURCE, "--reason", "broken")
    status, rows, said = drain(moving)
    assert status == 2, said
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "large": "stays",
        "paused": "stays",
        "small": "moved",
    }
    assert "it needs 2 h100 cards" in rows["large"]["reason"]
    assert "PAUSED" in rows["paused"]["reason"]
    assert on(moving, SOURCE) == {"large", "paused"}
    assert moving.server(paused)["status"] == "PAUSED"

    moving.run("host", "undrain", SOURCE)
    shown = moving.json("card", "list", "--host", SOURCE)
    left = [row["address"] for row in shown if row["state"] == "cordoned"]
    assert len(left) <= 1, "what was closed before stays closed, if nobody held it"
    assert {row["reason"] for row in shown} == {None, "broken"}


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_interrupted_and_run_again(moving: ClaimsLab, how: signal.Signals) -> None:
    for name in ("a", "b", "c"):
        moving.boot("t.one", SOURCE, name=name)
    moving.fault(SOURCE, "migrate_disk_and_power_off", delay=2)
    words = [sys.executable, "-m", "gpufarm", "host", "drain", SOURCE, *WHY, WRITE]
    with subprocess.Popen(
        words, env=moving.lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        moving.wait(
            lambda: any(
                server.task_state == "resize_migrating"
                for server in moving.compute.servers(all_projects=True)
            ),
            "one of them moves",
        )
        first.send_signal(how)
        said = first.communicate(timeout=30)[1]
    assert "Traceback" not in said
    moving.fault(SOURCE, "migrate_disk_and_power_off")
    status, rows, said = drain(moving)
    assert status == 0, (rows, said)
    assert on(moving, SOURCE) == set()
    moving.wait(lambda: len(moving.rows()) == 3, "Nova's table is clean", 60)
    assert moving.run("claims", "check", "--older-than", "0", check=False).returncode == 0
    moving.run("host", "undrain", SOURCE)
