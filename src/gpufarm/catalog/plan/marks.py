"""Whose an object is."""

from typing import Literal

from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm

Ownership = Literal["ours", "nobody's"]


def ownership(subject: str, mark: str | None, farm: Farm) -> Ownership:
    """By the mark it carries; FarmError for another farm's object."""
    if mark is None:
        return "nobody's"
    if mark != farm.name:
        raise FarmError(
            subject,
            f"the cloud has one that belongs to farm {mark}: rename it in this farm file, or take "
            f"it out of farm {mark} first",
        )
    return "ours"


def change_reason(owner: Ownership) -> str:
    if owner == "ours":
        return "differs from the farm file"
    return "was there before the farm: taken over"


def replace_reason(owner: Ownership, why: str) -> str:
    return why if owner == "ours" else f"{why}, and it was there before the farm"
