"""What `gpufarm host plan|apply|verify|rollback` do to each host: its cards, or a farm's settings.

What is decided here: a host spec says the one, a farm file the other. Both are put on hosts and
taken back by the same agent, each with a journal of its own.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gpufarm.cli.base import UsageError
from gpufarm.host import services
from gpufarm.host.apply import Applied, prepare
from gpufarm.host.plan import feasible, plan
from gpufarm.host.rollout import Looked, TakenBack, look, prepare_and_reboot, take_back
from gpufarm.host.target import Target
from gpufarm.model.farm import Farm
from gpufarm.model.host_change import HostPlan
from gpufarm.model.host_spec import HostSpec
from gpufarm.nova import rollout

if TYPE_CHECKING:
    from gpufarm.host.ids import Names
    from gpufarm.model.services import Services
    from gpufarm.system.agent import Book


class Work(Protocol):
    """`staged`: some hosts come before others. `waves`: a change interrupts what a host does."""

    book: "Book"
    staged: bool
    waves: bool

    def rank(self, target: Target, /) -> int:
        """Which hosts are changed first: those of the lowest rank; they come back last."""

    def plan(self, target: Target) -> HostPlan: ...

    def apply(self, target: Target) -> Applied: ...

    def look(self, target: Target) -> Looked: ...

    def take_back(self, target: Target) -> TakenBack: ...


def of(parsed: argparse.Namespace) -> Work:
    """The work that the options ask for. Raises DocumentError, FarmError, UsageError."""
    from gpufarm.host import names
    from gpufarm.model import farm, host_spec
    from gpufarm.system.machine import Machine

    if parsed.farm:
        if getattr(parsed, "reboot", False):
            raise UsageError("--reboot goes with --spec: a farm's settings restart services only")
        return Settings(farm.read(parsed.farm), prune=parsed.prune)
    if getattr(parsed, "prune", False):
        raise UsageError("--prune goes with --farm")
    spec = host_spec.read(parsed.spec)
    return Cards(spec, names.load(Machine()), reboots=getattr(parsed, "reboot", False))


def to_take_back(parsed: argparse.Namespace) -> Work:
    """The same for a rollback, which reads neither file: the journal knows what was done."""
    from gpufarm.host.ids import Names

    if parsed.farm:
        if parsed.reboot:
            raise UsageError("--reboot goes with --spec: a farm's settings restart services only")
        return Settings(Farm(version=1, name="any", release=34), prune=False)
    return Cards(HostSpec(version=1, cards=()), Names(), reboots=parsed.reboot)


def stages(ranked: Sequence[tuple[Target, int]]) -> list[list[Target]]:
    """The hosts of each rank, lowest first."""
    ranks = sorted({rank for _, rank in ranked})
    return [[target for target, own in ranked if own == rank] for rank in ranks]


class Cards:
    """Hosts made ready to give cards to VMs."""

    book: "Book" = "prepare"
    staged = False

    def __init__(self, spec: HostSpec, names: "Names", *, reboots: bool) -> None:
        self.waves = reboots
        self._spec = spec
        self._names = names

    def rank(self, _: Target, /) -> int:
        return 0

    def plan(self, target: Target) -> HostPlan:
        return feasible(target.name, plan(target.facts(), self._spec, self._names))

    def apply(self, target: Target) -> Applied:
        work = prepare_and_reboot if self.waves else prepare
        return work(target, self._spec, self._names)

    def look(self, target: Target) -> Looked:
        return look(target, self._spec, self._names)

    def take_back(self, target: Target) -> TakenBack:
        return take_back(target, reboots=self.waves)


class Settings:
    """A farm's settings on hosts that run Nova. `prune` takes away those of other cards."""

    book: "Book" = "settings"
    staged = True
    waves = True

    def __init__(self, farm: Farm, *, prune: bool) -> None:
        self._farm = farm
        self._prune = prune

    def rank(self, target: Target, /) -> int:
        """Computes first: the scheduler is told to look for what they report."""
        return 0 if rollout.is_compute_only(_services(target)) else 1

    def plan(self, target: Target) -> HostPlan:
        return feasible(target.name, self._planned(target, _services(target)))

    def apply(self, target: Target) -> Applied:
        return services.put(target, _services, lambda found: self._planned(target, found))

    def look(self, target: Target) -> Looked:
        found = _services(target)
        return Looked(rollout.verify(self._farm, found, target.name, prune=self._prune))

    def take_back(self, target: Target) -> TakenBack:
        return services.take_back(target, _services)

    def _planned(self, target: Target, found: "Services") -> HostPlan:
        return rollout.plan(self._farm, found, target.name, prune=self._prune)


def _services(target: Target) -> "Services":
    return services.look(target, rollout.FILES, rollout.SERVICES, (rollout.KOLLA,))
