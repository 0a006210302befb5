"""The documents that gpufarm reads, as JSON Schema."""

from typing import Any

import msgspec

from gpufarm.model.farm import Farm
from gpufarm.model.host import HostFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def farm() -> dict[str, Any]:
    return {"$schema": DIALECT, "title": "gpufarm farm file", **msgspec.json.schema(Farm)}


def host() -> dict[str, Any]:
    return {"$schema": DIALECT, "title": "gpufarm host file", **msgspec.json.schema(HostFile)}
