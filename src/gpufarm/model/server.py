"""A server as Nova shows it, and what one is asked for with."""

import msgspec


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is None for who may not see it, and before one is chosen, and so is `hypervisor`, the
    name of that host's root provider in Placement; `fault` is Nova's text.

    `zone` is the availability zone that it was asked for with, `groups` are server groups.
    """

    id: str
    name: str
    status: str
    task: str | None = None
    host: str | None = None
    hypervisor: str | None = None
    flavor: str = ""
    image_id: str | None = None
    addresses: dict[str, tuple[str, ...]] = {}
    fault: str = ""
    project: str | None = None
    zone: str | None = None
    groups: tuple[str, ...] = ()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`network` is a name or id, or `auto` or `none` as Nova takes them; `timeout` in seconds."""

    name: str
    flavor: str
    image: str
    network: str = "auto"
    zone: str | None = None
    timeout: float = 600.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A server that somebody asked for: what its flavor was then, when it was made and, unless it
    is still there, ended (UTC, ISO 8601). `failed`: Nova found no place for it."""

    id: str
    flavor: str
    vcpus: int
    memory_mb: int
    properties: dict[str, str]
    created: str
    ended: str = ""
    failed: bool = False
