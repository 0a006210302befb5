"""The examples: hosts that can exist and have what the farms want, and room for all in a lab."""

import re
from collections import Counter
from pathlib import Path

import pytest

from gpufarm.catalog.fitness import check_hardware
from gpufarm.cli.farm_target import load
from gpufarm.model import document, host
from gpufarm.model.farm import named_hosts
from gpufarm.model.host import HostFile

EXAMPLES = Path(__file__).parents[3] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/farm.yaml"))


def hosts_of(folder: Path) -> tuple[HostFile, ...]:
    paths = sorted((folder / "hosts").glob("*.yaml"))
    return host.expand((str(path), document.read(HostFile, path)) for path in paths)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_examples_hosts_have_what_its_farm_wants(folder: Path) -> None:
    farm, files = load(folder / "farm.yaml")
    hosts = hosts_of(folder)
    check_hardware(farm, hosts)
    assert named_hosts(farm) <= {each.name for each in hosts}
    assert set(files) == {name for name, image in farm.images.items() if image.file}
    assert any(flavor.cards for flavor in farm.flavors.values())


def test_all_examples_fit_into_one_lab() -> None:
    names: Counter[str] = Counter()
    for folder in FOLDERS:
        farm, _ = load(folder / "farm.yaml")
        names.update(f"host {each.name}" for each in hosts_of(folder))
        for kind in ("flavors", "aggregates", "images"):
            names.update(f"{kind} {name.lower()}" for name in getattr(farm, kind))
        names.update([f"farm {farm.name}"])
    assert [name for name, times in names.items() if times > 1] == []


def test_the_table_of_examples_is_complete() -> None:
    linked = set(re.findall(r"\]\(([a-z0-9-]+)/farm\.yaml\)", (EXAMPLES / "README.md").read_text()))
    assert linked == {folder.name for folder in FOLDERS}


@pytest.mark.parametrize(
    ("folder", "cards"),
    [
        ("k4200", {("0000:84:00.0", "10de:11b4"), ("0000:88:00.0", "10de:11b4")}),
        ("k4200", {("0000:84:00.1", "10de:0e0a"), ("0000:88:00.1", "10de:0e0a")}),
        ("gtx1080", {("0000:42:00.0", "10de:1b80"), ("0000:42:00.1", "10de:10f0")}),
        ("k40c-mixed", {("0000:86:00.0", "10de:1024")}),
    ],
)
def test_hardware_is_as_the_source_systems_print_it(
    folder: str, cards: set[tuple[str, str]]
) -> None:
    found = {
        (function.address, f"{function.vendor_id}:{function.product_id}")
        for each in hosts_of(EXAMPLES / folder)
        for function in each.pci_functions
    }
    assert cards <= found
