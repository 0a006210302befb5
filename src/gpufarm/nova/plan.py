"""Which Nova settings of a running cloud differ from the farm's.

What is decided here: whether a role's settings are to be written, and what of other cards stays in
them. They can be read only where the files can be: in the lab.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from gpufarm.model.change import Action, Change, differences
from gpufarm.model.farm import Farm
from gpufarm.model.reserve import Machine
from gpufarm.model.settings import Settings, merge, parse, render
from gpufarm.nova import settings

KIND: Final = "nova-settings"

PROVIDERS: Final = "providers/"
"""Of the role of a host's provider.yaml; every other role's file is oslo.config's."""

Machines = Mapping[str, Machine]
"""{host: what it is}, on which `reserve: hard` depends."""


def wanted(
    farm: Farm,
    roles: Iterable[str],
    now: Mapping[str, str] | None = None,
    *,
    prune: bool = True,
    machines: Machines | None = None,
) -> dict[str, str]:
    """{role: text of its file}; a role is one of `of_role`, or providers/HOST."""
    return {
        role: _text(farm, role, (now or {}).get(role, ""), prune=prune, machines=machines or {})
        for role in roles
    }


def plan(
    farm: Farm,
    now: Mapping[str, str],
    *,
    prune: bool = True,
    machines: Machines | None = None,
) -> tuple[Change, ...]:
    """One change for each role in `now` whose text there says something else than the farm.

    Without `prune`, what other cards need stays: servers and flavors of another farm, or of cards
    that left the file, go on using them.
    """
    changes = []
    for role, text in sorted(now.items()):
        to_be = _text(farm, role, text, prune=prune, machines=machines or {})
        differing = differences(said(role, text), said(role, to_be))
        if differing:
            action: Action = "change" if text else "create"
            reason = "differs from the farm file" if text else "no settings yet"
            if not to_be:
                action, reason = "remove", "the farm file asks for none"
            changes.append(Change(action, KIND, role, differing, reason))
    return tuple(changes)


def said(role: str, text: str) -> dict[str, Any]:
    """What the file of `role` says, whatever its order and comments."""
    if not role.startswith(PROVIDERS):
        return dict(parse(text).flat())
    try:
        (provider,) = yaml.safe_load(text)["providers"]
        return {
            name: inventory["total"]
            for each in provider["inventories"]["additional"]
            for name, inventory in each.items()
        }
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
        return {"text": text} if text else {}


def _text(farm: Farm, role: str, text: str, *, prune: bool, machines: Machines) -> str:
    if role.startswith(PROVIDERS):
        return settings.providers(farm, machines.get(role.removeprefix(PROVIDERS))) or ""
    to_be = _to_be(farm, role, text, prune=prune, machines=machines)
    return render(to_be, settings.heading(farm))


def of_role(farm: Farm, role: str, machines: Machines | None = None) -> Settings:
    """The settings of `role`: controller, placement, compute/HOST, or all-in-one/HOST, which is a
    controller too. ValueError for one that no cloud has.
    """
    kind, _, host = role.partition("/")
    machine = (machines or {}).get(host)
    if kind == "compute" and host:
        return settings.compute(farm, host, machine)
    if kind == "all-in-one" and host:
        return merge(settings.controller(farm), settings.compute(farm, host, machine))
    if role == "controller":
        return settings.controller(farm)
    if role == "placement":
        return settings.placement(farm)
    raise ValueError(role)


def _to_be(farm: Farm, role: str, text: str, *, prune: bool, machines: Machines) -> Settings:
    """The settings of `role`, with those of other cards that `text` has unless `prune`."""
    own = of_role(farm, role, machines)
    if prune:
        return own
    kept = {
        option: others
        for option, values in parse(text).sections.get("pci", {}).items()
        if (named := _NAMED.get(option))
        and (others := tuple(value for value in values if not named(farm, value)))
    }
    return merge(own, Settings({"pci": kept} if kept else {}))


def _names_card(farm: Farm, alias: str) -> bool:
    found = fields(alias)
    return found is None or found.get("name") in farm.cards


def _names_device(farm: Farm, spec: str) -> bool:
    found = fields(spec)
    ids = {(card.vendor_id, card.product_id) for card in farm.cards.values()}
    return found is None or (found.get("vendor_id"), found.get("product_id")) in ids


def fields(value: str) -> dict[str, object] | None:
    """Of an alias or a device_spec; None for what Nova does not take, so that no card needs it."""
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


_NAMED: Final = {"alias": _names_card, "device_spec": _names_device}
"""How to tell whether the farm's own cards have a value of these options."""
