"""Each file in tests/cases/capacity: facts in, tables and refusals out."""

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from capacity_snapshots import snapshot

from gpufarm.capacity import report
from gpufarm.capacity.admission import refusal

CASES = sorted((Path(__file__).parents[2] / "cases" / "capacity").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path, regenerate: bool) -> None:
    facts = yaml.safe_load(case.read_text())
    reading = snapshot(facts)
    cards, flavors = report.parts(reading)
    shown = {
        "cards": msgspec.to_builtins(cards),
        "flavors": msgspec.to_builtins(flavors),
        "notes": list(report.notes(reading)),
        "refusals": {
            flavor.name: refusal(reading, flavor, facts.get("zone")) for flavor in reading.flavors
        },
    }
    golden = case.with_suffix(".json")
    text = json.dumps(shown, indent=2) + "\n"
    if regenerate:
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_columns_add_up(case: Path) -> None:
    for row in report.parts(snapshot(yaml.safe_load(case.read_text())))[0]:
        assert row.total == row.used + row.free + row.cordoned + row.leaked
        assert min(row.used, row.free, row.cordoned, row.leaked) >= 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_refused_is_what_cannot_start(case: Path) -> None:
    """The table and admission never contradict each other."""
    reading = snapshot(yaml.safe_load(case.read_text()))
    rows = {row.flavor: row.can_start for row in report.parts(reading)[1]}
    for flavor in reading.flavors:
        if rows.get(flavor.name) is not None and reading.devices():
            assert (refusal(reading, flavor) is None) == (rows[flavor.name] > 0)
