"""Taking back what a consumer holds, while others write to it."""

import json
from typing import Any
from unittest import mock

import pytest
import requests
from openstack.exceptions import HttpException
from requests import PreparedRequest, Response

from gpufarm.cloud import allocations
from gpufarm.model.errors import CloudConflict, CloudError, CloudRefused, CloudUnreachable

HELD = {"card": {"CUSTOM_H": 1}}
BEFORE = {
    "card": {"generation": 4, "resources": {"CUSTOM_H": 1}},
    "root": {"generation": 9, "resources": {"VCPU": 2}},
}


def response(status: int, body: Any) -> Response:
    made = Response()
    made.status_code, made._content = status, json.dumps(body).encode() if body else b""
    made.request, made.url = PreparedRequest(), "http://127.0.0.1/allocations/c"
    made.headers["Content-Type"] = "application/json"
    return made


class Placement:
    """One consumer; `put` is what Placement answers to a write, or what is raised."""

    def __init__(self, put: int | Exception = 204) -> None:
        self.put = put
        self.written: Any = None

    def get(self, path: str, microversion: str) -> Response:
        assert (path, microversion) == ("/allocations/c", allocations.WITH_GENERATIONS)
        document = {"project_id": "p", "user_id": "u", "consumer_generation": 3}
        return response(200, {"allocations": BEFORE, **document})

    def request(self, path: str, method: str, json: Any, microversion: str) -> Response:
        assert (path, method) == ("/allocations/c", "PUT")
        assert microversion == allocations.WITH_GENERATIONS
        if isinstance(self.put, Exception):
            raise self.put
        if self.put == 204:
            self.written = json
        return response(self.put, {"errors": [{"detail": "said so"}]} if self.put > 299 else None)


def release(placement: Placement, held: Any = HELD, *, everything: bool = False) -> Any:
    connection = mock.Mock(placement=placement)
    return allocations.release(connection, "c", held, everything=everything)


def test_the_rest_stays_and_the_generation_guards_it() -> None:
    placement = Placement()
    assert release(placement) == BEFORE
    assert placement.written == {
        "allocations": {"root": {"resources": {"VCPU": 2}}},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": 3,
    }


def test_everything() -> None:
    placement = Placement()
    release(placement, everything=True)
    assert placement.written["allocations"] == {}


@pytest.mark.parametrize("held", [{"card": {"CUSTOM_H": 2}}, {"another": {"CUSTOM_H": 1}}])
def test_what_is_held_no_more_is_not_taken(held: Any) -> None:
    placement = Placement()
    with pytest.raises(CloudConflict, match="look again"):
        release(placement, held, everything=True)
    assert placement.written is None


@pytest.mark.parametrize(
    ("put", "error"),
    [
        (409, CloudConflict),
        (401, CloudRefused),
        (403, CloudRefused),
        (503, CloudError),
        (requests.exceptions.ReadTimeout("no answer"), CloudUnreachable),
        (requests.exceptions.ConnectionError("gone"), CloudUnreachable),
        (HttpException("odd"), CloudError),
    ],
)
def test_a_write_that_fails(put: int | Exception, error: type[CloudError]) -> None:
    placement = Placement(put)
    with pytest.raises(error):
        release(placement)
    assert placement.written is None
