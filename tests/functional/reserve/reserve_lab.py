"""What the tests of the reserve do to their lab: farms of each mode, servers by flavor and host."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_lab import RunningLab

from gpufarm.lab import farm as lab_farm
from gpufarm.lab import state as lab_state
from gpufarm.model.settings import Settings, join, parse, render
from gpufarm_nova import lesson as lessons
from gpufarm_nova.lesson import Lesson

PATIENCE = 60.0
IMAGE = Path(__file__).parents[3] / "examples" / "images" / "placeholder.img"

GPU = "r.gpu"
"""Of BR: 2 vCPU and 4096 MiB."""
SIZES = {GPU: (2, 4096), "r.large": (24, 512), "r.memory": (1, 48640)} | {
    f"r.{vcpus}": (vcpus, 512) for vcpus in (1, 2, 5, 12, 16, 20)
}


def farm(mode: Any) -> dict[str, Any]:
    flavors: dict[str, Any] = {
        name: {"vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": 1}
        for name, (vcpus, memory_mb) in SIZES.items()
    }
    flavors[GPU]["cards"] = {"rk40c": 1}
    return {
        "version": 1,
        "name": "reserve-tests",
        "release": 34,
        "reserve": mode,
        "cards": {"rk40c": {"vendor_id": "10de", "product_id": "1024"}},
        "flavors": flavors,
        "images": {"r.image": {"file": str(IMAGE)}},
    }


@dataclass
class ReserveLab:
    """A lab of two hypervisors of 96 vCPUs, 97792 MiB and two free cards each."""

    lab: RunningLab
    _flavors: dict[str, str] = field(default_factory=dict)
    _image: str = ""

    @property
    def compute(self) -> Any:
        return self.lab.connection.compute

    def keep(self, mode: Any) -> None:
        """Put a farm in place that keeps the reserve in that way."""
        path = self.lab.state.parent / "farm.yaml"
        path.write_text(yaml.safe_dump(farm(mode)))
        self.lab.run("farm", "apply", str(path))
        self._look_up()

    def teach(self, lesson: Lesson) -> None:
        """The schedulers go by what was learned, until the next farm."""
        file = self.lab.state.parent / "packing.json"
        file.write_text(lessons.dumps(lesson))
        lab = lab_state.load(self.lab.state)
        ours = parse(lab_farm.settings_now(lab)["controller"])
        more = Settings({"gpufarm": {"packing_file": (str(file),)}})
        lab_farm.put_settings(lab, {"controller": render(join(ours, more))}, lambda _: None)

    def ask(self, flavor: str, **where: str) -> str:
        """The id of a server that is being made; `host` is asked of the scheduler."""
        answer = self.compute.post(
            "/servers",
            json={
                "server": {
                    "name": flavor,
                    "flavorRef": self._flavors[flavor],
                    "imageRef": self._image,
                    "networks": "none",
                    **where,
                }
            },
            microversion="2.74",
        )
        assert answer.ok, answer.text
        return str(answer.json()["server"]["id"])

    def _look_up(self) -> None:
        self._flavors = {found.name: found.id for found in self.compute.flavors()}
        self._image = self.lab.connection.image.find_image("r.image").id

    def flavor(self, name: str) -> str:
        return self._flavors[name]

    def server(self, server_id: str) -> dict[str, Any]:
        answer = self.compute.get(f"/servers/{server_id}")
        return dict(answer.json()["server"]) if answer.ok else {}

    def settled(self, server_id: str) -> dict[str, Any]:
        """The server once nothing is done to it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.server(server_id)
            if found["status"] != "BUILD" and found["OS-EXT-STS:task_state"] is None:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{found['name']}: still {found['OS-EXT-STS:task_state']}")
            time.sleep(0.1)

    def start(self, flavor: str, **where: str) -> str | None:
        """The id of a server that became ACTIVE; None where it was refused, and is gone."""
        server_id = self.ask(flavor, **where)
        if self.settled(server_id)["status"] == "ACTIVE":
            return server_id
        self.delete(server_id)
        return None

    def fill(self, flavor: str) -> int:
        """Start servers until one is refused; how many started."""
        number = 0
        while self.start(flavor):
            number += 1
        return number

    def at_once(self, flavors: list[str]) -> list[dict[str, Any]]:
        """Servers of all these flavors, asked for at the same time, once each is settled."""
        with ThreadPoolExecutor(len(flavors)) as pool:
            made = list(pool.map(self.ask, flavors))
        return [self.settled(each) for each in made]

    def act(self, server_id: str, **action: Any) -> bool:
        """Whether Nova took it and something is done, or was; it refuses some at once, some not."""
        answer = self.compute.post(f"/servers/{server_id}/action", json=action, microversion="2.91")
        return bool(answer.ok)

    def delete(self, *server_ids: str) -> None:
        for each in server_ids:
            self.compute.delete(f"/servers/{each}")
        deadline = time.monotonic() + PATIENCE
        while any(self.server(each) for each in server_ids):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def clear(self) -> None:
        """No server, and no host of which the scheduler still reads that it runs one."""
        self.delete(*(server.id for server in self.compute.servers()))
        # What a move left on its other host stays in Nova's figures until that host's next report.
        deadline = time.monotonic() + PATIENCE
        # Of their disks: processors and memory count what is reserved on a host as used.
        while any(host["local_gb_used"] for host in self.hypervisors()):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def hypervisors(self) -> list[dict[str, Any]]:
        """As Nova's table has them, figures of use among them (gone from its API with 2.88)."""
        answer = self.compute.get("/os-hypervisors/detail", microversion="2.87")
        assert answer.ok, answer.text
        return list(answer.json()["hypervisors"])

    def end_schedulers(self) -> None:
        """As a crash would, and start them again."""
        for name in ("nova-scheduler", "nova-scheduler-2"):
            run = lab_state.run_of(self.lab.state, name)
            assert run is not None
            os.kill(run.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(
            lab_state.running(self.lab.state, name)
            for name in ("nova-scheduler", "nova-scheduler-2")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.lab.run("lab", "up")
