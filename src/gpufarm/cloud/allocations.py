"""Changing what a consumer holds in Placement, guarded by the consumer's generation."""

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
    document = _holding(adapter, consumer, held, doing)
    before = document["allocations"]
    kept = {} if everything else {uuid: part for uuid, part in before.items() if uuid not in held}
    body = {
        **document,
        "allocations": _resources(kept),
    }
    call(adapter, doing, "PUT", path, json=body)
    return before


def give_back(connection: "Connection", consumer: str, to: str, held: Held) -> Any:
    """Give all that `consumer` holds to the consumer `to`, at once and in the place of what that
    holds; returns what it was. As nova/scheduler/client/report.py, move_allocations, does it.

    CloudConflict, and nothing changed, where `consumer` no longer holds exactly `held` of those
    providers, or where somebody else writes to either meanwhile. Raises CloudError.
    """
    adapter = _at_1_28(connection.placement)
    doing = f"giving back to {to} what {consumer} holds"
    source = _holding(adapter, consumer, held, doing)
    with faults(doing):
        target = get(adapter, f"/allocations/{to}")
    owner = {key: source[key] for key in ("project_id", "user_id")}
    body = {
        consumer: {**source, "allocations": {}},
        to: {
            **owner,
            "consumer_generation": target.get("consumer_generation"),
            "allocations": _resources(source["allocations"]),
        },
    }
    call(adapter, doing, "POST", "/allocations", json=body)
    return target["allocations"]


def _holding(adapter: Any, consumer: str, held: Held, doing: str) -> Any:
    """Placement's document about the consumer; CloudConflict where it holds something else."""
    with faults(doing):
        document = get(adapter, f"/allocations/{consumer}")
    before = document["allocations"]
    now = {uuid: before.get(uuid, {}).get("resources") for uuid in held}
    if now != held:
        raise CloudConflict(f"{doing}: it holds something else by now: look again")
    return document


def _resources(parts: Any) -> dict[str, Any]:
    return {uuid: {"resources": part["resources"]} for uuid, part in parts.items()}


def _at_1_28(adapter: Any) -> Any:
    return SimpleNamespace(
        get=partial(adapter.get, microversion=WITH_GENERATIONS),
        request=partial(adapter.request, microversion=WITH_GENERATIONS),
    )


def remove_provider(connection: "Connection", uuid: str) -> None:
    """CloudConflict where something of it is in use or below it. Raises CloudError."""
    path = f"/resource_providers/{uuid}"
    call(connection.placement, f"removing resource provider {uuid}", "DELETE", path)
