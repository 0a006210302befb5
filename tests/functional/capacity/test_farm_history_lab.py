"""`farm trace` and `farm learn` on the lab, and `simulate` on what they wrote."""

import csv
import json
from pathlib import Path

import pytest
from gpu_farm import Create, delete_servers
from running_lab import RunningLab

from conftest import FARM
from gpufarm_nova import lesson

pytestmark = pytest.mark.lab


def test_servers_of_the_cloud_become_a_trace_and_a_lesson(
    farm: RunningLab, create: Create, tmp_path: Path
) -> None:
    ids = [create(name, "t.k40c")["id"] for name in ("t-1",)]
    delete_servers(farm, "t-1")
    ids.append(create("t-2", "t.k40c")["id"])
    folder = tmp_path / "history"
    farm.run("farm", "trace", str(FARM), "-o", str(folder))
    with (folder / "requests.csv").open() as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    gone, there = (rows[id_] for id_ in ids)
    assert (gone["gpu_spec"], gone["num_gpu"], gone["pod_phase"]) == ("tk40c", "1", "Succeeded")
    assert gone["deletion_time"]
    assert (there["pod_phase"], there["deletion_time"]) == ("Running", "")
    with (folder / "nodes.csv").open() as stream:
        hosts = {row["sn"]: row for row in csv.DictReader(stream)}
    assert (hosts["k40c-01"]["gpu"], hosts["k40c-01"]["model"]) == ("1", "tk40c")

    farm.run("farm", "learn", str(FARM), "-o", str(tmp_path / "packing.json"))
    found = lesson.loads((tmp_path / "packing.json").read_text())
    assert isinstance(found, lesson.Lesson), found
    cards = [kind.cards for kind in found.requests]
    assert (("tk40c", 1),) in cards
    words = ("--nodes", str(folder / "nodes.csv"), "--requests", str(folder / "requests.csv"))
    done = farm.run("simulate", *words, "--policy", "gpufarm", "--seed", "1", "-f", "json")
    (row,) = json.loads(done.stdout)
    assert row["policy"] == "gpufarm"
    assert row["gpus_allocated_pct"] > 0
