"""Each file in tests/cases/findings: a machine in, findings out.

`codes` is written by hand: what has to be found, most severe first. The whole findings, with their
words, are in the JSON file beside it, which `--regenerate` writes.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from host_machines import build, describe

from gpufarm.host import facts, lspci, report
from gpufarm.host.cards import cards
from gpufarm.host.findings import blockers, check
from gpufarm.host.findings.codes import CODES
from gpufarm.host.ids import Names
from gpufarm.model.facts import HostFacts
from gpufarm.system.root import Folder

FOLDER = Path(__file__).parents[2] / "cases" / "findings"
CASES = sorted(FOLDER.glob("*.yaml"))


class Case(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    codes: list[str]
    machine: dict[str, Any] = {}
    lspci: str | None = None
    qemu: str | None = None
    blockers: dict[str, list[str]] = {}


def load(path: Path) -> Case:
    return msgspec.convert(yaml.safe_load(path.read_text()), Case)


def host(case: Case, folder: Path) -> HostFacts:
    if case.lspci is not None:
        return lspci.parse(case.lspci, Names(), "text")
    found = facts.read(Folder(build(folder, describe(case.machine))))
    return msgspec.structs.replace(found, origin="host", qemu=case.qemu)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path, regenerate: bool) -> None:
    case = load(path)
    read = host(case, tmp_path)
    found = check(read, cards(read))
    listed = [f"{each.severity} {each.code} {each.address or '-'}" for each in found]
    assert listed == case.codes
    golden = path.with_suffix(".json")
    text = json.dumps(msgspec.to_builtins(found), indent=2) + "\n"
    if regenerate:
        golden.write_text(text)
    assert text == golden.read_text()
    for address, codes in case.blockers.items():
        card = next(card for card in cards(read) if card.address == address)
        assert list(blockers(found, card)) == codes


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_ready_is_no_blocker(path: Path, tmp_path: Path) -> None:
    for row in report.scan(host(load(path), tmp_path), Names()):
        assert row.ready == (not row.blockers)
        assert row.kind == "gpu" or not row.ready


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_findings_read_as_sentences(path: Path, tmp_path: Path) -> None:
    """Evidence and a fix on one line each, without what a terminal would obey."""
    read = host(load(path), tmp_path)
    for each in check(read, cards(read)):
        for text in (each.message, each.fix):
            assert text.isprintable()
            assert text.strip() == text
            assert text
            assert not text.endswith(".")
        assert each.severity in ("error", "warning", "info")


def test_every_code_has_a_case() -> None:
    found = {line.split()[1] for path in CASES for line in load(path).codes}
    assert found == set(CODES)
