"""The two tables of `gpufarm capacity` and what is to be said beside them."""

from gpufarm.capacity.cards import CardRow, cards
from gpufarm.capacity.filters import unknown
from gpufarm.capacity.flavors import UNKNOWN_ALIAS, UNKNOWN_NUMA, FlavorRow, at_most, flavors
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.farm import CARDS_MARK


def parts(snapshot: Snapshot) -> tuple[tuple[CardRow, ...], tuple[FlavorRow, ...]]:
    return cards(snapshot), flavors(snapshot)


def notes(snapshot: Snapshot) -> tuple[str, ...]:
    """Why a table is empty or says nothing."""
    texts = []
    if not snapshot.devices():
        texts.append(
            "Placement knows no card: set [pci]report_in_placement on the hosts with cards "
            "(`gpufarm farm apply` does)"
        )
    texts += [
        f"flavor {row.flavor}: no API shows which cards its alias asks for: set its property "
        f"{CARDS_MARK} to ALIAS=RESOURCE_CLASS"
        for row in flavors(snapshot)
        if row.limited_by == UNKNOWN_ALIAS
    ]
    texts += [
        f"the scheduler's filter {name} is not known to gpufarm: can_start is at most that"
        for name in unknown(snapshot.scheduler)
    ]
    texts += [
        f"flavor {name}: hosts that a filter refuses fill Placement's list of "
        f"{snapshot.scheduler.max_candidates} candidates, and not every host that would take a "
        "server is on it: can_start is at most that"
        for name in at_most(snapshot)
    ]
    if any(row.limited_by == UNKNOWN_NUMA for row in flavors(snapshot)):
        texts.append(
            "no API shows the NUMA nodes of hosts: --hosts names host files that do, for flavors "
            "that ask for nodes or pinned CPUs"
        )
    return tuple(texts)
