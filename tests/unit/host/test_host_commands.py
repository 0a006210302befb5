"""`gpufarm host scan|check|capture`: what is printed where, and exit statuses."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from host_machines import HOSTS, build, describe, load

from gpufarm.cli.host import Check
from gpufarm.cli.shell import main

FIELDS = [
    "address",
    "vendor_id",
    "product_id",
    "class_id",
    "name",
    "kind",
    "functions",
    "driver",
    "iommu_group",
    "group_peers",
    "numa_node",
    "reset_methods",
    "boot_vga",
    "sriov",
    "ready",
    "blockers",
]
BR = "86:00.0 3D controller [0302]: NVIDIA Corporation GK110BGL [Tesla K40c] [10de:1024] (rev a1)\n"

Output = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return build(tmp_path / "tree", describe({}))


def test_scan_as_json_is_the_contract(tree: Path, capsys: Output) -> None:
    assert main(["host", "scan", "--root", str(tree), "-f", "json"]) == 0
    out, err = capsys.readouterr()
    bmc, card = json.loads(out)
    assert err == ""
    assert list(card) == FIELDS
    assert card | {"name": None} == {
        "address": "0000:42:00.0",
        "vendor_id": "10de",
        "product_id": "1b80",
        "class_id": "030000",
        "name": None,
        "kind": "gpu",
        "functions": [
            {
                "address": "0000:42:00.0",
                "vendor_id": "10de",
                "product_id": "1b80",
                "class_id": "030000",
                "driver": "vfio-pci",
            },
            {
                "address": "0000:42:00.1",
                "vendor_id": "10de",
                "product_id": "10f0",
                "class_id": "040300",
                "driver": "vfio-pci",
            },
        ],
        "driver": "vfio-pci",
        "iommu_group": 30,
        "group_peers": [],
        "numa_node": 0,
        "reset_methods": ["bus"],
        "boot_vga": False,
        "sriov": "none",
        "ready": True,
        "blockers": [],
    }
    assert (bmc["kind"], bmc["ready"], bmc["boot_vga"]) == ("bmc", False, True)


def test_names_come_from_the_host_s_own_pci_ids(tree: Path, capsys: Output) -> None:
    place = tree / "usr/share/hwdata/pci.ids"
    place.parent.mkdir(parents=True)
    place.write_text("10de  NVIDIA Corporation\n\t1b80  A name of its own\n")
    assert main(["host", "scan", "--root", str(tree), "-f", "json", "-c", "name"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {"name": "A name of its own"}


@pytest.mark.parametrize("host", sorted(HOSTS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("command", ["scan", "check"])
def test_tables_fit_100_columns(host: Path, command: str, tmp_path: Path, capsys: Output) -> None:
    top = build(tmp_path, load(host))
    assert main(["host", command, "--root", str(top)]) in (0, 2)
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= 100


def test_a_table_shows_what_is_in_the_way(tmp_path: Path, capsys: Output) -> None:
    changes = {"functions": {"0000:42:00.1": {"driver": "snd_hda_intel"}}}
    top = build(tmp_path, describe(changes))
    assert main(["host", "scan", "--root", str(top)]) == 0
    out = capsys.readouterr().out
    assert "FUNCTION_LEFT_BEHIND" in out
    assert ".1 snd_hda_intel" in out


def test_check_of_a_host_in_order(tree: Path, capsys: Output) -> None:
    """What is worth knowing alone is no reason to fail."""
    assert main(["host", "check", "--root", str(tree), "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["severity"] for each in found} == {"info"}
    assert list(found[0]) == ["code", "severity", "address", "message", "fix"]


def test_check_with_findings(tmp_path: Path, capsys: Output) -> None:
    top = build(tmp_path, describe({"functions": {"0000:01:00.0": {"group": 30}}}))
    assert main(["host", "check", "--root", str(top), "-f", "value", "-c", "code"]) == 2
    assert "GROUP_NOT_VIABLE" in capsys.readouterr().out.split()


def test_a_warning_is_a_finding(tmp_path: Path) -> None:
    top = build(tmp_path, describe({"cmdline": "intel_iommu=on pcie_acs_override=downstream"}))
    assert main(["host", "check", "--root", str(top)]) == 2


def test_lspci_from_a_file_and_from_standard_input(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text(BR)
    assert main(["host", "scan", "--lspci", str(tmp_path / "text"), "-f", "json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BR.encode())))
    assert main(["host", "scan", "--lspci", "-", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == from_file
    assert from_file[0]["product_id"] == "1024"
    assert from_file[0]["iommu_group"] is None
    assert main(["host", "check", "--lspci", str(tmp_path / "text")]) == 0


def test_lspci_that_is_none(tmp_path: Path, capsys: Output) -> None:
    text = tmp_path / "text"
    text.write_text("\n")
    assert main(["host", "scan", "--lspci", str(text), "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    text.write_bytes(b"\xff\xfe nonsense\n\x00\n")
    assert main(["host", "scan", "--lspci", str(text)]) == 1
    assert "no line of lspci" in capsys.readouterr().err


def test_capture_and_back(tmp_path: Path, tree: Path, capsys: Output) -> None:
    for name in ("host.json.gz", "host.json"):
        file = tmp_path / name
        assert main(["host", "capture", "--root", str(tree), "-o", str(file)]) == 0
        assert capsys.readouterr().out == ""
        for command in ("scan", "check"):
            shown = []
            for source in (tree, file):
                main(["host", command, "--root", str(source), "-f", "json"])
                shown.append(capsys.readouterr().out)
            assert shown[0] == shown[1]
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "host.json").read_bytes().startswith(b'{\n "')
    assert (tmp_path / "host.json.gz").stat().st_size < 4000


def test_capture_says_what_it_blotted_out(tmp_path: Path, capsys: Output) -> None:
    top = build(tmp_path / "t", describe({"cmdline": "intel_iommu=on rd.iscsi.password=hunter2"}))
    assert main(["host", "capture", "--root", str(top), "-o", str(tmp_path / "c.json")]) == 0
    assert "blotted out in /proc/cmdline" in capsys.readouterr().err
    assert "hunter2" not in (tmp_path / "c.json").read_text()


@pytest.mark.parametrize("command", ["scan", "check", "capture"])
def test_this_machine(command: str, tmp_path: Path, capsys: Output) -> None:
    words = ["-o", str(tmp_path / "c.json")] if command == "capture" else ["-f", "json"]
    assert main(["host", command, *words]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["scan", "--root", "/none/such"], 1, "cannot be read"),
        (["scan", "--root", "/etc/passwd"], 1, "neither a folder nor a capture"),
        (["scan", "--lspci", "/none/such"], 1, "cannot be read"),
        (["check", "--ssh", "-oProxyCommand=x"], 64, ""),
        (["check", "--ssh", "a b"], 1, "not a destination of ssh"),
        (["scan", "--root", "/", "--lspci", "-"], 64, "not allowed with"),
        (["scan", "--ssh-config", "x"], 64, "goes with --ssh"),
        (["capture"], 64, "required"),
        (["capture", "-o", "/none/such/file", "--root", "/etc"], 1, "/none/such"),
    ],
)
def test_refusals(words: list[str], status: int, message: str, capsys: Output) -> None:
    assert main(["host", *words]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_an_empty_folder_is_a_host_without_anything(tmp_path: Path, capsys: Output) -> None:
    """Where nothing tells about KVM and VFIO, nothing is said about them."""
    assert main(["host", "check", "--root", str(tmp_path), "-f", "json"]) == 2
    assert {each["code"] for each in json.loads(capsys.readouterr().out)} == {
        "IOMMU_OFF",
        "NO_CARD",
    }


def test_found_is_of_one_run(tree: Path) -> None:
    """The command object is made anew each time, and found is not kept in its class."""
    main(["host", "check", "--root", str(tree)])
    assert Check.found is False


def sparse(top: Path) -> None:
    """A copy of a few files of sysfs, as people send it, without uevent and without symlinks."""
    files: dict[str, Any] = {
        "vendor": "0x10de",
        "device": "0x2330",
        "class": "0x030200",
        "numa_node": "1",
    }
    folder = top / "sys/bus/pci/devices/0000:1b:00.0"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    (folder / "driver").symlink_to("../../../../bus/pci/drivers/vfio-pci")
    (top / "sys/kernel/iommu_groups/21/devices/0000:1b:00.0").mkdir(parents=True)


def test_a_sparse_copy(tmp_path: Path, capsys: Output) -> None:
    sparse(tmp_path)
    assert main(["host", "scan", "--root", str(tmp_path), "-f", "json"]) == 0
    (card,) = json.loads(capsys.readouterr().out)
    assert (card["product_id"], card["driver"]) == ("2330", "vfio-pci")
    assert (card["iommu_group"], card["numa_node"]) == (21, 1)
    assert card["ready"]
