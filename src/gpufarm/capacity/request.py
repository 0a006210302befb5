"""The request that Nova's scheduler would make to Placement for one server.

What is decided here: the query of GET /allocation_candidates. It is put together as nova/scheduler/
{request_filter,utils,manager}.py and nova/objects/request_spec.py do it, one group for each card.
Left out: OWNER_NOVA, which from Nova 34 on every provider of Nova has, and what ports and device
profiles ask for.
"""

import re
from collections import Counter
from collections.abc import Iterable

from gpufarm.capacity.filters import TENANT_KEY
from gpufarm.capacity.obstacles import TRAIT_KEY
from gpufarm.capacity.rooms import DISABLED_TRAIT, Need
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudAggregate

Query = tuple[tuple[str, str], ...]

# nova/scheduler/utils.py, ResourceRequest.XS_KEYPAT
_GRANULAR = re.compile(r"^(resources|trait)([a-zA-Z0-9_-]{1,64})?:(.*)$")


def queries(snapshot: Snapshot, wanted: Need) -> tuple[Query, ...]:
    """One; two where Nova asks again with VCPU in the place of PCPU."""
    first = _query(snapshot, wanted, wanted.amounts)
    if "PCPU" not in wanted.amounts or not snapshot.scheduler.vcpu_for_pcpu:
        return (first,)
    shared = {name: amount for name, amount in wanted.amounts.items() if name != "PCPU"}
    return (first, _query(snapshot, wanted, shared | {"VCPU": wanted.vcpus}))


def total(wanted: Need) -> dict[str, int]:
    """{resource class: amount} of all groups (nova/scheduler/utils.py, merged_resources)."""
    found = Counter(wanted.cards)
    found.update(wanted.amounts)
    for given in _groups(wanted)[0].values():
        found.update({name: int(amount) for name, amount in given.items() if amount.isdigit()})
    return dict(found)


def _query(snapshot: Snapshot, wanted: Need, amounts: dict[str, int]) -> Query:
    resources, traits = _groups(wanted)
    resources.setdefault("", {}).update({name: str(amounts[name]) for name in amounts})
    traits.setdefault("", set()).update(wanted.required | {f"!{name}" for name in wanted.forbidden})
    cards = [name for name, number in sorted(wanted.cards.items()) for _ in range(number)]
    for place, name in enumerate(cards):
        resources[f"_CARD{place}"] = {name: "1"}
        traits[f"_CARD{place}"] = set(wanted.card_traits.get(name, ()))
    query = [
        ("limit", str(snapshot.scheduler.max_candidates)),
        ("root_required", f"!{DISABLED_TRAIT}"),
    ]
    if len(resources) > 1:
        # What Nova takes for more than one group where the flavor names no policy.
        query.append(("group_policy", wanted.properties.get("group_policy", "none")))
    query += [
        (f"resources{group}", _listed(f"{name}:{amount}" for name, amount in given.items()))
        for group, given in sorted(resources.items())
        if given
    ]
    query += [(f"required{group}", _listed(given)) for group, given in traits.items() if given]
    query += [("member_of", member) for member in _members(snapshot, wanted)]
    return tuple(query)


def _groups(wanted: Need) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    """{suffix: {resource class: amount}} and {suffix: traits}, as the flavor itself says; the
    amounts of the host's own classes are `wanted.amounts` already."""
    resources: dict[str, dict[str, str]] = {}
    traits: dict[str, set[str]] = {}
    for key, value in sorted(wanted.properties.items()):
        named = _GRANULAR.match(key)
        if named is None:
            continue
        group, name = named[2] or "", named[3]
        if named[1] == "trait" and group:
            mark = "!" if value == "forbidden" else ""
            traits.setdefault(group, set()).add(mark + name)
        elif named[1] == "resources" and value != "0" and (group or name not in wanted.amounts):
            resources.setdefault(group, {})[name] = value
    return resources, traits


def _members(snapshot: Snapshot, wanted: Need) -> list[str]:
    scheduler, aggregates = snapshot.scheduler, snapshot.aggregates
    zone = wanted.zone or scheduler.schedule_zone
    members = [_any_of(found for found in aggregates if zone and found.zone == zone)]
    if scheduler.tenant_aggregates:
        members.append(
            _any_of(
                found
                for found in aggregates
                if any(
                    key.startswith(TENANT_KEY) and value == wanted.project
                    for key, value in found.properties.items()
                )
            )
        )
    if scheduler.isolated_aggregates:
        asked = wanted.required.union(*wanted.card_traits.values())
        closed = _any_of(
            found
            for found in aggregates
            if any(
                key.startswith(TRAIT_KEY)
                and value == "required"
                and key.removeprefix(TRAIT_KEY) not in asked
                for key, value in found.properties.items()
            )
        )
        members.append(f"!{closed}" if closed else "")
    return [member for member in members if member]


def _any_of(aggregates: Iterable[CloudAggregate]) -> str:
    uuids = sorted(found.uuid for found in aggregates if found.uuid)
    return f"in:{','.join(uuids)}" if uuids else ""


def _listed(words: Iterable[str]) -> str:
    return ",".join(sorted(words))
