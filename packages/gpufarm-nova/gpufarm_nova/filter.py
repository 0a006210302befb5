"""Nova's filter that keeps CPU and memory for free cards.

What is decided here: which requests the rule is asked about. The rule is `reserve`. In a farm the
filter is the last one, since the earlier ones are cheaper and NUMATopologyFilter leaves the limits
that count for NUMA cells.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import nova.conf
from nova.scheduler import filters
from oslo_log import log as logging

from gpufarm_nova import hosts, options, reserve
from gpufarm_nova.once import Once
from gpufarm_nova.reading import shared

LOG = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """The place and what it keeps, which cards are free there, and what the server is short of."""

    where: str
    keep: reserve.Amounts
    cards: hosts.Cards
    missing: reserve.Shortfall


class GpuReserveFilter(filters.BaseHostFilter):
    """An ordinary server leaves what the next GPU servers need, for each card that is free."""

    RUN_ON_REBUILD = False

    def __init__(self) -> None:
        super().__init__()
        self._settings = options.read(nova.conf.CONF)
        self.reader = shared(self._settings)
        self.faults = Once(LOG)

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        """False where the server would take of what is kept. An error lets the host pass."""
        try:
            refusal = self._refusal(host_state, spec_obj)
            if refusal is not None and LOG.isEnabledFor(logging.DEBUG):
                _say(refusal, spec_obj)
        except Exception as error:  # noqa: BLE001 - whatever it is, scheduling goes on
            self.faults.log(error, "GpuReserveFilter lets %s pass", host_state.nodename)
            return True
        return refusal is None

    def _refusal(self, state: Any, spec: Any) -> Refusal | None:
        settings, reading = self._settings, self.reader.reading()
        if hosts.asked(spec, settings):
            return None
        if reading.lesson and state.nodename in reading.lesson.open_hosts:
            return None
        cards = hosts.free(state, settings, reading)
        if not any(cards.values()):
            return None
        host = hosts.place(state, spec, hosts.whole(state, settings, reading, cards))
        for place in itertools.chain([host], hosts.cells(state, spec, settings, reading)):
            keep = reserve.kept(place.host, settings.reserves, settings.share)
            missing = reserve.shortfall(place.host, place.server, keep)
            if missing is not None:
                return Refusal(place.name, keep, place.host.free, missing)
        return None


def _say(refusal: Refusal, spec: Any) -> None:
    LOG.debug(
        "%(where)s keeps %(vcpus).10g vCPU and %(memory_mb).10g MiB for free cards (%(cards)s); "
        "the server needs %(needed).10g %(what)s, and %(available).10g are left beside that",
        {
            "where": refusal.where,
            "vcpus": refusal.keep.vcpus,
            "memory_mb": refusal.keep.memory_mb,
            "cards": ", ".join(f"{number} {name}" for name, number in refusal.cards.items()),
            **refusal.missing._asdict(),
        },
        instance_uuid=spec.instance_uuid,
    )
