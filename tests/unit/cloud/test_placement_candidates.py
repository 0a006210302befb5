"""What is asked of Placement and Nova for an explanation, and answers that are no good."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from gpufarm.cloud import compute, placement, quota, servers
from gpufarm.model.cloud import Candidates, Limit
from gpufarm.model.errors import CloudConflict, CloudError, CloudRefused, CloudUnreachable


class Api:
    """Answers from {path: document, status, or exception}."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def get(self, path: str, **_: Any) -> Any:
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code = answer if isinstance(answer, int) else 200
        response.url = f"http://cloud{path}"
        response._content = json.dumps({} if isinstance(answer, int) else answer).encode()
        return response


def placement_of(answers: dict[str, Any]) -> Any:
    return SimpleNamespace(placement=Api(answers))


def nova_of(answers: dict[str, Any]) -> Any:
    return SimpleNamespace(compute=Api(answers))


ONE = (("limit", "10"), ("resources", "VCPU:1"))
TWO = (("limit", "10"), ("resources", "PCPU:1"))
PATHS = [
    "/allocation_candidates?limit=10&resources=VCPU%3A1",
    "/allocation_candidates?limit=10&resources=PCPU%3A1",
]


def candidates(*roots: str) -> dict[str, Any]:
    return {
        "allocation_requests": [{} for _ in roots],
        "provider_summaries": {f"of-{root}": {"root_provider_uuid": root} for root in roots},
    }


def test_two_requests_are_one_answer() -> None:
    connection = placement_of({PATHS[0]: candidates("a", "b"), PATHS[1]: candidates("b")})
    found = placement.candidates(connection, [ONE, TWO])
    assert found == Candidates(roots=frozenset({"a", "b"}), ways=3)


def test_a_class_that_placement_does_not_know_has_no_candidates() -> None:
    connection = placement_of({PATHS[0]: 400, PATHS[1]: candidates("b")})
    assert placement.candidates(connection, [ONE, TWO]).roots == {"b"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (403, CloudRefused),
        (401, CloudRefused),
        (503, CloudError),
        (requests.exceptions.ReadTimeout("read timed out"), CloudUnreachable),
    ],
)
def test_an_answer_that_is_none(answer: Any, error: type[CloudError]) -> None:
    with pytest.raises(error):
        placement.candidates(placement_of({PATHS[0]: answer}), [ONE])
    path = "/resource_providers?required=CUSTOM_T"
    with pytest.raises(error):
        placement.with_traits(placement_of({path: answer}), ["CUSTOM_T"])
    with pytest.raises(error):
        quota.limits(nova_of({"/os-quota-sets/p/detail": answer}), "p")


def test_a_trait_that_placement_does_not_know_nobody_has() -> None:
    path = "/resource_providers?required="
    connection = placement_of(
        {f"{path}A": {"resource_providers": [{"uuid": "1"}]}, f"{path}B": 400}
    )
    found = placement.with_traits(connection, ["B", "A", "A"])
    assert found == {"A": frozenset({"1"}), "B": frozenset()}


def test_what_is_reserved_of_a_quota_is_used() -> None:
    part = {"limit": 10, "in_use": 3, "reserved": 2}
    sets = {"quota_set": {"cores": part, "instances": {"limit": -1, "in_use": 1}, "floating": part}}
    assert quota.limits(nova_of({"/os-quota-sets/p/detail": sets}), "p") == (
        Limit(name="cores", limit=10, used=5),
        Limit(name="instances", limit=-1, used=1),
    )


def test_two_servers_of_one_name() -> None:
    entry = {"id": "1", "name": "a", "status": "ERROR", "flavor": {"original_name": "f"}}
    listed = {"servers": [entry, {**entry, "id": "2"}, {**entry, "name": "ab"}]}
    paths = {"/servers/a": 404, "/servers/detail?all_tenants=1&limit=1000": listed}
    with pytest.raises(CloudConflict, match="2 servers are named a"):
        servers.find(nova_of(paths), "a")
    listed["servers"] = []
    assert servers.find(nova_of(paths), "a") is None


def test_a_server_s_name_is_no_path() -> None:
    paths = {
        "/servers/..%2Fflavors": 404,
        "/servers/detail?all_tenants=1&limit=1000": {"servers": []},
    }
    assert servers.find(nova_of(paths), "../flavors") is None


def test_servers_without_nodes_have_no_share() -> None:
    detail = "/servers/detail?all_tenants=1&limit=1000"
    host = "OS-EXT-SRV-ATTR:host"
    node = {"host_node": 1, "vcpu_set": [0, 1], "memory_mb": 512}
    connection = nova_of(
        {
            detail: {"servers": [{"id": "1", host: "h"}, {"id": "2", host: "h"}, {"id": "3"}]},
            "/servers/1/topology": {"nodes": [node, {**node, "host_node": None}]},
            "/servers/2/topology": 404,
        }
    )
    ((name, (share,)),) = compute.node_shares(connection).items()
    assert (name, share.node, share.cpus, share.memory_mb) == ("h", 1, 2, 512)


def test_what_an_evacuated_server_holds_on_its_new_host() -> None:
    gpu, memory = {"CUSTOM_PCI_10DE_1B80": 1}, {"MEMORY_MB": 192}
    held = {"dead-card": gpu, "dead": memory, "new-card": gpu, "new": memory}
    answers = {
        "/allocations/server": {
            "allocations": {uuid: {"resources": amounts} for uuid, amounts in held.items()}
        },
        "/resource_providers?name=hyper19": {"resource_providers": [{"uuid": "new"}]},
        "/resource_providers?in_tree=new": {
            "resource_providers": [{"uuid": "new"}, {"uuid": "new-card"}, {"uuid": "free-card"}]
        },
    }
    found = placement.held_on(placement_of(answers), "server", "hyper19")
    assert found == {"new-card": gpu, "new": memory}
