"""Paging and reading at once."""

from typing import Any

import pytest
from openstack.exceptions import HttpException

from gpufarm.cloud.rest import get_each, pages


class Response:
    def __init__(self, status: int, body: Any) -> None:
        self.status_code = status
        self.body = body
        self.headers: dict[str, str] = {}
        self.content = b""
        self.reason = "said so"
        self.url = "http://127.0.0.1/x"
        self.request = None

    def json(self) -> Any:
        return self.body


class Adapter:
    """Answers from a table of paths."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def get(self, path: str) -> Response:
        self.asked.append(path)
        answer = self.answers.get(path, 404)
        return Response(answer, None) if isinstance(answer, int) else Response(200, answer)


def test_pages_until_there_is_no_link() -> None:
    adapter = Adapter(
        {
            "/servers?all_tenants=1&limit=1000": {
                "servers": [{"id": "a"}, {"id": "b"}],
                "servers_links": [{"rel": "next"}],
            },
            "/servers?all_tenants=1&limit=1000&marker=b": {"servers": [{"id": "c"}]},
        }
    )
    found = pages(adapter, "/servers", "servers", [("all_tenants", "1")])
    assert [server["id"] for server in found] == ["a", "b", "c"]


def test_a_page_that_went_empty_is_the_last() -> None:
    adapter = Adapter({"/s?limit=1000": {"s": [], "s_links": [{"rel": "next"}]}})
    assert list(pages(adapter, "/s", "s")) == []


def test_each_in_order_and_none_for_what_is_gone() -> None:
    paths = [f"/p/{number}" for number in range(50)]
    adapter = Adapter({path: path for path in paths if path != "/p/7"})
    found = get_each(adapter, paths)
    assert found[7] is None
    assert [path for path in found if path] == [path for path in paths if path != "/p/7"]
    assert get_each(adapter, []) == []


def test_a_failure_is_raised() -> None:
    with pytest.raises(HttpException):
        get_each(Adapter({"/a": "a", "/b": 500}), ["/a", "/b"])
