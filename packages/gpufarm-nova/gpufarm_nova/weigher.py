"""Nova's weigher that puts servers where the least is lost for later ones.

What is decided here: which part of a host the rule is asked about, and what its answers weigh. The
rule is `packing`. A server that is bound to one NUMA cell is weighed on that cell as if it were the
host; one that is bound to several, on the whole host.

Hosts weigh by the order of their losses, not by their size: Nova spreads a weigher's weights over 0
to 1, and one host with a large loss would make all others nearly equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable

import nova.conf
from nova.scheduler import utils, weights
from oslo_log import log as logging

from gpufarm_nova import hosts, options
from gpufarm_nova.once import Once
from gpufarm_nova.packing import DIGITS, Packing
from gpufarm_nova.reading import shared

if TYPE_CHECKING:
    from gpufarm_nova.lesson import Lesson

LOG = logging.getLogger(__name__)

MULTIPLIER = "packing_weight_multiplier"
"""The option, and the key in the metadata of aggregates."""


class GpuPackingWeigher(weights.BaseHostWeigher):
    """The host that loses least by a server is the first."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = options.read(nova.conf.CONF)
        self.reader = shared(self._settings)
        self._rule: tuple[Lesson | None, Packing] = (None, Packing(self._settings.flavors))
        self.faults = Once(LOG)

    def weight_multiplier(self, host_state: Any) -> float:
        multiplier: float = utils.get_weight_multiplier(
            host_state, MULTIPLIER, self._settings.packing_weight_multiplier
        )
        return multiplier

    def weigh_objects(self, weighed_obj_list: Iterable[Any], weight_properties: Any) -> list[float]:
        """The less a host loses the more it weighs. An error makes all hosts weigh the same."""
        states = [weighed.obj for weighed in weighed_obj_list]
        try:
            return ranks(self._losses(states, weight_properties))
        except Exception as error:  # noqa: BLE001 - whatever it is, scheduling goes on
            self.faults.log(error, "GpuPackingWeigher weighs no host")
            return [0.0] * len(states)

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        return -self._losses([obj], weight_properties)[0]

    def _losses(self, states: list[Any], spec: Any) -> list[float]:
        settings, reading = self._settings, self.reader.reading()
        asked = hosts.asked(spec, settings)
        seen = [
            hosts.whole(state, settings, reading, hosts.free(state, settings, reading))
            for state in states
        ]
        packing = self._packing(reading.lesson)
        supply = packing.supply(seen)
        opened = reading.lesson.open_hosts if reading.lesson else frozenset()
        is_open = [state.nodename in opened for state in states]
        if spec.numa_topology is None:
            server = hosts.size(spec)
            return [
                packing.loss(host, server, asked, supply, is_open=here)
                for host, here in zip(seen, is_open)
            ]
        losses = []
        for state, host, here in zip(states, seen, is_open):
            place = hosts.place(state, spec, host)
            cells = list(hosts.cells(state, spec, settings, reading))
            if len(cells) == 1:
                (place,) = cells
            loss = packing.loss(place.host, place.server, asked, supply, is_open=here)
            losses.append(loss)
        return losses

    def _packing(self, lesson: Lesson | None) -> Packing:
        """The rule with what was learned; what it remembers stays as long as that is the same."""
        known, packing = self._rule
        if known is not lesson:
            packing = Packing(self._settings.flavors, lesson)
            self._rule = lesson, packing
        return packing


def ranks(losses: list[float]) -> list[float]:
    """0 for the smallest loss, -1 for the next one, and so on; equal ones have the same."""
    rounded = [round(loss, DIGITS) for loss in losses]
    order = {loss: -float(rank) for rank, loss in enumerate(sorted(set(rounded)))}
    return [order[loss] for loss in rounded]
