"""Typed changes: what a plan is made of."""

from typing import Any, Literal

import msgspec

Action = Literal["create", "change", "replace", "remove"]


class FieldChange(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One field; `from_` is null where it had no value, `to` where it loses its value."""

    field: str
    from_: Any
    to: Any


class Change(msgspec.Struct, frozen=True):
    """One step of a plan. `kind` and `name` say of what, `reason` says why."""

    action: Action
    kind: str
    name: str
    changes: tuple[FieldChange, ...]
    reason: str


def differences(old: dict[str, Any], new: dict[str, Any]) -> tuple[FieldChange, ...]:
    """The fields in which `new` differs from `old`, by name; a field in one only counts."""
    return tuple(
        FieldChange(field, old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    )
