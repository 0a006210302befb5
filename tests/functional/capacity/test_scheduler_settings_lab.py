"""What settings of Nova's scheduler change: `capacity` and `explain` beside the real one.

One lab of two hosts with three free cards each, whose scheduler asks Placement for one candidate,
goes by isolated aggregates and by those of projects, and takes its quotas from Keystone.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_farm import can_start, capacity, create_words, delete_servers, start
from running_lab import RunningLab

from gpufarm.capacity import asking, facts, request
from gpufarm.capacity.asking import Wish
from gpufarm.capacity.candidates import ways
from gpufarm.capacity.facts import Question
from gpufarm.capacity.flavors import needs
from gpufarm.capacity.rooms import rooms
from gpufarm.capacity.scheduler import from_settings
from gpufarm.cloud import placement
from gpufarm.lab import farm as lab_farm
from gpufarm.lab import state
from gpufarm.model.errors import CloudRefused
from gpufarm.model.settings import Settings, join, parse, render

pytestmark = pytest.mark.lab

CLAIMS = Path(__file__).parents[1] / "claims"
HOSTS = ("claims-1", "claims-2")
FREE = 3
SETTINGS = Settings(
    {
        "scheduler": {
            "max_placement_results": ("1",),
            "enable_isolated_aggregate_filtering": ("true",),
            "limit_tenants_to_placement_aggregate": ("true",),
        },
        "quota": {"driver": ("nova.quota.UnifiedLimitsDriver",)},
    }
)
TRAIT = "CUSTOM_T_ISOLATED"
CARD = "CUSTOM_PCI_10DE_2330"


def keystone(lab: RunningLab) -> Settings:
    """Nova's way to Keystone's limits, as the user that it is for Placement."""
    nova = parse((lab.state / "etc" / "nova" / "nova.conf").read_text())
    endpoint = lab.connection.compute.get_endpoint_data()
    (found,) = lab.connection.identity.endpoints(service_id=endpoint.service_id, interface="public")
    return Settings({"oslo_limit": {**nova.sections["placement"], "endpoint_id": (found.id,)}})


@contextlib.contextmanager
def limit(lab: RunningLab, name: str, most: int) -> Iterator[None]:
    """Keystone's limit for every project."""
    identity = lab.connection.identity
    made = identity.create_registered_limit(
        resource_name=name,
        default_limit=most,
        service_id=lab.connection.compute.get_endpoint_data().service_id,
        region_id=lab.connection.config.get_region_name(),
    )
    yield
    identity.delete_registered_limit(made)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The lab, with those settings beside the farm's."""
    running = RunningLab(tmp_path_factory.mktemp("strict") / "state")
    running.run("lab", "up", "--hosts", str(CLAIMS / "hosts.yaml"))
    running.run("farm", "apply", str(CLAIMS / "claims_farm.yaml"))
    lab = state.load(running.state)
    text = lab_farm.settings_now(lab)["controller"]
    wanted = join(parse(text), SETTINGS, keystone(running))
    with limit(running, "servers", 100):
        lab_farm.put_settings(lab, {"controller": render(wanted)}, lambda _: None)
        yield running
    running.run("lab", "reset")


@pytest.fixture
def undo(strict: RunningLab) -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack
        delete_servers(strict)


def known(lab: RunningLab) -> Question:
    found = lab_farm.scheduler_settings(state.load(lab.state))
    return Question(scheduler=from_settings(found, "the lab"))


def explain(lab: RunningLab, flavor: str) -> dict[str, list[str]]:
    """{host: codes of what keeps it off}."""
    found, _ = asking.answer(lab.connection, Wish(subject=flavor, known=known(lab)))
    codes: dict[str, list[str]] = {}
    for each in found.reasons:
        if each.host and each.blocks:
            codes.setdefault(each.host, []).append(each.code)
    return codes


def starts(lab: RunningLab, flavor: str) -> list[str | None]:
    """Hosts of the servers that start, one after another, until one is refused; they are gone."""
    hosts: list[str | None] = []
    while (made := start(lab, flavor)).status == "ACTIVE":
        hosts.append(made.host)
    delete_servers(lab)
    return hosts


def listed(lab: RunningLab, flavor: str) -> str:
    """The one host that Placement's list has."""
    snapshot = facts.read(lab.connection, question=known(lab))
    wanted = needs(snapshot)[flavor]
    assert wanted
    found = placement.candidates(lab.connection, request.queries(snapshot, wanted))
    (host,) = (snapshot.host_names()[root] for root in found.roots)
    return host


def test_the_ways_to_choose_cards_are_counted_as_placement_does(strict: RunningLab) -> None:
    snapshot = facts.read(strict.connection, question=known(strict))
    wanted = needs(snapshot)["t.two"]
    assert wanted
    (query,) = request.queries(snapshot, wanted)
    every = [("limit", "1000"), *(pair for pair in query if pair[0] != "limit")]
    counted = sum(ways(room, wanted) for room in rooms(snapshot))
    assert counted == placement.candidates(strict.connection, [every]).ways == 12


def forced_down(lab: RunningLab, host: str, *, down: bool) -> None:
    (service,) = lab.connection.compute.services(host=host, binary="nova-compute")
    lab.connection.compute.update_service_forced_down(service, forced=down)


@contextlib.contextmanager
def down(lab: RunningLab, host: str) -> Iterator[None]:
    forced_down(lab, host, down=True)
    yield
    forced_down(lab, host, down=False)


def test_the_only_host_listed_is_down(strict: RunningLab, undo: contextlib.ExitStack) -> None:
    """The other one has free cards, and nobody gets them until the first one's are closed."""
    assert can_start(capacity(strict))["t.one"] == (2 * FREE, "gpu")
    first = listed(strict, "t.one")
    (other,) = set(HOSTS) - {first}
    undo.enter_context(down(strict, first))
    assert can_start(capacity(strict))["t.one"] == (0, "candidate limit")
    assert explain(strict, "t.one") == {first: ["HOST_DOWN"], other: ["CANDIDATE_LIMIT"]}
    refused = strict.run(*create_words("t", "t.one"), check=False)
    assert refused.returncode == 2
    assert f"{other}, which would do, is not among them" in refused.stderr
    assert starts(strict, "t.one") == []
    strict.run("host", "cordon", first, "--reason", "down")
    undo.callback(strict.run, "host", "uncordon", first)
    assert can_start(capacity(strict))["t.one"] == (FREE, "gpu")
    assert starts(strict, "t.one") == [other] * FREE


def test_the_listed_host_is_up(strict: RunningLab, undo: contextlib.ExitStack) -> None:
    first = listed(strict, "t.one")
    (other,) = set(HOSTS) - {first}
    undo.enter_context(down(strict, other))
    assert can_start(capacity(strict))["t.one"][0] == FREE
    assert first in starts(strict, "t.one")


def aggregate(
    lab: RunningLab, undo: contextlib.ExitStack, host: str, properties: dict[str, str]
) -> Any:
    compute = lab.connection.compute
    made = compute.create_aggregate(name="t-aggregate")
    undo.callback(compute.delete_aggregate, made)
    compute.add_host_to_aggregate(made, host)
    undo.callback(compute.remove_host_from_aggregate, made, host)
    compute.set_aggregate_metadata(made, properties)
    return made


def put_traits(lab: RunningLab, path: str, traits: list[str]) -> None:
    adapter = lab.connection.placement
    generation = adapter.get(path).json()["resource_provider_generation"]
    body = {"traits": traits, "resource_provider_generation": generation}
    assert adapter.put(path, json=body).status_code == 200


def test_an_isolated_aggregate(strict: RunningLab, undo: contextlib.ExitStack) -> None:
    """Its host takes only servers that require its trait."""
    compute, adapter = strict.connection.compute, strict.connection.placement
    aggregate(strict, undo, HOSTS[0], {f"trait:{TRAIT}": "required"})
    assert adapter.put(f"/traits/{TRAIT}").status_code in (201, 204)
    (root,) = adapter.get(f"/resource_providers?name={HOSTS[0]}").json()["resource_providers"]
    path = f"/resource_providers/{root['uuid']}/traits"
    before = adapter.get(path).json()["traits"]
    put_traits(strict, path, [*before, TRAIT])
    undo.callback(put_traits, strict, path, before)
    model = compute.find_flavor("t.one", get_extra_specs=True)
    isolated = compute.create_flavor(name="t.isolated", vcpus=1, ram=512, disk=1)
    undo.callback(compute.delete_flavor, isolated)
    specs = {**model.extra_specs, f"trait:{TRAIT}": "required"}
    compute.create_flavor_extra_specs(isolated, specs)
    shown = can_start(capacity(strict))
    assert (shown["t.one"], shown["t.isolated"]) == ((FREE, "aggregate"), (FREE, "traits"))
    assert explain(strict, "t.one") == {HOSTS[0]: ["AGGREGATE"]}
    assert explain(strict, "t.isolated") == {HOSTS[1]: ["TRAIT"]}
    assert starts(strict, "t.one") == [HOSTS[1]] * FREE
    assert starts(strict, "t.isolated") == [HOSTS[0]] * FREE


def test_an_aggregate_of_a_project(strict: RunningLab, undo: contextlib.ExitStack) -> None:
    """A project that has one gets servers there only, one that has none anywhere."""
    made = aggregate(strict, undo, HOSTS[0], {"filter_tenant_id": "another"})
    assert can_start(capacity(strict))["t.one"][0] == 2 * FREE
    ours = {"filter_tenant_id": str(strict.connection.current_project_id)}
    strict.connection.compute.set_aggregate_metadata(made, ours)
    assert can_start(capacity(strict))["t.one"] == (FREE, "aggregate")
    assert explain(strict, "t.one") == {HOSTS[1]: ["PROJECT"]}
    assert starts(strict, "t.one") == [HOSTS[0]] * FREE


def test_a_limit_of_cards_in_keystone(strict: RunningLab, undo: contextlib.ExitStack) -> None:
    """By resource class, which Nova counts as what Placement has allocated to the project."""
    assert can_start(capacity(strict))["t.one"] == (2 * FREE, "gpu")
    undo.enter_context(limit(strict, f"class:{CARD}", 3))
    shown = can_start(capacity(strict))
    assert (shown["t.one"], shown["t.two"]) == ((3, "quota"), (1, "quota"))
    found, _ = asking.answer(strict.connection, Wish(subject="t.two", count=2, known=known(strict)))
    (reason,) = (each for each in found.reasons if each.code == "QUOTA")
    assert (reason.needed, reason.available) == (4, 3)
    for _ in range(3):
        assert start(strict, "t.one").status == "ACTIVE"
    assert can_start(capacity(strict))["t.one"] == (0, "quota")
    with pytest.raises(CloudRefused, match=r"over limit of 3 .*ask for more quota"):
        start(strict, "t.one")


def test_memory_without_a_limit_in_keystone_is_not_limited(strict: RunningLab) -> None:
    """Though Nova's own list of quotas shows 0 of it."""
    project = strict.connection.current_project_id
    shown = strict.connection.compute.get(f"/os-quota-sets/{project}").json()["quota_set"]
    assert (shown["ram"], shown["instances"]) == (0, 100)
    assert can_start(capacity(strict))["t.one"] == (2 * FREE, "gpu")
