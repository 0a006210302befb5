"""`gpufarm farm ...` on a cloud that is a model in memory, and what needs no cloud."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from gpufarm.cli import columns, farm, farm_target
from gpufarm.cli.shell import main
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.change import Change, FieldChange
from gpufarm.model.cloud import CloudFlavor, ComputeHost
from gpufarm.model.errors import CloudUnreachable
from gpufarm.system import digests

Captured = pytest.CaptureFixture[str]

FARM: dict[str, Any] = {
    "version": 1,
    "name": "ours",
    "release": 34,
    "cards": {"k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": ["a"]}},
    "flavors": {"g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 40, "cards": {"k40c": 1}}},
}
G1 = CloudFlavor(
    id="1",
    name="g1",
    vcpus=2,
    memory_mb=4096,
    disk_gb=40,
    public=True,
    properties={
        "gpufarm:farm": "ours",
        "gpufarm:cards": "k40c=CUSTOM_PCI_10DE_1024",
        "pci_passthrough:alias": "k40c:1",
    },
)
OLD = msgspec.structs.replace(G1, id="2", name="old")
HOST = ComputeHost(name="a", hypervisor_hostname="a", up=True, enabled=True)


class FakeDoor:
    """Reads the same every time; a write is a fault of the test."""

    catalog = Catalog(hosts=(HOST,))
    failures = 0

    def __init__(self, *_: Any) -> None:
        pass

    def read(self) -> Catalog:
        if FakeDoor.failures:
            FakeDoor.failures -= 1
            raise CloudUnreachable("starting anew")
        return self.catalog


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeDoor]]:
    monkeypatch.setattr(farm_target, "CloudCatalog", FakeDoor)
    monkeypatch.setattr(farm_target.placement, "providers", lambda _: ())
    monkeypatch.setattr(farm_target, "find_lab", lambda _: None)
    monkeypatch.setattr(farm.FarmLister, "connection", lambda _: None)
    FakeDoor.catalog = Catalog(hosts=(HOST,))
    yield FakeDoor
    FakeDoor.failures = 0


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "farm.yaml"
    path.write_text(yaml.safe_dump(FARM))
    return str(path)


def test_the_plan_as_json_is_the_contract(cloud: Any, file: str, capsys: Captured) -> None:
    assert main(["farm", "plan", file, "-f", "json"]) == 0
    out, err = capsys.readouterr()
    (change,) = json.loads(out)
    assert (change["action"], change["kind"], change["name"]) == ("create", "flavor", "g1")
    assert change["reason"] == "not in the cloud"
    assert {"field": "vcpus", "from": None, "to": 2} in change["changes"]
    assert f"gpufarm farm render {file}" in err


def test_nothing_to_do_is_an_empty_list(cloud: Any, file: str, capsys: Captured) -> None:
    cloud.catalog = Catalog(hosts=(HOST,), flavors=(G1,))
    assert main(["farm", "plan", file, "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "nothing to do" in err
    assert main(["farm", "apply", file, "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_check_finds_drift_and_cards_that_nobody_reports(
    cloud: Any, file: str, capsys: Captured
) -> None:
    cloud.catalog = Catalog(hosts=(HOST,), flavors=(G1,))
    assert main(["farm", "check", file, "-f", "json"]) == 2
    (change,) = json.loads(capsys.readouterr().out)
    assert (change["kind"], change["name"]) == ("card", "k40c")
    assert "a reports none" in change["reason"]


def test_what_is_unneeded_is_noted_and_pruned(cloud: Any, file: str, capsys: Captured) -> None:
    cloud.catalog = Catalog(hosts=(HOST,), flavors=(G1, OLD))
    assert main(["farm", "plan", file, "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "kept without --prune: flavor old" in err
    assert main(["farm", "plan", file, "--prune", "-f", "value", "-c", "name"]) == 0
    out, err = capsys.readouterr()
    assert out == "old\n"
    assert "kept" not in err


def test_replacements_are_announced_by_plan_and_refused_by_apply(
    cloud: Any, file: str, capsys: Captured
) -> None:
    cloud.catalog = Catalog(hosts=(HOST,), flavors=(msgspec.structs.replace(G1, vcpus=1),))
    assert main(["farm", "plan", file]) == 0
    assert "refuses the replacements unless it gets --replace" in capsys.readouterr().err
    assert main(["farm", "apply", file]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {file}: replacement: flavor g1 (Nova cannot change vcpus" in err


@pytest.mark.parametrize("command", ["plan", "apply", "check"])
def test_a_host_that_is_not_there_is_an_error_everywhere(
    cloud: Any, file: str, command: str, capsys: Captured
) -> None:
    cloud.catalog = Catalog()
    assert main(["farm", command, file]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "card k40c: host a has no nova-compute in this cloud, which has: none" in err


def test_a_bad_file_is_refused_before_anybody_is_asked(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connection(_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(farm.FarmLister, "connection", connection)
    path = tmp_path / "farm.yaml"
    path.write_text("version: 1\nname: x\nrelease: 34\nimages: {os: {file: none.img}}\n")
    assert main(["farm", "plan", str(path)]) == 1
    assert "image os: its file" in capsys.readouterr().err
    assert main(["farm", "plan", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_lab_that_starts_anew_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm_target, "CloudCatalog", FakeDoor)
    monkeypatch.setattr(farm_target.time, "sleep", lambda _: None)
    farm_document = msgspec.convert(FARM, farm_target.Farm)
    FakeDoor.failures = 3
    farm_target.Target(farm_document, {}, None, lab=object())  # type: ignore[arg-type]
    FakeDoor.failures = 3
    with pytest.raises(CloudUnreachable):
        farm_target.Target(farm_document, {}, None, lab=None)  # type: ignore[arg-type]
    FakeDoor.failures = 0


def test_render_prints_each_file_under_its_name(file: str, capsys: Captured) -> None:
    assert main(["farm", "render", file]) == 0
    out = capsys.readouterr().out
    assert "# ==> controller/nova.conf.d/50-gpufarm.conf <==\n" in out
    assert "# ==> compute/a/nova.conf.d/50-gpufarm.conf <==\n" in out


def test_render_writes_files_and_says_what_changed(
    file: str, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "deep" / "out"
    words = ["farm", "render", file, "--layout", "kolla", "-o", str(out), "--host", "a"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {out / 'config' / 'nova.conf'}" in captured.err
    assert (out / "config" / "nova" / "a" / "nova.conf").is_file()
    assert main(words) == 0
    assert "wrote" not in capsys.readouterr().err


@pytest.mark.parametrize("host", ["../../etc/cron.d/x", "a/b", "..", "", "a\n[pci]", "-x"])
def test_a_host_that_would_be_another_path_is_refused(
    file: str, tmp_path: Path, host: str, capsys: Captured
) -> None:
    assert main(["farm", "render", file, "-o", str(tmp_path / "out"), f"--host={host}"]) == 64
    assert not (tmp_path / "out").exists()


def test_render_into_what_is_a_file(file: str, capsys: Captured) -> None:
    assert main(["farm", "render", file, "-o", file]) == 1
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["farm", "host"])
def test_schema_is_printed(kind: str, capsys: Captured) -> None:
    assert main(["farm", "schema", "--of", kind]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["title"] == f"gpufarm {kind} file"


def test_digests_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "image"
    content = b"x" * 3_000_000
    path.write_bytes(content)
    assert digests.read(path) == ImageFile(
        path=str(path),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        size=3_000_000,
    )


def test_a_long_change_is_wrapped_and_nothing_in_it_drives_the_terminal() -> None:
    field = FieldChange("properties.hw:x", "a" * 200, "\x1b[2Jgone\n")
    hostile = Change("change", "flavor", "name\x1b[31m\nsecond", (field,), "why " * 20)
    cells = columns.row(hostile)
    shown = [each if isinstance(each, str) else each.human_readable() for each in cells]
    assert "\x1b" not in "".join(shown)
    assert max(len(line) for cell in shown for line in cell.splitlines()) <= 28
    assert cells[2].machine_readable() == hostile.name
    assert list(cells[3].machine_readable()) == [
        {"field": "properties.hw:x", "from": "a" * 200, "to": "\x1b[2Jgone\n"}
    ]


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (FieldChange("vcpus", None, 2), "vcpus: 2"),
        (FieldChange("vcpus", 1, 2), "vcpus: 1 -> 2"),
        (FieldChange("properties.gpu", "yes", None), "gpu: yes -> nothing"),
        (FieldChange("hosts", ["a"], ["a", "b"]), "hosts: a -> a, b"),
        (FieldChange("public", True, False), "public: true -> false"),
    ],
)
def test_a_field_reads_as_a_sentence(field: FieldChange, shown: str) -> None:
    assert columns.Changes((field,)).human_readable() == shown


def test_a_second_nova_compute_is_found_and_only_led_off(
    cloud: Any, file: str, capsys: Captured
) -> None:
    second = ComputeHost(name="gpu-a", hypervisor_hostname="a", up=True, enabled=True)
    cloud.catalog = Catalog(hosts=(HOST, second), flavors=(G1,))
    assert main(["farm", "check", file, "-f", "json"]) == 2
    out, err = capsys.readouterr()
    (found,) = [each for each in json.loads(out) if each["kind"] == "nova-compute"]
    assert (found["action"], found["name"]) == ("remove", "gpu-a")
    assert err.index("step 1") < err.index("step 2")
    assert main(["farm", "plan", file, "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "a second nova-compute on the machine of a" in err
