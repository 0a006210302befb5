"""Carries out a plan, and makes sure of it.

What is decided here: the order of calls, and what a failure means. Nothing is remembered but in the
cloud itself: whatever is interrupted, the next apply reads, plans and goes on. What somebody else
changed meanwhile, another apply for example, shows as a conflict or as a thing that is gone: it is
then read and planned anew, a few times.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from gpufarm.catalog.apply import aggregates, flavors, images
from gpufarm.catalog.apply.door import Door
from gpufarm.catalog.fitness import check_hosts
from gpufarm.catalog.plan import Files, plan, refuse_replacements
from gpufarm.model.catalog import Catalog
from gpufarm.model.change import Change
from gpufarm.model.errors import CloudConflict, CloudError, NotInCloud
from gpufarm.model.farm import Farm

MOST_ROUNDS = 12
MOST_TIMES_STUCK = 3
"""Rounds in a row that end in a conflict without anything having changed."""
STUCK_SECONDS = 0.5


def apply(
    farm: Farm,
    door: Door,
    files: Files,
    *,
    prune: bool = False,
    replace: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Change, ...]:
    """Make the cloud as `farm` says and return what was changed; `told` hears of each call.

    Raises FarmError before the first change for a plan that cannot be carried out, CloudError
    where the cloud does not do as asked or does not end up as planned.
    """
    done: dict[tuple[str, str, str], Change] = {}
    stuck = 0
    before: tuple[Change, ...] = ()
    failure: CloudError | None = None
    for _ in range(MOST_ROUNDS):
        catalog = door.read()
        check_hosts(farm, catalog.hosts)
        changes = plan(farm, catalog, files, prune=prune)
        if not changes:
            return tuple(done.values())
        if not replace:
            refuse_replacements(changes)
        stuck = stuck + 1 if changes == before else 0
        _give_up(stuck, changes, failure)
        before, failure = changes, _attempt(carry_out(farm, changes, catalog, files, door), told)
        if failure is None:
            done |= {(change.action, change.kind, change.name): change for change in changes}
    raise failure or _unequal(before)


def _attempt(steps: Iterator[str], told: Callable[[str], None]) -> CloudError | None:
    """Take all `steps`; the conflict that ended them early, if one did."""
    try:
        for text in steps:
            told(text)
    except (CloudConflict, NotInCloud) as error:
        return error
    return None


def _give_up(stuck: int, changes: Sequence[Change], failure: CloudError | None) -> None:
    """Raise where the plan is what it was before, without a conflict or after several."""
    if stuck and failure is None:
        raise _unequal(changes)
    if stuck >= MOST_TIMES_STUCK:
        raise CloudConflict(
            f"{failure}. That was tried {MOST_TIMES_STUCK + 1} times and nothing else changed "
            "meanwhile: the cloud refuses it for the reason that it gives"
        ) from failure
    if stuck:
        time.sleep(STUCK_SECONDS)


def carry_out(
    farm: Farm, changes: Sequence[Change], catalog: Catalog, files: Files, door: Door
) -> Iterator[str]:
    """Do it call by call, saying before each what it does.

    Flavors come after what they need, and what goes, goes last: users before what they use. Only
    the hosts of an aggregate that goes leave it first, since they may have to be in another zone.
    """
    kept = [change for change in changes if change.action != "remove"]
    gone = [change for change in changes if change.action == "remove"]
    yield from aggregates.empty(_of(aggregates.KIND, gone), catalog, door)
    yield from aggregates.carry_out(farm, _of(aggregates.KIND, kept), catalog, door)
    for change in _of(images.KIND, kept):
        yield from images.carry_out(farm, change, catalog, files, door)
    for change in _of(flavors.KIND, kept):
        yield from flavors.carry_out(farm, change, catalog, door)
    for change in _of(flavors.KIND, gone):
        yield from flavors.remove(change.name, catalog, door)
    for change in _of(images.KIND, gone):
        yield from images.remove(farm, change.name, catalog, door)
    for change in _of(aggregates.KIND, gone):
        yield from aggregates.remove(change.name, catalog, door)


def _of(kind: str, changes: Sequence[Change]) -> list[Change]:
    return [change for change in changes if change.kind == kind]


def _unequal(changes: Sequence[Change]) -> CloudError:
    listed = ", ".join(f"{change.kind} {change.name}" for change in changes)
    return CloudError(
        f"after every call succeeded the cloud still differs from the farm file in {listed}: "
        "somebody else changes the same, or the cloud does not keep what it is given; "
        "`gpufarm farm plan` shows it"
    )
