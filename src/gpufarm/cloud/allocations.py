"""Taking back what a consumer holds in Placement, guarded by the consumer's generation."""

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get
from gpufarm.model.errors import CloudConflict

if TYPE_CHECKING:
    from openstack.connection import Connection

WITH_GENERATIONS = "1.28"
"""The first version with generations of consumers. Later ones (1.38) show consumers that Nova made
with a type `unknown`, which they do not take back."""

Held = dict[str, dict[str, int]]
"""{provider uuid: {resource class: amount}}"""


def release(connection: "Connection", consumer: str, held: Held, *, everything: bool) -> Any:
    """Take `held` away from the consumer, or everything that it has; returns what it had.

    CloudConflict, and nothing changed, where it no longer holds exactly `held` of those providers,
    or where somebody else writes to it meanwhile. Raises CloudError.
    """
    path = f"/allocations/{consumer}"
    adapter = _at_1_28(connection.placement)
    doing = f"releasing what {consumer} holds"
    with faults(doing):
        document = get(adapter, path)
    before = document["allocations"]
    now = {uuid: before.get(uuid, {}).get("resources") for uuid in held}
    if now != held:
        raise CloudConflict(f"{doing}: it holds something else by now: look again")
    kept = {} if everything else {uuid: part for uuid, part in before.items() if uuid not in held}
    body = {
        **document,
        "allocations": {uuid: {"resources": part["resources"]} for uuid, part in kept.items()},
    }
    call(adapter, doing, "PUT", path, json=body)
    return before


def _at_1_28(adapter: Any) -> Any:
    return SimpleNamespace(
        get=partial(adapter.get, microversion=WITH_GENERATIONS),
        request=partial(adapter.request, microversion=WITH_GENERATIONS),
    )


def remove_provider(connection: "Connection", uuid: str) -> None:
    """CloudConflict where something of it is in use or below it. Raises CloudError."""
    path = f"/resource_providers/{uuid}"
    call(connection.placement, f"removing resource provider {uuid}", "DELETE", path)
