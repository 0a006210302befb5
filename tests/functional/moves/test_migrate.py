"""`gpufarm server migrate`: real moves, failed, interrupted, refused, killed (SV-7)."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from claims_lab import ClaimsLab

from gpufarm.lab import faults

pytestmark = [pytest.mark.lab, pytest.mark.split]

HOSTS = ("moves-1", "moves-2", "moves-3")
SOURCE, TARGET, OTHER = HOSTS
CARDS = 3
WRITE = "--allow-database-write"
SOON = ("--older-than", "0.1")
"""Minutes; what hangs in these tests does so at once."""
LONG_ENOUGH = 90


def migrate(lab: ClaimsLab, server: str, *more: str) -> subprocess.CompletedProcess[str]:
    return lab.run("server", "migrate", server, WRITE, *more, "-f", "json", check=False)


def begin(lab: ClaimsLab, server: str, *more: str) -> subprocess.Popen[str]:
    """The same, not waited for."""
    words = [sys.executable, "-m", "gpufarm", "server", "migrate", server, WRITE, *more]
    return subprocess.Popen(
        [*words, "-f", "json"],
        env=lab.lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_task(lab: ClaimsLab, server: str, task: str) -> None:
    lab.wait(lambda: lab.server(server).get("OS-EXT-STS:task_state") == task, task)


def migrations(lab: ClaimsLab, server: str) -> list[dict[str, Any]]:
    answer = lab.compute.get(f"/os-migrations?instance_uuid={server}")
    return list(answer.json()["migrations"])


def all_is_true(lab: ClaimsLab, server: str, host: str, cards: int = 1) -> None:
    """The server runs on that host, no claim is wrong, and the count of free cards is right."""
    found = lab.server(server)
    assert (found["status"], found["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert found["OS-EXT-SRV-ATTR:host"] == host
    lab.wait(lambda: len(lab.rows()) == cards, "Nova's table is clean", 60)
    done = lab.run("claims", "check", "--older-than", "0", check=False)
    assert done.returncode == 0, done.stdout
    free = {row["host"]: row["free"] for row in lab.json("capacity")["cards"]}
    assert free == {name: CARDS - (cards if name == host else 0) for name in HOSTS}


def test_in_all_directions(moving: ClaimsLab) -> None:
    """Two cards: every other move leaks one in Placement (leak A), which is put right at once."""
    server = moving.boot("t.two", SOURCE)
    for host in (TARGET, OTHER, SOURCE):
        done = migrate(moving, server, "--to", host)
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert (shown["host"], len(shown["cards"])) == (host, 2)
        all_is_true(moving, server, host, cards=2)


def test_where_the_scheduler_likes_and_a_stopped_server_stays_off(moving: ClaimsLab) -> None:
    server = moving.boot("t.one", SOURCE)
    moving.act(server, **{"os-stop": None})
    moving.until(server, "SHUTOFF")
    done = migrate(moving, server)
    assert done.returncode == 0, done.stderr
    found = moving.server(server)
    assert found["status"] == "SHUTOFF"
    assert found["OS-EXT-SRV-ATTR:host"] != SOURCE


def test_a_full_farm_says_so_before_anything_begins(moving: ClaimsLab) -> None:
    server = moving.boot("t.one", SOURCE)
    moving.boot("t.three", TARGET)
    moving.run("host", "cordon", OTHER, "--reason", "firmware")
    refused = migrate(moving, server)
    assert refused.returncode == 2
    assert "hosts other than moves-1: no h100 card" in refused.stderr
    assert "3 in use, 3 cordoned" in refused.stderr
    refused = migrate(moving, server, "--to", TARGET)
    assert refused.returncode == 2
    assert f"host {TARGET}: all 3 of 3 h100 cards" in refused.stderr
    assert migrations(moving, server) == []


@pytest.mark.parametrize(
    ("step", "where", "ends"),
    [
        ("migrate_disk_and_power_off", SOURCE, SOURCE),
        pytest.param("finish_migration", TARGET, TARGET, marks=pytest.mark.long),
        pytest.param("confirm_migration", SOURCE, TARGET, marks=pytest.mark.long),
    ],
)
def test_a_step_fails(moving: ClaimsLab, step: faults.Step, where: str, ends: str) -> None:
    server = moving.boot("t.one", SOURCE)
    moving.fault(where, step, error="the disk is on fire")
    done = migrate(moving, server, *(() if ends == SOURCE else ("--to", TARGET)))
    moving.fault(where, step)
    assert "the disk is on fire" in done.stderr
    assert done.returncode == (1 if ends == SOURCE else 0)
    if ends == SOURCE:
        assert f"it is back on {SOURCE}, ACTIVE" in done.stderr
    all_is_true(moving, server, ends)


@pytest.mark.parametrize(
    ("step", "where", "task", "how"),
    [
        ("migrate_disk_and_power_off", SOURCE, "resize_migrating", signal.SIGKILL),
        ("finish_migration", TARGET, "resize_finish", signal.SIGINT),
    ],
)
def test_gpufarm_is_ended_and_run_again(
    moving: ClaimsLab, step: faults.Step, where: str, task: str, how: signal.Signals
) -> None:
    server = moving.boot("t.one", SOURCE)
    moving.fault(where, step, delay=3)
    with begin(moving, server, "--to", TARGET) as first:
        until_task(moving, server, task)
        first.send_signal(how)
        first.communicate(timeout=30)
    moving.fault(where, step)
    done = migrate(moving, server, "--to", TARGET)
    assert done.returncode == 0, done.stderr
    assert len(migrations(moving, server)) == 1, "it goes on, and moves nothing twice"
    all_is_true(moving, server, TARGET)


def test_gpufarm_is_killed_once_nova_has_confirmed(moving: ClaimsLab) -> None:
    """What is left of a move is healed by the next run, which does not move it again."""
    server = moving.boot("t.two", SOURCE)
    moving.fault(SOURCE, "confirm_migration", delay=3)
    with begin(moving, server) as first:
        moving.wait(
            lambda: [each["status"] for each in migrations(moving, server)] == ["confirming"],
            "confirming",
        )
        first.kill()
    moving.fault(SOURCE, "confirm_migration")
    moving.until(server, "ACTIVE")
    done = migrate(moving, server)
    assert done.returncode == 0, done.stderr
    assert f"going on with a move of t from {SOURCE}" in done.stderr
    assert len(migrations(moving, server)) == 1
    all_is_true(moving, server, json.loads(done.stdout)["host"], cards=2)


KILLS = [
    ("finish_migration", TARGET, "resize_finish"),
    pytest.param(
        *("migrate_disk_and_power_off", SOURCE, "resize_migrating"), marks=pytest.mark.long
    ),
    pytest.param("confirm_migration", SOURCE, None, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("step", "where", "task"), KILLS)
def test_a_nova_compute_is_killed(
    moving: ClaimsLab, step: faults.Step, where: str, task: str | None
) -> None:
    server = moving.boot("t.two", SOURCE)
    moving.fault(where, step, delay=60)
    with begin(moving, server, "--to", TARGET, *SOON) as running:
        if task:
            until_task(moving, server, task)
        else:
            moving.until(server, "VERIFY_RESIZE")
            moving.wait(
                lambda: migrations(moving, server)[0]["status"] == "confirming", "confirming"
            )
        moving.kill(where)
        moving.fault(where, step)
        moving.run("lab", "up")
        said = running.communicate(timeout=LONG_ENOUGH)[1]
    host = SOURCE if task == "resize_migrating" else TARGET
    assert running.returncode == (1 if host == SOURCE else 0), said
    if host == SOURCE:
        assert f"it is back on {SOURCE}" in said
    all_is_true(moving, server, host, cards=2)


@pytest.mark.long
@pytest.mark.parametrize("where", [SOURCE, TARGET])
def test_a_nova_compute_is_gone_before_anything_begins(moving: ClaimsLab, where: str) -> None:
    """Nova takes a minute to see it. What was asked of the target is done when it is back; a source
    that is started anew forgets the task, and fails when it reads what it was asked."""
    server = moving.boot("t.one", SOURCE)
    moving.kill(where)
    with begin(moving, server, "--to", TARGET) as running:
        until_task(moving, server, "resize_prep")
        moving.run("lab", "up")
        said = running.communicate(timeout=LONG_ENOUGH)[1]
    if where == SOURCE:
        assert f"it is back on {SOURCE}, ACTIVE" in said
    assert running.returncode == (1 if where == SOURCE else 0), said
    all_is_true(moving, server, where)
