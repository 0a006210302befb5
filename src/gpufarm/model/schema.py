"""The documents that gpufarm reads, as JSON Schema."""

import inspect
from typing import Any

import msgspec

from gpufarm.model.farm import Farm
from gpufarm.model.host import HostFile
from gpufarm.model.host_spec import HostSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def farm() -> dict[str, Any]:
    return _schema("gpufarm farm file", Farm)


def host() -> dict[str, Any]:
    return _schema("gpufarm host file", HostFile)


def host_spec() -> dict[str, Any]:
    return _schema("gpufarm host spec", HostSpec)


def _schema(title: str, kind: type) -> dict[str, Any]:
    return {"$schema": DIALECT, "title": title, **_dedented(msgspec.json.schema(kind))}


def _dedented(node: Any) -> Any:
    """`node` with docstrings as Python 3.13 keeps them: without the indentation of the source."""
    if isinstance(node, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _dedented(value)
            for key, value in node.items()
        }
    return [_dedented(each) for each in node] if isinstance(node, list) else node
