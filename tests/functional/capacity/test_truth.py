"""`can_start` and `explain` beside the real scheduler, in random states of the lab.

In each state servers of one flavor are started, past gpufarm's own check, until one is refused.
Before each, what `explain` says of every host is compared with what Placement and the scheduler's
filters then say of it. GPUFARM_TRUTH_STATES is how many states (5), GPUFARM_TRUTH_SEED the first
(random otherwise, and printed).
"""

import contextlib
import json
import os
import random
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gpu_farm import delete_servers, start
from running_lab import RunningLab

from gpufarm.capacity import asking, facts, report
from gpufarm.capacity.explain import Explanation
from gpufarm.capacity.facts import Question
from gpufarm.capacity.scheduler import from_settings
from gpufarm.lab import farm as lab_farm
from gpufarm.lab import state as lab_state
from gpufarm.model.errors import CloudRefused

pytestmark = pytest.mark.lab

STATES = int(os.environ.get("GPUFARM_TRUTH_STATES", "5"))
FIRST = int(os.environ.get("GPUFARM_TRUTH_SEED") or secrets.randbelow(10**6))
MOST = 12
"""A flavor of which more fit is not started to the end."""

FLAVORS = (
    "t.1080",
    "t.1080x2",
    "t.1080-fast",
    "t.h100-far",
    "t.h100-near",
    "t.h100-numa",
    "t.h100-wide",
    "t.h100x3",
    "t.k40c",
    "t.plain-large",
    "t.plain-near",
)
"""Of the last two the scheduler's reserve for free cards is the limit."""
FILLERS = (
    "t.1080",
    "t.h100x3",
    "t.h100-numa",
    "t.k40c",
    "t.plain",
    "t.plain-large",
    "t.plain-near",
)
HOSTS = ("gtx1080-01", "hgx-01", "k40c-01")
CARDS = "COMPUTE_MANAGED_PCI_DEVICE"


class State:
    """A random state of the shared lab; what was changed is changed back, last first."""

    def __init__(self, lab: RunningLab, seed: int, undo: contextlib.ExitStack) -> None:
        self.lab = lab
        self.random = random.Random(seed)
        self.undo = undo
        self.compute, self.placement = lab.connection.compute, lab.connection.placement
        self.done: list[str] = []
        self.zone: str | None = None

    def make(self) -> None:
        for _ in range(self.random.randrange(4)):
            self.start(self.random.choice(FILLERS))
        steps: list[Callable[[], None]] = [
            self.cordon,
            self.cordon,
            self.leak,
            self.switch_off,
            self.take_down,
            self.fast,
            self.limit,
            self.divide,
            self.keep_apart,
        ]
        for step in self.random.sample(steps, self.random.randrange(1, 4)):
            step()

    def start(self, flavor: str) -> tuple[str, bool]:
        """Its id, and whether it became ACTIVE; one that did not is deleted again."""
        try:
            ended = start(self.lab, flavor, self.zone)
        except CloudRefused as error:
            self.done.append(f"{flavor}: {error}")
            return "", False
        self.done.append(f"{flavor}: {ended.status} {ended.host} {ended.fault}")
        if ended.status != "ACTIVE":
            delete_servers(self.lab, ended.name)
        return ended.id, ended.status == "ACTIVE"

    def device(self) -> tuple[dict[str, Any], str]:
        """A random card that can be had, and its resource class."""
        listed = self.placement.get(f"/resource_providers?required={CARDS}").json()
        found = [
            entry
            for entry in listed["resource_providers"]
            if entry["name"].startswith(HOSTS) and self.free(entry)
        ]
        entry = self.random.choice(sorted(found, key=lambda each: str(each["name"])))
        path = f"/resource_providers/{entry['uuid']}/inventories"
        return entry, next(iter(self.placement.get(path).json()["inventories"]))

    def free(self, entry: dict[str, Any]) -> bool:
        path = f"/resource_providers/{entry['uuid']}"
        stock = self.placement.get(f"{path}/inventories").json()["inventories"].values()
        held = self.placement.get(f"{path}/allocations").json()["allocations"]
        return not held and not any(inventory["reserved"] for inventory in stock)

    def cordon(self) -> None:
        entry, resource_class = self.device()
        self.reserve(entry, resource_class, 1)
        self.undo.callback(self.reserve, entry, resource_class, 0)
        self.done.append(f"cordoned {entry['name']}")

    def reserve(self, entry: dict[str, Any], resource_class: str, reserved: int) -> None:
        path = f"/resource_providers/{entry['uuid']}/inventories/{resource_class}"
        stock = self.placement.get(path).json()
        answer = self.placement.put(path, json={**stock, "reserved": reserved})
        assert answer.status_code == 200, answer.text

    def leak(self) -> None:
        entry, resource_class = self.device()
        consumer = f"/allocations/{uuid.uuid4()}"
        body = {
            "allocations": {entry["uuid"]: {"resources": {resource_class: 1}}},
            "consumer_generation": None,
            "project_id": self.lab.connection.current_project_id,
            "user_id": self.lab.connection.current_user_id,
            "consumer_type": "INSTANCE",
        }
        assert self.placement.put(consumer, json=body).status_code == 204
        self.undo.callback(self.placement.delete, consumer)
        self.done.append(f"leaked {entry['name']}")

    def service(self) -> Any:
        (found,) = self.compute.services(host=self.random.choice(HOSTS), binary="nova-compute")
        return found

    def switch_off(self) -> None:
        service = self.service()
        self.compute.disable_service(service)
        self.undo.callback(self.compute.enable_service, service)
        self.done.append(f"disabled {service.host}")

    def take_down(self) -> None:
        service = self.service()
        self.compute.update_service_forced_down(service, forced=True)
        self.undo.callback(self.compute.update_service_forced_down, service, forced=False)
        self.done.append(f"down {service.host}")

    def fast(self) -> None:
        """The host of two cards gets the trait that one flavor asks for."""
        assert self.placement.put("/traits/CUSTOM_T_FAST").status_code in (201, 204)
        listed = self.placement.get("/resource_providers?name=gtx1080-01").json()
        (root,) = listed["resource_providers"]
        path = f"/resource_providers/{root['uuid']}/traits"
        before = self.placement.get(path).json()
        self.put_traits(path, [*before["traits"], "CUSTOM_T_FAST"])
        self.undo.callback(self.put_traits, path, before["traits"])
        self.done.append("fast gtx1080-01")

    def put_traits(self, path: str, traits: list[str]) -> None:
        generation = self.placement.get(path).json()["resource_provider_generation"]
        body = {"traits": traits, "resource_provider_generation": generation}
        assert self.placement.put(path, json=body).status_code == 200

    def aggregate(self, zone: str | None, host: str) -> None:
        """A new one with `host`; Nova lets no host with servers into a zone."""
        name = f"t-{uuid.uuid4()}"
        made = self.compute.create_aggregate(name=name, availability_zone=zone)
        self.undo.callback(self.compute.delete_aggregate, made)
        self.compute.add_host_to_aggregate(made, host)
        self.undo.callback(self.empty, made, host)
        self.done.append(f"{host} in zone {zone}")

    def empty(self, aggregate: Any, host: str) -> None:
        delete_servers(self.lab)
        self.compute.remove_host_from_aggregate(aggregate, host)

    def divide(self) -> None:
        """A zone with one host, and servers asked for there."""
        busy = {server.compute_host for server in self.compute.servers()}
        free = sorted(set(HOSTS) - busy)
        if free:
            self.aggregate("t-zone", self.random.choice(free))
            self.zone = "t-zone"

    def keep_apart(self) -> None:
        """The default zone, asked for by name, is every host."""
        self.zone = self.zone or self.random.choice(["nova", None])

    def limit(self) -> None:
        """A quota of a few more servers than there are."""
        project = self.lab.connection.current_project_id
        most = len(list(self.compute.servers())) + self.random.randrange(4)
        self.quota(project, most)
        self.undo.callback(self.quota, project, -1)
        self.done.append(f"quota of {most}")

    def quota(self, project: str, most: int) -> None:
        body = {"quota_set": {"instances": most, "force": True}}
        assert self.compute.put(f"/os-quota-sets/{project}", json=body).status_code == 200


def known(lab: RunningLab) -> Question:
    """What the commands know of the lab without asking the cloud."""
    loaded = lab_state.load(lab.state)
    return Question(
        scheduler=from_settings(lab_farm.scheduler_settings(loaded), "the lab"),
        hardware=lab_farm.hardware(loaded),
    )


@pytest.fixture
def verdicts(farm: RunningLab) -> Iterator[Callable[[str], dict[str, dict[str, bool]]]]:
    """{host: {filter: whether it let the server through}}, as the scheduler said."""
    path = farm.state / lab_state.VERDICTS
    path.touch()

    def read(server: str) -> dict[str, dict[str, bool]]:
        found: dict[str, dict[str, bool]] = {}
        for line in path.read_text().splitlines():
            instance, name, host, passed = json.loads(line)
            if instance == server:
                found.setdefault(host, {})[name] = passed
        return found

    yield read
    path.unlink()


def agrees(explanation: Explanation, said: dict[str, dict[str, bool]], hosts: set[str]) -> None:
    """Host by host: who was first to refuse it, or that nobody did."""
    first: dict[str, str] = {}
    for reason in explanation.reasons:
        if reason.host and reason.blocks:
            first.setdefault(reason.host, reason.source)
    for host in hosts:
        if host not in said:
            assert first.get(host) == "placement", (host, first.get(host))
            continue
        refused = [name for name, passed in said[host].items() if not passed]
        assert first.get(host) == (refused[0] if refused else None), (host, said[host])


@pytest.mark.parametrize("number", range(STATES))
def test_a_random_state(
    farm: RunningLab, verdicts: Callable[[str], dict[str, dict[str, bool]]], number: int
) -> None:
    question = known(farm)
    with contextlib.ExitStack() as undo:
        seed = FIRST + number
        state = State(farm, seed, undo)
        state.make()
        flavor = state.random.choice(FLAVORS)
        print(f"\nseed {seed}: {'; '.join(state.done)}; then {flavor}")  # noqa: T201
        rows = report.parts(facts.read(farm.connection, question=question))[1]
        table = {row.flavor: row.can_start for row in rows}
        wish = asking.Wish(subject=flavor, image="t.image", zone=state.zone, known=question)
        first = asking.answer(farm.connection, wish)[0].can_start
        assert first is not None
        if not flavor.startswith("t.plain"):  # the table has flavors with cards
            most = table[flavor]
            assert most is not None
            # It is for servers that ask for no zone.
            assert first <= most if state.zone else first == most
        for started in range(MOST):
            found, _ = asking.answer(farm.connection, wish)
            assert found.can_start == first - started
            assert found.admitted == bool(found.can_start)
            server, active = state.start(flavor)
            if server:
                agrees(found, verdicts(server), set(HOSTS))
            assert active == found.admitted, state.done
            if not active:
                assert started == first
                return
        assert first > MOST
