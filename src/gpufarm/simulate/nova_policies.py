"""Nova's own weighers as policies, for the comparison to be with what Nova really does.

What is decided here: which weighers, with which multipliers. Their weights come from Nova's
classes, one host at a time, and are spread over 0 to 1 and added up as nova/weights.py does
(BaseWeightHandler.get_weighed_objects of Nova 34). The other weighers of Nova see no difference
between the hosts of a trace: it has no disks, no builds in progress and no failures.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gpufarm.model.errors import PartMissing
from gpufarm.simulate.policies import Place, Reserved, Row
from gpufarm.simulate.trace import Node
from gpufarm_nova import reserve
from gpufarm_nova.lesson import Request

if TYPE_CHECKING:
    import numpy as np

try:
    from nova.scheduler.weights import cpu, pci, ram
except ImportError as error:
    raise PartMissing("Nova's weighers are not installed", "lab") from error

WEIGHERS = (ram.RAMWeigher(), cpu.CPUWeigher(), pci.PCIWeigher())

DEFAULT = (1.0, 1.0, 1.0)
TUNED = (-1.0, -1.0, 1000.0)
"""Servers are stacked, and cards left for those who want them."""


def state(place: Place) -> Any:
    """What the weighers look at of nova.scheduler.host_manager.HostState."""
    host = place.host
    pools = [{"count": number} for number in host.free.values() if number]
    return SimpleNamespace(
        host=place.name,
        nodename=place.name,
        free_ram_mb=host.left.memory_mb,
        vcpus_total=host.total.vcpus,
        vcpus_used=host.total.vcpus - host.left.vcpus,
        cpu_allocation_ratio=1.0,
        pci_stats=SimpleNamespace(pools=pools),
        aggregates=[],
    )


class Weighed(Reserved):
    """Base: Nova's weighers with `multipliers`."""

    multipliers = DEFAULT
    keeps = False

    def row(self, place: Place, kind: Request) -> Row | None:
        if self.keeps and self.refused(place, kind):
            return None
        seen = state(place)
        return tuple(float(weigher._weigh_object(seen, None)) for weigher in WEIGHERS)  # noqa: SLF001

    def scores(self, rows: "np.ndarray", open_: "np.ndarray") -> "np.ndarray":
        total = rows[:, 0] * 0.0
        for place, weigher in enumerate(WEIGHERS):
            weights = rows[:, place]
            among = weights[open_]
            if weigher.minval is not None:
                weights = weights.clip(min=weigher.minval)
            low = among.min() if weigher.minval is None else weigher.minval
            high = among.max() if weigher.maxval is None else weigher.maxval
            if high != low:
                total += self.multipliers[place] * ((weights - low) / (high - low))
        return -total


class Tuned(Weighed):
    multipliers = TUNED


class Closed(Weighed):
    """Hosts with GPUs take GPU servers only: an aggregate, as most clouds have it."""

    def row(self, place: Place, kind: Request) -> Row | None:
        if place.host.cards and not kind.cards:
            return None
        return super().row(place, kind)


class StaticShare(Tuned):
    """Each GPU has a fixed share of its host, the rest is for ordinary servers: two nova-compute on
    one hypervisor, as clouds of 2016 had it."""

    def nodes(self, nodes: Sequence[Node]) -> Sequence[Node]:
        found = []
        for node in nodes:
            if not node.cards:
                found.append(node)
                continue
            keep = reserve.kept(node.host(), self.settings.reserves, self.settings.share)
            parts = (
                (node.name, keep.vcpus, keep.memory_mb, node.cards),
                (
                    f"{node.name}{REST}",
                    node.vcpus - keep.vcpus,
                    node.memory_mb - keep.memory_mb,
                    0,
                ),
            )
            found += [
                Node(name=name, vcpus=vcpus, memory_mb=memory, cards=cards, model=node.model)
                for name, vcpus, memory, cards in parts
                if vcpus > 0 and memory > 0
            ]
        return found

    def row(self, place: Place, kind: Request) -> Row | None:
        if place.host.cards and not kind.cards:
            return None
        return super().row(place, kind)


REST = " (ordinary)"


class ReserveTuned(Tuned):
    """gpufarm's reserve with Nova's weighers."""

    keeps = True


POLICIES: dict[str, type[Weighed]] = {
    "nova-default": Weighed,
    "nova-tuned": Tuned,
    "gpu-hosts-closed": Closed,
    "static-share": StaticShare,
    "reserve": ReserveTuned,
}
