"""The section [gpufarm] of the scheduler's nova.conf.

What is decided here: which options there are and which values are right. `gpufarm farm render`
writes them. Nova makes its filters and weighers while the scheduler starts,
and these read their settings then, so that a wrong one is an error at the start and not at a
request (nova/scheduler/host_manager.py, HostManager.__init__; nova-scheduler ends with it).
"""

from __future__ import annotations

import json
import math
from typing import Any, Callable, Iterable, Mapping, NamedTuple

import nova.conf
from oslo_config import cfg, types

from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts

SECTION = "gpufarm"
PCI_ID_DIGITS = 4
HEX_DIGITS = frozenset("0123456789abcdef")


class Card(NamedTuple):
    """One card model: which devices are such cards, and what a host keeps for each free one."""

    name: str
    vendor_id: str
    product_id: str
    reserve: Amounts
    resource_class: str


class Settings(NamedTuple):
    """The section as the filter and the weigher use it.

    `models` gives the name of a card by vendor and product id, `reserves` the reserve by that name.
    """

    cards: tuple[Card, ...]
    models: Mapping[tuple[str, str], str]
    reserves: Mapping[str, Amounts]
    share: float
    flavors: tuple[Flavor, ...]
    packing_file: str | None
    packing_weight_multiplier: float
    refresh_seconds: int


class Json(types.ConfigType):
    """A JSON object, made into a value by `parse`. Raises ValueError."""

    def __init__(self, parse: Callable[[Mapping[str, Any]], Any], type_name: str) -> None:
        super().__init__(type_name=type_name)
        self._parse = parse

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            raise ValueError(f"{value} is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"{value} is not a JSON object")  # noqa: TRY004 - what oslo.config catches
        try:
            return self._parse(found)
        except ValueError as error:
            raise ValueError(f"{value}: {error}") from None

    def __repr__(self) -> str:
        return str(self.type_name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self._parse is other._parse

    def __hash__(self) -> int:
        return hash(self._parse)

    def _formatter(self, value: Any) -> str:
        return str(value)


def _card(found: Mapping[str, Any]) -> Card:
    _only(found, {"card", "vendor_id", "product_id", "vcpus", "memory_mb"}, {"resource_class"})
    vendor, product = _pci_id(found, "vendor_id"), _pci_id(found, "product_id")
    given = _name(found, "resource_class") if "resource_class" in found else ""
    return Card(
        _name(found, "card"),
        vendor,
        product,
        Amounts(_amount(found, "vcpus"), _amount(found, "memory_mb")),
        # nova/compute/pci_placement_translator.py, get_resource_class
        given or f"CUSTOM_PCI_{vendor}_{product}".upper(),
    )


def _flavor(found: Mapping[str, Any]) -> Flavor:
    _only(found, {"name", "cards", "vcpus", "memory_mb"})
    cards = found["cards"]
    if not isinstance(cards, dict) or not cards:
        raise ValueError('"cards" is to be an object with a number for each card')
    for number in cards.values():
        if type(number) is not int or number < 1:
            raise ValueError(f'{number} in "cards" is no number of cards')
    return Flavor(
        _name(found, "name"),
        tuple(sorted(cards.items())),
        _amount(found, "vcpus"),
        _amount(found, "memory_mb"),
    )


def _only(found: Mapping[str, Any], needed: Iterable[str], optional: Iterable[str] = ()) -> None:
    missing = sorted(set(needed) - set(found))
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    unknown = sorted(set(found) - set(needed) - set(optional))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} unknown")


def _name(found: Mapping[str, Any], key: str) -> str:
    value = found[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f'"{key}" is to be a name')
    return value


def _pci_id(found: Mapping[str, Any], key: str) -> str:
    value = found[key]
    if not isinstance(value, str) or len(value) != PCI_ID_DIGITS or set(value.lower()) - HEX_DIGITS:
        raise ValueError(f'"{key}" is to be four hexadecimal digits, such as "10de"')
    return value.lower()


def _amount(found: Mapping[str, Any], key: str) -> float:
    value = found[key]
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise ValueError(f'"{key}" is to be a number, zero or above')
    return float(value)


OPTIONS = (
    cfg.MultiOpt(
        "reserve",
        item_type=Json(_card, "JSON object"),
        default=[],
        help="""What a host keeps for each free card of one model. Once for each model.

A JSON object: `card` (its name), `vendor_id` and `product_id` of its devices, `vcpus` (after the
host's allocation ratio; fractions are allowed) and `memory_mb`. `resource_class` is needed where
[pci] device_spec or the alias names one.

An ordinary server is refused on a host where it would leave less than that for each card that is
free there. A server that takes such a card is not refused: it draws on the reserve.

Example: {"card": "k40c", "vendor_id": "10de", "product_id": "1024", "vcpus": 4, "memory_mb": 8192}
""",
    ),
    cfg.FloatOpt(
        "reserve_share",
        default=1.0,
        min=0.0,
        max=1.0,
        help="""The most that is kept for one card, as a part of the host's fair share.

The fair share of a card is the host's vCPUs and memory divided by the number of its cards. At 1.0 a
host whose cards are all free can be kept whole.
""",
    ),
    cfg.MultiOpt(
        "gpu_flavors",
        item_type=Json(_flavor, "JSON object"),
        default=[],
        help="""A GPU flavor of the cloud. Once for each.

A JSON object: `name`, `cards` (how many of which card), `vcpus` and `memory_mb`. GpuPackingWeigher
keeps room for these. Each card needs an option `reserve`.

Example: {"name": "g1.gpu", "cards": {"k40c": 1}, "vcpus": 2, "memory_mb": 4096}
""",
    ),
    cfg.StrOpt(
        "packing_file",
        help="""The file that `gpufarm farm learn` wrote: what requests for servers look like here.

Without it GpuPackingWeigher goes by the flavors alone. So it does, with a warning, where the file
is missing or broken. A file that was written anew is read within `refresh_seconds`.
""",
    ),
    cfg.FloatOpt(
        "packing_weight_multiplier",
        default=10000.0,
        help="""How much GpuPackingWeigher counts beside Nova's other weighers.

It weighs hosts from 0 to 1 by their order. At the default it decides, and the other weighers decide
between hosts that it finds equal; only those with a multiplier of a million, which avoid hosts
where builds failed and moves to other cells, come before it. 0 switches it off. The metadata
`packing_weight_multiplier` of a host's aggregates goes before this option.
""",
    ),
    cfg.IntOpt(
        "refresh_seconds",
        default=30,
        min=1,
        help="""How old may be what the scheduler knows of cards that nobody can take.

Cordoned cards and one-time-use cards that wait for cleaning hold no reserve. A card that is opened
again may be without its reserve for so long.
""",
    ),
)


def register(conf: Any) -> None:
    conf.register_opts(OPTIONS, group=cfg.OptGroup(SECTION, title="gpufarm"))


def read(conf: Any) -> Settings:
    """The section of `conf`. Raises cfg.ConfigFileValueError for one that is wrong."""
    section = conf[SECTION]
    cards, flavors = tuple(section.reserve), tuple(section.gpu_flavors)
    _once("reserve", "card", [card.name for card in cards])
    _once("reserve", "device", [f"{card.vendor_id}:{card.product_id}" for card in cards])
    _once("gpu_flavors", "flavor", [flavor.name for flavor in flavors])
    known = {card.name for card in cards}
    for flavor in flavors:
        for name, _ in flavor.cards:
            if name not in known:
                raise _wrong("gpu_flavors", f"{flavor.name} takes {name}, which has no reserve")
    for option in ("reserve_share", "packing_weight_multiplier"):
        if not math.isfinite(section[option]):
            raise _wrong(option, f"{section[option]} is no number")
    return Settings(
        cards,
        {(card.vendor_id, card.product_id): card.name for card in cards},
        {card.name: card.reserve for card in cards},
        section.reserve_share,
        flavors,
        section.packing_file,
        section.packing_weight_multiplier,
        section.refresh_seconds,
    )


def _once(option: str, what: str, values: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for value in values:
        seen[value] = seen.get(value, 0) + 1
        if seen[value] > 1:
            raise _wrong(option, f"{what} {value} is there twice")


def _wrong(option: str, why: str) -> cfg.ConfigFileValueError:
    return cfg.ConfigFileValueError(f"[{SECTION}] {option}: {why}")


register(nova.conf.CONF)
