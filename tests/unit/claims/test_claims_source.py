"""How the layers are named on the command line, and what is refused."""

import argparse
from pathlib import Path

import pytest

from gpufarm.cli import claims_source
from gpufarm.cli.base import UsageError
from gpufarm.model.errors import DatabaseError
from gpufarm.model.facts import Holder, HostFacts, PciFunction

URL = "mysql+pymysql://gpufarm:hunter2@controller/nova"


def database(path: Path, text: str = f"# cell1\n\n{URL}\n", rights: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(rights)
    return path


def test_a_file_with_a_url_for_each_cell(tmp_path: Path) -> None:
    path = database(tmp_path / "nova.url", f"{URL}\n{URL}2\n")
    assert claims_source._urls(path) == (URL, f"{URL}2")


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, rights: int) -> None:
    with pytest.raises(DatabaseError, match="chmod 600") as caught:
        claims_source._urls(database(tmp_path / "nova.url", rights=rights))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_a_file_without_a_url(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatabaseError, match="no URL"):
        claims_source._urls(database(tmp_path / "nova.url", text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be read"):
        claims_source._urls(tmp_path / "nova.url")


@pytest.mark.parametrize("minutes", [-1.0, float("inf"), float("nan")])
def test_an_age_that_is_none(minutes: float) -> None:
    with pytest.raises(UsageError, match="--older-than"):
        claims_source.patience(argparse.Namespace(older_than=minutes))


@pytest.mark.parametrize("text", ["hyper18", "=x", "hyper18=", ""])
def test_a_layer_of_no_host(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="HOST="):
        claims_source._pair(text)


def test_who_has_a_function_open() -> None:
    ids = {"vendor_id": "10de", "product_id": "1024", "class_id": "030200"}
    facts = HostFacts(
        origin="x",
        functions=(
            PciFunction(address="a", driver="vfio-pci", iommu_group=7, **ids),
            PciFunction(address="b", driver="vfio-pci", vfio_device="vfio3", **ids),
            PciFunction(address="c", driver="nouveau", iommu_group=9, **ids),
        ),
        holders=(
            Holder(pid=1, command="qemu", guest="instance-1", paths=("/dev/vfio/7",)),
            Holder(pid=2, command="probe", paths=("/dev/vfio/devices/vfio3",)),
        ),
    )
    found = claims_source.functions(facts)
    assert {address: (each.driver, each.holder) for address, each in found.items()} == {
        "a": ("vfio-pci", "instance-1"),
        "b": ("vfio-pci", "probe (2)"),
        "c": ("nouveau", None),
    }
