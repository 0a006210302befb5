"""`gpufarm host plan|apply|verify|rollback --farm`: order, waves, output, exit statuses."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from model_host import ModelHost
from test_settings_rollout import NOVA, nova_host

from gpufarm.cli import host_targets
from gpufarm.cli.shell import main
from gpufarm.host import services
from gpufarm.model.errors import HostUnreachable
from gpufarm.system.agent import Answer, Verb

Output = pytest.CaptureFixture[str]

FARM = """
version: 1
name: f
release: 34
cards:
  k40c: {vendor_id: "10de", product_id: "1024"}
"""


class Named(ModelHost):
    """Writes down when it is changed; `down` fails when it is looked at."""

    order: ClassVar[list[str]] = []
    down = False

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer:
        if self.down:
            raise HostUnreachable(self.name, "gone")
        if verb in ("apply", "rollback"):
            self.order.append(self.name)
        return super().ask(verb, orders)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Named]:
    """Given with the controller first."""
    found = {}
    for name, running in (
        ("control", ("nova-scheduler", "nova-api")),
        ("hyper1", ("nova-compute",)),
        ("hyper2", ("nova-compute",)),
    ):
        made = nova_host(tmp_path / name / "root", *running, hostname=name)
        found[name] = Named(made.top, "settings")
        found[name].name = name
    monkeypatch.setattr(Named, "order", [])
    monkeypatch.setattr(host_targets, "read", lambda *_: list(found.values()))
    monkeypatch.setattr(services, "SETTLE_SECONDS", 0.0)
    return found


@pytest.fixture
def farm(tmp_path: Path) -> str:
    path = tmp_path / "farm.yaml"
    path.write_text(FARM)
    return str(path)


def run(capsys: Output, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    status = main(["host", *words, "-f", "json"])
    out, err = capsys.readouterr()
    return status, json.loads(out), err


def test_computes_come_first_and_are_the_last_to_come_back(
    hosts: dict[str, Named], farm: str, capsys: Output
) -> None:
    before = {name: host.content() for name, host in hosts.items()}
    status, rows, _ = run(capsys, "plan", "--farm", farm)
    assert status == 0
    assert {(row["kind"], row["host"]) for row in rows} == {
        (kind, host) for kind in ("file", "command") for host in hosts
    }
    assert {name: host.content() for name, host in hosts.items()} == before
    assert run(capsys, "verify", "--farm", farm)[0] == 2

    status, done, _ = run(capsys, "apply", "--farm", farm, "--wave", "1")
    assert status == 0
    assert done == rows
    assert Named.order == ["hyper1", "hyper2", "control"]
    assert run(capsys, "verify", "--farm", farm)[:2] == (0, [])

    Named.order.clear()
    status, rows, err = run(capsys, "apply", "--farm", farm, "--wave", "3")
    assert (status, rows, Named.order) == (0, [], [])
    assert err.endswith("nothing to do\n")

    status, rows, _ = run(capsys, "rollback", "--farm", farm)
    assert status == 0
    assert Named.order == ["control", "hyper1", "hyper2"]
    assert {row["kind"] for row in rows} == {"file", "run", "by"}
    assert {name: host.content() for name, host in hosts.items()} == before


def test_after_a_failure_no_other_wave_begins(
    hosts: dict[str, Named], farm: str, capsys: Output
) -> None:
    hosts["hyper1"].put("run/services/nova-compute.dislikes", "device_spec")
    status, rows, err = run(capsys, "apply", "--farm", farm)
    assert (status, rows) == (1, [])
    assert Named.order == ["hyper1"]
    assert "hyper1: not up after a restart: nova-compute (activating)" in err
    assert "2 hosts of later waves were left as they are" in err

    status, rows, _ = run(capsys, "apply", "--farm", farm, "--keep-going")
    assert status == 1
    assert {row["host"] for row in rows} == {"control", "hyper2"}


def test_a_host_that_cannot_be_read_stops_it_before_it_begins(
    hosts: dict[str, Named], farm: str, capsys: Output
) -> None:
    hosts["hyper2"].down = True
    status, rows, err = run(capsys, "apply", "--farm", farm)
    assert (status, rows, Named.order) == (1, [], [])
    assert "error: hyper2: gone" in err
    assert "no host was changed" in err
    status, rows, _ = run(capsys, "apply", "--farm", farm, "--keep-going")
    assert status == 1
    assert {row["host"] for row in rows} == {"control", "hyper1"}


def test_what_is_not_so_is_listed(hosts: dict[str, Named], farm: str, capsys: Output) -> None:
    run(capsys, "apply", "--farm", farm)
    hosts["control"].put("run/services/nova-api", "failed failed enabled 3\n")
    (hosts["hyper1"].top / NOVA).write_text("[pci]\n")
    status, rows, _ = run(capsys, "verify", "--farm", farm)
    assert status == 2
    assert [(row["host"], row["code"]) for row in rows] == [
        ("control", "RESTART_DUE"),
        ("control", "SERVICE_DOWN"),
        ("hyper1", "SETTINGS_DIFFER"),
        ("hyper1", "RESTART_DUE"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["apply", "--farm", "f", "--spec", "s"],
        ["apply", "--farm", "f", "--reboot", "--ssh", "h"],
        ["rollback", "--farm", "f", "--reboot", "--ssh", "h"],
        ["plan", "--farm", "f", "--root", "r"],
        ["plan", "--spec", "s", "--prune"],
    ],
    ids=" ".join,
)
def test_wrong_usage(words: list[str], capsys: Output) -> None:
    try:
        status = main(["host", *words])
    except SystemExit as error:
        status = int(error.code or 0)
    assert status == 64
    assert capsys.readouterr().out == ""
