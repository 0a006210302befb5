"""Plans as data: a farm file and a cloud in, changes or a refusal out (cases/plan).

`--regenerate` writes the changes of each case anew.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from model_cloud import ModelCloud

from gpufarm.catalog.apply import apply
from gpufarm.catalog.fitness import check_hosts
from gpufarm.catalog.plan import plan, refuse_replacements, unneeded
from gpufarm.model import consistency
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.change import Change
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm

CASES = sorted((Path(__file__).parents[2] / "cases" / "plan").glob("*.yaml"))
EXPECTED = "\nchanges:"


class Case(msgspec.Struct, forbid_unknown_fields=True):
    farm: Farm
    cloud: Catalog = Catalog()
    files: dict[str, ImageFile] = {}
    prune: bool = False
    changes: list[dict[str, Any]] | None = None
    error: str | None = None


def _servers(hosts: list[str] | dict[str, int]) -> dict[str, int]:
    """{host: servers}; a list is of hosts without any."""
    return hosts if isinstance(hosts, dict) else dict.fromkeys(hosts, 0)


def load(path: Path) -> Case:
    document = yaml.safe_load(path.read_text())
    document["farm"] = {"version": 1, "name": "ours", "release": 34, **document["farm"]}
    cloud = document.setdefault("cloud", {})
    cloud["hosts"] = [
        {"name": host, "hypervisor_hostname": host, "up": True, "enabled": True, "servers": number}
        for host, number in _servers(cloud.get("hosts", [])).items()
    ]
    for name, file in document.get("files", {}).items():
        file.update(path=name, size=1)
    case = msgspec.convert(document, Case)
    consistency.check(case.farm)
    return case


def planned(case: Case) -> tuple[Change, ...]:
    check_hosts(case.farm, case.cloud.hosts)
    return plan(case.farm, case.cloud, case.files, prune=case.prune)


def shown(changes: tuple[Change, ...]) -> list[dict[str, Any]]:
    return [
        {
            "action": change.action,
            "kind": change.kind,
            "name": change.name,
            "reason": change.reason,
            "fields": {
                each.field: msgspec.to_builtins([each.from_, each.to]) for each in change.changes
            },
        }
        for change in changes
    ]


def rewrite(path: Path, changes: list[dict[str, Any]]) -> None:
    start = path.read_text().partition(EXPECTED)[0].rstrip("\n")
    dumped = yaml.safe_dump(
        changes, sort_keys=False, width=10_000, default_flow_style=None, allow_unicode=True
    )
    path.write_text(
        f"{start}{EXPECTED} {dumped}" if not changes else f"{start}{EXPECTED}\n{dumped}"
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_is_as_the_case_says(path: Path, regenerate: bool) -> None:
    case = load(path)
    if case.error:
        with pytest.raises(FarmError) as caught:
            planned(case)
        assert case.error in str(caught.value)
        return
    changes = shown(planned(case))
    if regenerate:
        rewrite(path, changes)
    assert changes == load(path).changes


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_after_the_plan_is_carried_out_nothing_is_left_to_do(path: Path) -> None:
    case = load(path)
    if case.error:
        return
    cloud = ModelCloud.holding(case.cloud, files={file.path: file for file in case.files.values()})
    done = apply(case.farm, cloud, case.files, prune=case.prune, replace=True)
    assert {(each.action, each.kind, each.name) for each in done} == {
        (each["action"], each["kind"], each["name"]) for each in case.changes or ()
    }
    calls = cloud.moments
    assert plan(case.farm, cloud.read(), case.files, prune=case.prune) == ()
    assert apply(case.farm, cloud, case.files, prune=case.prune) == ()
    assert cloud.moments == calls


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_only_the_farms_own_objects_are_ever_removed(path: Path) -> None:
    case = load(path)
    for change in unneeded(case.farm, case.cloud):
        objects = {"flavor": case.cloud.flavors, "image": case.cloud.images}.get(
            change.kind, case.cloud.aggregates
        )
        marks = {
            each.properties.get("gpufarm:farm") or each.properties.get("gpufarm_farm")
            for each in objects
            if each.name == change.name
        }
        assert case.farm.name in marks


def test_replacements_are_refused_with_their_names_and_what_to_do() -> None:
    change = Change("replace", "flavor", "g1", (), "Nova changes no vcpus")
    with pytest.raises(FarmError, match=r"flavor g1 \(Nova changes no vcpus\).*--replace"):
        refuse_replacements([change])
    refuse_replacements([])


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 40
