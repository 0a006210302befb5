"""What is known of card models from elsewhere: data/cards.toml and data/displays.toml."""

import functools
import tomllib
from importlib.resources import files
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number, or whether something is so; and where that is written."""

    value: int
    source: str
    note: str | None = None


class Truth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: bool
    source: str
    note: str | None = None


class KnownCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model; every field but its name and ids may be unknown."""

    ids: tuple[str, ...]
    name: str
    memory_gb: Figure | None = None
    nvenc_sessions: Figure | None = None
    hide_kvm: Truth | None = None
    flr: Truth | None = None
    resets_badly: Truth | None = None
    sriov: Truth | None = None
    mig: Figure | None = None


class _Cards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, str]
    card: tuple[KnownCard, ...]


class DisplayGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["bmc", "integrated"]
    about: str
    source: str
    ids: tuple[str, ...]
    vendors: tuple[str, ...] = ()


class _Displays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    group: tuple[DisplayGroup, ...]


def _text(name: str) -> str:
    return (files("gpufarm.host") / "data" / name).read_text(encoding="utf-8")


@functools.cache
def sources() -> dict[str, str]:
    """Citations that several figures share, by their short name."""
    return _cards().sources


@functools.cache
def _cards() -> _Cards:
    return msgspec.convert(tomllib.loads(_text("cards.toml")), _Cards)


@functools.cache
def cards() -> dict[str, KnownCard]:
    """Every known model by its ids, `vendor:product`."""
    return {each: card for card in _cards().card for each in card.ids}


@functools.cache
def displays() -> dict[str, DisplayGroup]:
    """What is no card, by `vendor:product`, and by `vendor` where all of its displays are none."""
    groups = msgspec.convert(tomllib.loads(_text("displays.toml")), _Displays).group
    return {each: group for group in groups for each in (*group.ids, *group.vendors)}


def card(vendor_id: str, product_id: str) -> KnownCard | None:
    return cards().get(f"{vendor_id}:{product_id}")


def source(figure: Figure | Truth) -> str:
    """The citation of `figure`, in full."""
    return sources().get(figure.source, figure.source)
