"""`gpufarm host rehearse`: the report, exit statuses, and that the virtual host is always ended.

What stands for the virtual host is a folder; a real one is in tests/functional/test_rehearse_host.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from model_host import ModelHost, debian, gtx_1080

from gpufarm.cli.shell import main
from gpufarm.host import apply, rehearsal
from gpufarm.host.rehearsal import Unlike
from gpufarm.lab.virthost import host as virtual
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine
from gpufarm.model.errors import HostUnreachable, NoVirtualHost, VirtualHostFailed
from gpufarm.model.host_spec import HostSpec
from gpufarm.system.agent import Answer, Verb

Output = pytest.CaptureFixture[str]
BOOT_ID = "proc/sys/kernel/random/boot_id"


class Stage(ModelHost):
    """A host that comes back from reboots, until its `fails_at`th call."""

    calls = 0
    fails_at = 0

    def facts(self) -> Any:
        self._count()
        return super().facts()

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer:
        self._count()
        answer = super().ask(verb, orders)
        if verb == "reboot":
            self.put(BOOT_ID, f"{self.calls}\n")
        return answer

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise HostUnreachable(self.name, "gone")


class Lab:
    """Remembers which hosts were brought up and taken down."""

    def __init__(self) -> None:
        self.up: list[Machine] = []
        self.down: list[str] = []
        self.error: BaseException | None = None

    def start(self, state: Path, wanted: Machine, note: Callable[[str], None]) -> Guest:
        note("resuming")
        self.up.append(wanted)
        if self.error:
            raise self.error
        return Guest(wanted.name, state)

    def end(self, _: Path, name: str) -> None:
        self.down.append(name)
        if self.error:
            raise NoVirtualHost(name, ())


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    found = Lab()
    monkeypatch.setattr(virtual, "up", found.start)
    monkeypatch.setattr(virtual, "down", found.end)
    return found


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = debian(tmp_path / "there" / "root")
    gtx_1080(made)
    made.put("dev/vfio/13", "")
    made.put(BOOT_ID, "0\n")
    found = Stage(made.top)
    monkeypatch.setattr("gpufarm.host.target.There", lambda *_: found)
    monkeypatch.setattr(apply, "POLL_SECONDS", 0.0)
    return found


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A rehearsal of a host with a second card, which stays."""
    real = debian(tmp_path / "real" / "root")
    gtx_1080(real)
    real.add_function("0000:43:00.0", "10de:2330", "030200", group=14)
    real.put("etc/os-release", "ID=ubuntu\nVERSION_ID=24.04\n")
    spec = tmp_path / "cards.yaml"
    spec.write_text('version: 1\ncards: [{address: "0000:42:00.1"}]\n')
    return ["host", "rehearse", "--root", str(real.top), "--spec", str(spec), "-f", "json"]


def run(words: list[str], capsys: Output) -> tuple[int, list[dict[str, str]]]:
    status = main(words)
    out = capsys.readouterr().out
    return status, json.loads(out) if out else []


def test_it_goes_through_every_step(
    lab: Lab, stage: Stage, words: list[str], capsys: Output
) -> None:
    before = stage.content()
    status, rows = run(words, capsys)
    assert status == 0
    steps = list(dict.fromkeys(row["step"] for row in rows))
    assert steps == [
        *("plan", "start", "apply", "reboot", "verify", "rollback", "verify as before"),
        "not rehearsed",
    ]
    assert {row["outcome"] for row in rows if row["step"] != "not rehearsed"} == {"done"}
    differs = {row["name"]: row["detail"] for row in rows if row["outcome"] == "differs"}
    assert differs["system"] == "ubuntu 24.04; rehearsed with unknown"
    assert lab.down == [lab.up[0].name]
    (given, staying) = lab.up[0].cards
    assert (given.address, staying.address) == ("0000:42:00", None)
    assert {name: value for name, value in stage.content().items() if name != BOOT_ID} == {
        name: value for name, value in before.items() if name != BOOT_ID
    }


def test_what_verify_finds_is_listed_and_it_goes_on(
    lab: Lab, stage: Stage, words: list[str], capsys: Output
) -> None:
    (stage.top / "dev/vfio/13").unlink()
    status, rows = run(words, capsys)
    assert status == 2
    found = [row["name"] for row in rows if row["outcome"] == "found"]
    assert found == ["VFIO_NODE_MISSING", "VFIO_NODE_MISSING"]
    assert rows[-1]["step"] == "not rehearsed"
    assert lab.down


@pytest.mark.parametrize(
    "fails",
    [(1, "start"), (2, "apply"), (3, "apply"), (4, "apply"), (5, "reboot"), (7, "verify")],
)
def test_a_step_that_fails_is_named_and_the_host_is_ended(
    fails: tuple[int, str], lab: Lab, stage: Stage, words: list[str], capsys: Output
) -> None:
    stage.fails_at, step = fails
    status, rows = run(words, capsys)
    assert status == 1
    failed = rows[-1]
    assert (failed["step"], failed["outcome"]) == (step, "failed")
    assert failed["name"] == "HOST_UNREACHABLE"
    assert lab.down == [lab.up[0].name]


def test_a_virtual_host_that_does_not_start(
    lab: Lab, stage: Stage, words: list[str], capsys: Output
) -> None:
    lab.error = VirtualHostFailed("h", "no", "/x")
    status, rows = run(words, capsys)
    assert status == 1
    assert rows[-1]["name"] == "VIRTUAL_HOST_FAILED"
    assert lab.down


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_ctrl_c_and_a_kill_end_it(
    number: signal.Signals | None,
    lab: Lab,
    stage: Stage,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def struck(*_: object) -> None:
        if number is None:
            raise KeyboardInterrupt
        signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(apply, "reboot", struck)
    assert main(words) == (130 if number is None else 128 + number)
    assert lab.down == [lab.up[0].name]
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_refused_starts_nothing(
    lab: Lab, words: list[str], tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "cards.yaml").write_text('version: 1\ncards: [{address: "0000:99:00.0"}]\n')
    assert main(words) == 1
    assert "CARD_NOT_FOUND" in capsys.readouterr().err
    assert lab.up == []


def test_a_spec_in_the_other_hosts_addresses() -> None:
    cards: list[dict[str, Any]] = [
        {"address": "0000:84:00.1", "functions": "remove"},
        {"vendor_id": "10de", "product_id": "1b80"},
        {"address": "0000:88:00.0"},
    ]
    spec = msgspec.convert({"version": 1, "cards": cards}, HostSpec)
    found = rehearsal.translate(spec, {"0000:84:00.0": "0000:01:00.0"})
    cards[0]["address"] = "0000:01:00.0"
    assert found == msgspec.convert({"version": 1, "cards": cards[:2]}, HostSpec)


def test_differences_are_named_one_by_one(tmp_path: Path) -> None:
    real, there = debian(tmp_path / "a" / "root"), debian(tmp_path / "b" / "root")
    gtx_1080(real)
    gtx_1080(there)
    assert rehearsal.unlike(real.facts(), there.facts(), places(real)) == ()
    real.put("sys/bus/pci/devices/0000:42:00.0/numa_node", "1\n")
    real.put("sys/bus/pci/devices/0000:42:00.0/boot_vga", "1\n")
    real.add_function("0000:44:00.0", "8086:1533", "020000", group=13)
    found = rehearsal.unlike(real.facts(), there.facts(), places(there))
    assert found == (
        Unlike("0000:42:00.0 NUMA node", "1", "none"),
        Unlike("0000:42:00.0 boot VGA", "shows the host's console", "does not"),
        Unlike("IOMMU group of 0000:42:00.0", "one with 1 others", "1 with 0 others"),
    )


def places(host: ModelHost) -> dict[str, str]:
    return {each.address: each.address for each in host.facts().functions}


def test_what_was_not_restored_is_found(tmp_path: Path) -> None:
    host = debian(tmp_path / "a" / "root")
    gtx_1080(host)
    before = host.facts()
    assert rehearsal.as_before(before, host.facts()) == ()
    host.put("etc/gpufarm/functions", "x\n")
    host.put("proc/cmdline", "root=/dev/vda1 ro quiet iommu=pt\n")
    (host.top / "sys/bus/pci/devices/0000:42:00.1/driver").unlink()
    found = [each.message for each in rehearsal.as_before(before, host.facts())]
    driver = "driver_override None"
    line = "root=/dev/vda1 ro quiet"
    assert found == [
        "/etc/gpufarm/functions was not there and is there",
        f"0000:42:00.1 was with snd_hda_intel, {driver} and is with no driver, {driver}",
        f"the kernel command line was {line} and is {line} iommu=pt",
    ]
