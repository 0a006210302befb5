"""`gpufarm host plan|apply|verify|rollback`: what is printed where, and exit statuses."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from host_machines import build, describe
from test_host_plan_cases import DEBIAN, FRESH

from gpufarm.cli.shell import main
from gpufarm.system import agent

FIELDS = ["host", "action", "kind", "name", "changes", "reason", "needs_reboot"]
VERBS = ("plan", "apply", "verify", "rollback")

Output = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    fresh = describe(FRESH)
    fresh["files"] |= DEBIAN
    return build(tmp_path / "tree", fresh)


def spec(folder: Path, **content: Any) -> str:
    path = folder / "cards.yaml"
    cards = [{"vendor_id": "10de", "product_id": "1b80"}]
    path.write_text(json.dumps({"version": 1, "cards": cards, **content}))
    return str(path)


def test_a_plan_as_json_is_the_contract(tree: Path, tmp_path: Path, capsys: Output) -> None:
    words = ["host", "plan", "--root", str(tree), "--spec", spec(tmp_path), "-f", "json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert all(list(step) == FIELDS for step in found)
    first, bound = found[0], found[-2]
    assert (first["kind"], first["name"]) == ("file", "/etc/gpufarm/functions")
    (change,) = first["changes"]
    assert change["to"].startswith("--- /dev/null\n+++ /etc/gpufarm/functions\n@@ -0,0 +1,3 @@\n")
    assert bound == {
        "host": str(tree),
        "action": "change",
        "kind": "sysfs",
        "name": "/sys/bus/pci/devices/0000:42:00.0",
        "changes": [
            {"field": "driver", "from": "nouveau", "to": "vfio-pci"},
            {"field": "driver_override", "from": None, "to": "vfio-pci"},
        ],
        "reason": "nouveau has it",
        "needs_reboot": False,
    }


def test_a_plan_for_people(tree: Path, tmp_path: Path, capsys: Output) -> None:
    words = ["host", "plan", "--root", str(tree), "--spec", spec(tmp_path)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "+3 -0 lines" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert main([*words, "--diff"]) == 0
    assert "+bind 0000:42:00.0 10de 1b80 vfio-pci" in capsys.readouterr().out


def test_nothing_to_do_is_an_empty_list(tree: Path, tmp_path: Path, capsys: Output) -> None:
    words = ["host", "plan", "--root", str(tree), "--spec", spec(tmp_path, cards=[])]
    assert main([*words, "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert err == "nothing to do\n"


def test_a_refusal_says_why_and_what_to_do(tree: Path, tmp_path: Path, capsys: Output) -> None:
    named = spec(tmp_path, cards=[{"address": "0000:0a:00.0"}])
    assert main(["host", "plan", "--root", str(tree), "--spec", named]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing was changed. NOT_A_CARD: 0000:0a:00.0 is the display of a management" in err
    assert "(fix: name a card" in err


def test_a_spec_that_cannot_be_taken(tree: Path, tmp_path: Path, capsys: Output) -> None:
    bad = spec(tmp_path, unsafe=True)
    assert main(["host", "plan", "--root", str(tree), "--spec", bad]) == 1
    assert f"error: {bad}: at $" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_one_unreachable_host_among_others_is_named(
    verb: str, tmp_path: Path, capsys: Output
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("a.invalid\nb.invalid\n")
    words = ["host", verb, "--spec", spec(tmp_path), "--inventory", str(hosts), "-f", "json"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "[1/2] " in err
    assert "error: a.invalid: ssh: " in err
    assert "error: b.invalid: ssh: " in err


def test_after_a_wave_with_a_failure_no_other_begins(tmp_path: Path, capsys: Output) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("a.invalid\nb.invalid\nc.invalid\n")
    words = ["host", "apply", "--spec", spec(tmp_path), "--inventory", str(hosts), "--reboot"]
    assert main([*words, "--wave", "2"]) == 1
    err = capsys.readouterr().err
    assert "a.invalid: failed" in err
    assert "b.invalid: failed" in err
    assert "c.invalid" not in err
    assert "left as they are; --keep-going" in err
    assert main([*words, "--wave", "2", "--keep-going"]) == 1
    assert "c.invalid: failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["plan"],
        ["apply", "--spec", "x", "--wave", "0"],
        ["apply", "--spec", "x", "--reboot"],
        ["verify", "--spec", "x", "--ssh-config", "y"],
        ["plan", "--spec", "x", "--root", "y", "--ssh", "z"],
    ],
    ids=" ".join,
)
def test_wrong_usage(words: list[str], tmp_path: Path, capsys: Output) -> None:
    given = [spec(tmp_path) if word == "x" else word for word in words]
    try:
        status = main(["host", *given])
    except SystemExit as error:
        status = int(error.code or 0)
    assert status == 64
    assert capsys.readouterr().out == ""


def test_this_machine_is_changed_by_root_only() -> None:
    nobody = 65534 if os.geteuid() == 0 else None
    words = ["sh", "-c", agent.text(), "gpufarm", "", "rollback", "prepare"]
    done = subprocess.run(
        words, user=nobody, cwd="/", input="", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "failed only root may do this" in done.stdout.splitlines()
