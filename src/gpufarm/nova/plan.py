"""Which Nova settings of a running cloud differ from the farm's.

What is decided here: whether a role's settings are to be written. They can be read only where the
files can be: in the lab.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gpufarm.model.change import Action, Change, differences
from gpufarm.model.farm import Farm
from gpufarm.model.settings import Settings, parse, render
from gpufarm.nova import settings

KIND: Final = "nova-settings"


def wanted(farm: Farm, roles: Iterable[str]) -> dict[str, str]:
    """{role: text of its settings file}; a role is controller, placement or compute/HOST."""
    heading = settings.heading(farm)
    return {role: render(of_role(farm, role), heading) for role in roles}


def plan(farm: Farm, now: Mapping[str, str]) -> tuple[Change, ...]:
    """One change for each role in `now` whose text there says something else than the farm."""
    changes = []
    for role, text in sorted(now.items()):
        fields = differences(parse(text).flat(), of_role(farm, role).flat())
        if fields:
            action: Action = "change" if text else "create"
            reason = "differs from the farm file" if text else "no settings yet"
            changes.append(Change(action, KIND, role, fields, reason))
    return tuple(changes)


def of_role(farm: Farm, role: str) -> Settings:
    """The settings of `role`; ValueError for one that no cloud has."""
    kind, _, host = role.partition("/")
    if kind == "compute" and host:
        return settings.compute(farm, host)
    if role == "controller":
        return settings.controller(farm)
    if role == "placement":
        return settings.placement(farm)
    raise ValueError(role)
