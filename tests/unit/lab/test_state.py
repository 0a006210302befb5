"""The lab's files: what is kept, for whom it can be read, what a broken one says."""

import os
import re
import stat
from pathlib import Path

import pytest

from gpufarm.cli.shell import main
from gpufarm.lab import config, faults, services, state, template
from gpufarm.lab.state import Lab, Secrets
from gpufarm.model.errors import LabError, LabNotRunning
from gpufarm.model.settings import parse

PORTS = {name: 40000 + i for i, name in enumerate((*state.APIS, *state.BROKER_PORTS))}
PASTE = {name: Path(f"/paste/{name}.ini") for name in ("nova", "glance", "neutron")}
SECRETS = Secrets("s3cret-admin", "s3cret-broker", dict.fromkeys(state.SERVICE_USERS, "s3cret"))


@pytest.fixture(params=state.MODES)
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Lab:
    return Lab(state=tmp_path, mode=request.param, ports=PORTS, hosts=("a", "b"))


def test_a_lab_is_read_as_it_was_saved(lab: Lab) -> None:
    state.save(lab)
    assert state.load(lab.state) == lab


def test_a_lab_may_be_moved(lab: Lab, tmp_path: Path) -> None:
    state.save(lab)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "lab.json").rename(moved / "lab.json")
    assert state.load(moved).state == moved


def test_no_lab(tmp_path: Path) -> None:
    with pytest.raises(LabNotRunning, match="gpufarm lab up"):
        state.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"mode": "both"}', '{"ports": 1}'),
        '{"mode": "single", "ports": {}, "hosts": []}',
    ],
)
def test_a_broken_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(LabError, match="lab reset"):
        state.load(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"admin": 1}'])
def test_other_broken_files_are_named_too(tmp_path: Path, lab: Lab, text: str | None) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "faults").mkdir()
    if text is not None:
        for path in ("hosts/a.json", "secrets.json", "faults/a.json"):
            (tmp_path / path).write_text(text)
        with pytest.raises(LabError, match=r"secrets.json: not a lab's file .*lab reset"):
            state.lab_secrets(tmp_path)
        with pytest.raises(LabError, match=r"faults/a.json: no list of faults .*: remove it"):
            faults.read(tmp_path, "a")
    with pytest.raises(LabError, match=r"hosts/a.json: not a lab's file .*lab reset"):
        lab.host("a")


@pytest.mark.parametrize(
    "words", [("up",), ("status",), ("env",), ("reset",), ("fault", "list")], ids=" ".join
)
def test_a_state_folder_that_is_a_file_is_named(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert main(["lab", *words, "--state", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}")
    assert "Errno" not in said
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write into any other folder
    with pytest.raises(LabError, match=r"cannot be written into: name another folder, --state"):
        state.private(tmp_path)


def test_what_is_the_labs_is_for_the_owner_only(lab: Lab) -> None:
    template.make_keys(lab)
    state.save(lab)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in lab.state.rglob("*")}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}


def test_passwords_are_random_kept_and_for_the_owner_only(tmp_path: Path) -> None:
    made = state.lab_secrets(tmp_path)
    assert state.lab_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    found = state.lab_secrets(other)
    everything = [made.admin, made.broker, *made.services.values()]
    everything += [found.admin, found.broker, *found.services.values()]
    assert len(set(everything)) == len(everything)
    assert min(map(len, everything)) >= 32


def test_keys_are_made_once_and_for_the_owner_only(lab: Lab) -> None:
    template.make_keys(lab)
    keys = sorted(lab.path("keys").rglob("[01]"))
    before = [key.read_bytes() for key in keys]
    template.make_keys(lab)
    assert [key.read_bytes() for key in keys] == before
    assert len(set(before)) == 4
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_every_address_in_the_configuration_is_this_machine(lab: Lab) -> None:
    for name, text in config.configuration(lab, SECRETS, PASTE).items():
        assert "0.0.0.0" not in text, name  # noqa: S104
        for authority in re.findall(r"://([^/\s]*)", text):
            host = authority.rpartition("@")[2]
            assert host == "" or host.startswith("127.0.0.1:"), f"{name}: {authority}"


def test_each_host_has_a_file_and_a_folder_of_its_own(lab: Lab) -> None:
    texts = config.configuration(lab, SECRETS, PASTE)
    found = [parse(texts[f"etc/nova/{host}.conf"]).flat() for host in lab.hosts]
    assert [one["[DEFAULT] host"] for one in found] == [["a"], ["b"]]
    for option in ("[DEFAULT] state_path", "[DEFAULT] instances_path"):
        assert found[0][option] != found[1][option]


def test_the_broker_is_configured_where_there_is_one(lab: Lab) -> None:
    texts = config.configuration(lab, SECRETS, PASTE)
    assert ("rabbit/rabbitmq.conf" in texts) == (lab.mode == "split")
    transport = parse(texts["etc/nova/nova.conf"]).flat()["[DEFAULT] transport_url"]
    assert transport[0].startswith("fake:" if lab.mode == "single" else "rabbit:")


def test_every_service_runs_in_one_process_after_those_it_needs(lab: Lab) -> None:
    found = services.processes(lab)
    keys = [service.key for process in found for service in process.services]
    assert len(set(keys)) == len(keys)
    assert {"nova-compute@a", "nova-compute@b", "nova-api", "keystone"} <= set(keys)
    started: set[str] = set()
    for process in found:
        assert set(process.after) <= started
        started |= {service.key for service in process.services}


def test_a_ready_file_of_an_older_start_does_not_count(lab: Lab) -> None:
    (lab.state / "run").mkdir()
    state.ready_path(lab.state, "glance").write_text("1")
    assert services.serves(lab, "glance", 1)
    assert not services.serves(lab, "glance", 2)


def test_a_fault_is_met_as_often_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "faults").mkdir()
    faults.put(tmp_path, "a", "spawn", faults.Fault(error="no", times=2))
    faults.put(tmp_path, "a", "destroy", faults.Fault(delay=0.5))
    met = [faults.take(tmp_path, "a", "spawn") for _ in range(3)]
    assert [fault.error if fault else None for fault in met] == ["no", "no", None]
    assert [faults.take(tmp_path, "a", "destroy") for _ in range(3)] == [faults.Fault(0.5)] * 3
    assert faults.take(tmp_path, "b", "spawn") is None
    faults.put(tmp_path, "a", "destroy", None)
    assert faults.read(tmp_path, "a") == {}
