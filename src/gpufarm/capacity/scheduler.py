"""What the settings of Nova's scheduler and API say, where somebody shows them.

What is decided here: which options matter for where a server may start, their defaults, and what is
assumed where no settings can be read: no API gives them. The names are those of nova/conf/
{scheduler,availability_zone,pci,workarounds}.py, releases 29 to 34.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from gpufarm.model.release import DEFAULT_FILTERS
from gpufarm.model.settings import Options, Settings
from gpufarm_nova.lesson import Lesson
from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts

ASSUMED = "assumed"
"""Where the settings are from when nobody shows any."""

FARM_FILTERS = (
    *DEFAULT_FILTERS,
    "PciPassthroughFilter",
    "NUMATopologyFilter",
    "AggregateInstanceExtraSpecsFilter",
)
"""What `gpufarm farm` configures, and so what is assumed of a cloud that shows no settings."""

_TRUE = ("1", "on", "t", "true", "y", "yes")
"""oslo_utils.strutils.TRUE_STRINGS."""

_WRONG = (ValueError, LookupError, TypeError)
"""What a value raises that the scheduler would not start with."""

UNIFIED_LIMITS = "nova.quota.UnifiedLimitsDriver"

WEIGHER = "gpufarm_nova.weigher.GpuPackingWeigher"

MAX_SERVERS = 50
MAX_CANDIDATES = 1000


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One of [pci]alias: the resource class and traits it asks Placement for."""

    resource_class: str
    traits: frozenset[str] = frozenset()
    numa_policy: str = "legacy"
    live_migratable: bool = False


class UnifiedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What Nova makes of a resource for which Keystone has no limit: whether those `listed` have to
    have one (`required`), or all others."""

    required: bool = True
    listed: frozenset[str] = frozenset({"servers"})

    def barred(self, name: str) -> bool:
        """Whether nothing of `name` may be had without a limit (nova/limit/utils.py)."""
        return (name in self.listed) == self.required


class Packing(msgspec.Struct, frozen=True, kw_only=True):
    """What gpufarm_nova's weigher goes by: names of `cards` by resource class, and the GPU flavors.

    `file` is its packing_file, `lesson` what that holds, `problem` why it could not be read.
    """

    cards: dict[str, str]
    flavors: tuple[Flavor, ...]
    file: str | None = None
    lesson: Lesson | None = None
    problem: str = ""


class Scheduler(msgspec.Struct, frozen=True, kw_only=True):
    """`source` says where the settings were read, for the user; `filters` are in Nova's order."""

    source: str = ASSUMED
    filters: tuple[str, ...] = FARM_FILTERS
    aliases: dict[str, Alias] = {}
    isolated_aggregates: bool = False
    tenant_aggregates: bool = False
    tenant_aggregates_required: bool = False
    default_zone: str = "nova"
    schedule_zone: str | None = None
    max_servers: int = MAX_SERVERS
    max_candidates: int = MAX_CANDIDATES
    vcpu_for_pcpu: bool = True
    """Whether pinned CPUs are asked for as VCPU too (disable_fallback_pcpu_query turns it off)."""
    reserves: dict[str, Amounts] = {}
    """What gpufarm_nova's filter keeps for a free card, by resource class."""
    reserve_share: float = 1.0
    packing: Packing | None = None
    """Where gpufarm_nova's weigher is configured."""
    unified_limits: UnifiedLimits | None = None
    """Where Nova takes its quotas from Keystone."""

    @property
    def open_hosts(self) -> frozenset[str]:
        """Hypervisors on which ordinary servers may take the reserve, as far as the lesson of
        gpufarm_nova could be read."""
        lesson = self.packing.lesson if self.packing else None
        return lesson.open_hosts if lesson else frozenset()


def from_settings(settings: Settings, source: str) -> Scheduler:
    """The scheduler that runs with `settings`; what they do not say is Nova's default.

    They may hold Placement's own settings too.
    """
    filters = settings.sections.get("filter_scheduler", {})
    scheduler = settings.sections.get("scheduler", {})
    placement = settings.sections.get("placement", {})
    default = settings.sections.get("DEFAULT", {})
    plugin = settings.sections.get("gpufarm", {})
    named = _last(filters, "enabled_filters") or ",".join(DEFAULT_FILTERS)
    return Scheduler(
        source=source,
        filters=tuple(name.strip() for name in named.split(",") if name.strip()),
        aliases=_aliases(settings.sections.get("pci", {})),
        isolated_aggregates=_true(scheduler, "enable_isolated_aggregate_filtering"),
        tenant_aggregates=_true(scheduler, "limit_tenants_to_placement_aggregate"),
        tenant_aggregates_required=_true(scheduler, "placement_aggregate_required_for_tenants"),
        default_zone=_last(default, "default_availability_zone") or "nova",
        schedule_zone=_last(default, "default_schedule_zone"),
        max_servers=_number(filters, "max_instances_per_host", MAX_SERVERS),
        # What Placement makes is limited by its own setting, before Nova's limit is applied.
        max_candidates=min(
            _number(scheduler, "max_placement_results", MAX_CANDIDATES),
            _number(placement, "max_allocation_candidates", MAX_CANDIDATES),
        ),
        vcpu_for_pcpu=not _true(
            settings.sections.get("workarounds", {}), "disable_fallback_pcpu_query"
        ),
        reserves=_reserves(plugin),
        reserve_share=_share(plugin),
        packing=_packing(plugin) if WEIGHER in _list(filters, "weight_classes") else None,
        unified_limits=_unified_limits(settings.sections.get("quota", {})),
    )


def _reserves(options: Options) -> dict[str, Amounts]:
    """As gpufarm_nova/options.py takes them; with a wrong one the scheduler does not start."""
    return {_alias(card).resource_class: amounts for card, amounts in _cards(options)}


def _cards(options: Options) -> Iterator[tuple[dict[str, Any], Amounts]]:
    for text in options.get("reserve", ()):
        with contextlib.suppress(*_WRONG):
            each = json.loads(text)
            yield each, Amounts(float(each["vcpus"]), float(each["memory_mb"]))


def _packing(options: Options) -> Packing | None:
    """None where the weigher is switched off."""
    with contextlib.suppress(ValueError):
        if float(_last(options, "packing_weight_multiplier") or 1) <= 0:
            return None
    return Packing(
        cards={_alias(card).resource_class: str(card.get("card")) for card, _ in _cards(options)},
        flavors=tuple(_flavors(options)),
        file=_last(options, "packing_file") or None,
    )


def _flavors(options: Options) -> Iterator[Flavor]:
    for text in options.get("gpu_flavors", ()):
        with contextlib.suppress(*_WRONG, AttributeError, OverflowError):
            each = json.loads(text)
            cards = tuple(sorted((name, int(number)) for name, number in each["cards"].items()))
            if all(number > 0 for _, number in cards):
                amounts = float(each["vcpus"]), float(each["memory_mb"])
                yield Flavor(str(each["name"]), cards, *amounts)


def _share(options: Options) -> float:
    try:
        return float(_last(options, "reserve_share") or 1)
    except ValueError:
        return 1.0


def _unified_limits(options: Options) -> UnifiedLimits | None:
    if _last(options, "driver") != UNIFIED_LIMITS:
        return None
    listed = _last(options, "unified_limits_resource_list")
    return UnifiedLimits(
        required=_last(options, "unified_limits_resource_strategy") != "ignore",
        listed=frozenset(name.strip() for name in (listed or "servers").split(",")),
    )


def _aliases(options: Options) -> dict[str, Alias]:
    """As nova/pci/request.py reads them; what is no alias in JSON is left out: Nova says why."""
    found = {}
    for text in options.get("alias", ()):
        try:
            alias = json.loads(text)
        except ValueError:
            continue
        if isinstance(alias, dict) and isinstance(alias.get("name"), str):
            found[alias["name"]] = _alias(alias)
    return found


def _alias(alias: dict[str, Any]) -> Alias:
    """A class given without CUSTOM_ gets it; without one it is made of the ids
    (nova/compute/pci_placement_translator.py, get_resource_class)."""
    name = re.sub(r"[^A-Z0-9]+", "_", str(alias.get("resource_class") or "").upper())
    if not name:
        name = f"PCI_{alias.get('vendor_id')}_{alias.get('product_id')}".upper()
    traits = (trait.strip().upper() for trait in str(alias.get("traits") or "").split(","))
    return Alias(
        resource_class="CUSTOM_" + name.removeprefix("CUSTOM_"),
        traits=frozenset(trait for trait in traits if trait),
        numa_policy=str(alias.get("numa_policy") or "legacy"),
        live_migratable=str(alias.get("live_migratable")).lower() in _TRUE,
    )


def _list(options: Options, name: str) -> list[str]:
    return [each.strip() for each in (_last(options, name) or "").split(",")]


def _last(options: Options, name: str) -> str | None:
    """oslo.config takes the last of several values."""
    values = options.get(name, ())
    return values[-1] if values else None


def _true(options: Options, name: str) -> bool:
    return (_last(options, name) or "").lower() in _TRUE


def _number(options: Options, name: str, default: int) -> int:
    value = _last(options, name) or ""
    return int(value) if value.isdigit() else default
