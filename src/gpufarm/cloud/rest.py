"""Speaking to OpenStack's APIs: one call, pages, and many small answers at once."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from gpufarm.cloud.connect import faults
from gpufarm.model.errors import CloudConflict

AT_ONCE = 8
"""Requests on their way together. keystoneauth's session keeps ten connections to a host."""

PAGE = 1000
"""Nova's own limit (nova/conf/api.py, max_limit); one that is lower shortens the pages."""


def get(adapter: Any, path: str) -> Any:
    """The document at `path`; raises openstacksdk's exceptions."""
    return _document(adapter.get(path))


def get_each(adapter: Any, paths: Sequence[str]) -> list[Any]:
    """The documents at `paths`, in that order; None for each that is not there (any more)."""

    def one(path: str) -> Any:
        response = adapter.get(path)
        return None if response.status_code == HTTPStatus.NOT_FOUND else _document(response)

    if not paths:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(paths))) as pool:
        try:
            return list(pool.map(one, paths))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def pages(
    adapter: Any, path: str, key: str, query: Iterable[tuple[str, str]] = (), marker: str = "id"
) -> Iterator[Any]:
    """What the list at `path` holds under `key`, page by page, as Nova pages its lists."""
    position: list[tuple[str, str]] = []
    while True:
        words = urlencode([*query, ("limit", str(PAGE)), *position])
        answer = get(adapter, f"{path}?{words}")
        yield from answer[key]
        if not answer[key] or f"{key}_links" not in answer:
            return
        position = [("marker", answer[key][-1][marker])]


def call(adapter: Any, doing: str, method: str, path: str, **arguments: Any) -> Any:
    """The document that is answered; {} where there is none. Raises CloudError."""
    with faults(doing):
        response = adapter.request(path, method, **arguments)
        if response.status_code == HTTPStatus.GONE:
            # What Glance says to the one of two uploads that comes later (api/v2/image_data.py).
            raise CloudConflict(f"{doing}: another upload of the same image was faster (HTTP 410)")
        raise_for(response)
        return response.json() if response.content else {}


def raise_for(response: Any) -> None:
    """openstacksdk's exception where `response` is an error."""
    from openstack.exceptions import raise_from_response

    raise_from_response(response)


def _document(response: Any) -> Any:
    raise_for(response)
    return response.json()
