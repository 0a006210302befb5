"""Reserving a card while others write to it; the aggregate that holds the records."""

import json
from typing import Any
from unittest import mock

import pytest
from requests import PreparedRequest, Response

from gpufarm.cloud import cordons, placement
from gpufarm.model.errors import CloudConflict

PATH = "/resource_providers/u/inventories"


def response(status: int, body: Any) -> Response:
    made = Response()
    made.status_code, made._content = status, json.dumps(body).encode()
    made.request, made.url = PreparedRequest(), f"http://127.0.0.1{PATH}"
    made.headers["Content-Type"] = "application/json"
    return made


class Provider:
    """A Placement with one provider, to which somebody else writes `busy` times."""

    def __init__(self, busy: int = 0) -> None:
        self.generation, self.busy = 1, busy
        self.stock = {"CUSTOM_H": {"total": 8, "reserved": 0, "max_unit": 8}}

    def get(self, path: str) -> Response:
        assert path == PATH
        document = {"resource_provider_generation": self.generation, "inventories": self.stock}
        found = response(200, document)
        if self.busy:
            self.busy -= 1
            self.generation += 1
        return found

    def request(self, path: str, method: str, json: Any) -> Response:
        assert (path, method) == (PATH, "PUT")
        if json["resource_provider_generation"] != self.generation:
            detail = "resource provider generation conflict"
            return response(409, {"errors": [{"status": 409, "detail": detail}]})
        self.generation += 1
        self.stock = json["inventories"]
        return response(200, json)


def reserve(adapter: Provider, *, closed: bool) -> None:
    placement.reserve(mock.Mock(placement=adapter), "u", closed=closed)


@pytest.mark.parametrize("busy", [0, 1, placement.TRIES - 1])
def test_all_is_reserved_and_the_rest_stays(busy: int) -> None:
    adapter = Provider(busy)
    reserve(adapter, closed=True)
    assert adapter.stock == {"CUSTOM_H": {"total": 8, "reserved": 8, "max_unit": 8}}
    generation = adapter.generation
    reserve(adapter, closed=True)
    assert adapter.generation == generation
    reserve(adapter, closed=False)
    assert adapter.stock["CUSTOM_H"]["reserved"] == 0


def test_a_provider_that_never_holds_still() -> None:
    adapter = Provider(placement.TRIES)
    with pytest.raises(CloudConflict, match="409"):
        reserve(adapter, closed=True)
    assert adapter.stock["CUSTOM_H"]["reserved"] == 0


class Aggregates:
    """A Nova in which another administrator makes the aggregate at the same moment."""

    def __init__(self) -> None:
        self.made = False
        self.written: dict[str, str | None] = {}

    def get(self, path: str) -> Response:
        assert path == "/os-aggregates"
        found = {"id": 7, "name": cordons.AGGREGATE, "availability_zone": None, "hosts": []}
        every = [{**found, "metadata": {}}] if self.made else []
        return response(200, {"aggregates": every})

    def request(self, path: str, method: str, json: Any) -> Response:
        assert method == "POST"
        if path == "/os-aggregates":
            self.made = True
            return response(409, {"conflictingRequest": {"message": "already exists"}})
        assert path == "/os-aggregates/7/action"
        self.written |= json["set_metadata"]["metadata"]
        return response(200, {})


def test_two_administrators_make_the_aggregate_at_once() -> None:
    adapter = Aggregates()
    cordons.put_record(mock.Mock(compute=adapter), "node_0000:3B:00.0", "{}")
    assert adapter.written == {"node_0000:3B:00.0": "{}"}


def test_nothing_is_made_to_remove_a_record() -> None:
    adapter = Aggregates()
    cordons.put_record(mock.Mock(compute=adapter), "node_0000:3B:00.0", None)
    assert not adapter.made
