"""The simulator puts servers where Nova's scheduler does: the same requests through both.

Nova's is the real one, on the databases of a lab: 24 hosts, copies of two real ones, whose state
only the scheduler changes. Where hosts are equal Nova takes any, by the hashes of their names: that
its choice is one of the simulator's best is what is asked for, each time.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from running_lab import RunningLab

from gpufarm.simulate import policies, replay
from gpufarm_nova import lesson as lessons
from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts, Host

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from cloud_rows import Cloud

pytestmark = pytest.mark.lab

COPIES = 12
NUMBER = 100
FLAVORS = {"t.one": (8, 65536, 1), "t.four": (32, 262144, 4)}
KINDS = {**FLAVORS, "t.small": (4, 16384, 0), "t.large": (24, 65536, 0)}
RESERVE = {"vcpus": 8, "memory_mb": 65536}


def host_file(cards: int) -> dict[str, Any]:
    return {
        "version": 1,
        "name": f"t-real-{cards}",
        "vcpus": 64,
        "memory_mb": 524288,
        "disk_gb": 1000,
        "pci_functions": [
            {
                "address": f"0000:{16 + 8 * number:02x}:00.0",
                "vendor_id": "10de",
                "product_id": "2330",
                "class_id": "030200",
                "iommu_group": number,
                "sriov": "pf",
            }
            for number in range(cards)
        ],
    }


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Cloud]]:
    """Twelve hosts with four cards, twelve without; those that they are copies of take nothing."""
    folder = tmp_path_factory.mktemp("replay")
    lab = RunningLab(folder / "state")
    words = []
    for cards in (0, 4):
        file = folder / f"host-{cards}.yaml"
        file.write_text(yaml.safe_dump(host_file(cards)))
        words += ["--hosts", str(file)]
    (folder / "image").write_bytes(bytes(1 << 20))
    farm = {
        "version": 1,
        "name": "t",
        "release": 34,
        "reserve": "dynamic",
        "cards": {
            "gpu": {
                "vendor_id": "10de",
                "product_id": "2330",
                "device_type": "type-PF",
                "reserve": RESERVE,
            }
        },
        "flavors": {
            name: {"vcpus": vcpus, "memory_mb": memory, "disk_gb": 1, "cards": {"gpu": cards}}
            for name, (vcpus, memory, cards) in FLAVORS.items()
        },
    }
    (folder / "farm.yaml").write_text(yaml.safe_dump(farm))
    lab.run("lab", "up", *words)
    try:
        lab.run("farm", "apply", str(folder / "farm.yaml"))
        for place, cards in enumerate((0, 4)):
            rows = Cloud(folder / "state", f"t-real-{cards}")
            rows.copy_hosts(place * COPIES, (place + 1) * COPIES, 0)
        name_providers(rows)
        for service in lab.connection.compute.services(binary="nova-compute"):
            if service.host.startswith("t-real"):
                lab.connection.compute.disable_service(service)
        yield folder / "state", rows
    finally:
        lab.run("lab", "reset")


def name_providers(cloud: Cloud) -> None:
    """In the pools of the copies, as nova-compute would."""
    providers = {
        row["name"]: row["uuid"]
        for row in cloud.databases["placement"].execute("select * from resource_providers")
    }
    with cloud.writing():
        for node in cloud.rows("nova_cell1", "compute_nodes", deleted=0):
            stats = json.loads(node["pci_stats"])
            for pool in stats["nova_object.data"]["objects"]:
                tags = pool["nova_object.data"]["tags"]
                name = f"{node['hypervisor_hostname']}_{tags['address'].upper()}"
                tags["rp_uuid"] = providers[name]
            cloud.databases["nova_cell1"].execute(
                "update compute_nodes set pci_stats = ? where id = ?",
                (json.dumps(stats), node["id"]),
            )


def ask_nova(
    copies: tuple[Path, Cloud], folder: Path, policy: str, lesson: Lesson | None
) -> dict[str, Any]:
    chance = random.Random(7)
    shapes = chance.choices(list(KINDS.values()), weights=[8, 1, 5, 6], k=NUMBER)
    learned = ""
    if lesson is not None:
        learned = str(folder / "lesson.json")
        Path(learned).write_text(lessons.dumps(lesson))
    state, cloud = copies
    nodes = [row["uuid"] for row in cloud.rows("nova_cell1", "compute_nodes", deleted=0)]
    questions = {"nodes": nodes, "requests": shapes}
    (folder / "requests.json").write_text(json.dumps(questions))
    cloud.report_up()
    script = Path(__file__).with_name("cloud_scheduler.py")
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            str(state),
            str(folder / "requests.json"),
            str(folder / "answer.json"),
            policy,
            learned,
            str(folder / "scheduler.log"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    log = folder / "scheduler.log"
    assert done.returncode == 0, done.stderr + log.read_text()[-3000:]
    found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return {**found, "requests": shapes}


LESSON = Lesson(
    tuple(
        Request((("gpu", cards),) if cards else (), vcpus, memory_mb, times)
        for (vcpus, memory_mb, cards), times in zip(KINDS.values(), (60, 10, 60, 40), strict=True)
    )
)


@pytest.mark.parametrize(
    ("policy", "lesson"),
    [("nova-tuned", None), ("gpufarm", LESSON)],
)
def test_each_server_goes_where_the_simulator_would_put_it(
    copies: tuple[Path, Cloud], tmp_path: Path, policy: str, lesson: Lesson | None
) -> None:
    found = ask_nova(copies, tmp_path, policy, lesson)
    places = [
        policies.Place(name=name, host=Host(Amounts(*total), Amounts(*left), cards, free))
        for name, (total, left, cards, free) in found["hosts"].items()
        if not name.startswith("t-real")
    ]
    assert len(places) == 2 * COPIES
    rule = policies.POLICIES[policy](
        policies.Settings(
            reserves={"gpu": Amounts(*RESERVE.values())},
            flavors=tuple(
                Flavor(name, (("gpu", cards),), vcpus, memory_mb)
                for name, (vcpus, memory_mb, cards) in FLAVORS.items()
            ),
            lesson=lesson,
        )
    )
    simulated = replay.Cloud(())
    simulated.places = places
    simulated.ordinary = [Amounts(0, 0)] * len(places)
    scheduler = replay.Scheduler(simulated, rule)
    names = [place.name for place in places]
    differing = []
    for number, (shape, chosen) in enumerate(zip(found["requests"], found["chosen"], strict=True)):
        vcpus, memory_mb, cards = shape
        kind = Request((("gpu", cards),) if cards else (), vcpus, memory_mb)
        scores = scheduler.scores(kind)
        if chosen is None:
            if np.isfinite(scores).any():
                differing.append((number, shape, None))
            continue
        where = names.index(chosen)
        if not scores[where] <= scores.min() + 1e-9:
            differing.append((number, shape, chosen))
        simulated.take(where, kind)
    assert not differing
    assert None in found["chosen"]
    assert sum(each is not None for each in found["chosen"]) > NUMBER / 2
