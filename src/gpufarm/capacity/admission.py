"""Whether a server of a flavor can have its cards now, and if not, why and what to do.

What is decided here: yes, or one sentence that names the cards (which, how many of how many, where)
or, where cards are free, the host that lacks least and what it lacks.
"""

from collections.abc import Mapping

from gpufarm.capacity import cards, messages, quota
from gpufarm.capacity.aliases import ALIAS_SPEC, asked, card_name, known
from gpufarm.capacity.candidates import hidden
from gpufarm.capacity.cards import Count
from gpufarm.capacity.filters import unknown
from gpufarm.capacity.flavors import closest
from gpufarm.capacity.obstacle import Obstacle
from gpufarm.capacity.obstacles import every, has_cards, obstacles, rules
from gpufarm.capacity.rooms import Need, Room, need, rooms
from gpufarm.capacity.snapshot import Snapshot
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.farm import CARDS_MARK


def unjudged(snapshot: Snapshot, flavor: CloudFlavor) -> str | None:
    """Why it cannot be said beforehand whether a server of `flavor` starts; None where it can."""
    unknown = sorted(set(asked(flavor)) - known(snapshot).keys())
    if unknown:
        return (
            f"flavor {flavor.name}: no API shows which cards the alias {unknown[0]} asks for: "
            f"set the flavor's property {CARDS_MARK} to {unknown[0]}=RESOURCE_CLASS"
        )
    if asked(flavor) and not snapshot.devices():
        return (
            "Placement knows no card of any host: set [pci]report_in_placement on the hosts for "
            "servers to be checked before they start"
        )
    return None


def no_zone(snapshot: Snapshot, zone: str | None) -> str | None:
    """Why Nova takes no server for `zone`; None where it does."""
    zones = rules(snapshot).zones | {snapshot.scheduler.default_zone}
    if zone is None or zone in zones:
        return None
    return f"there is no availability zone {zone}; there are: {', '.join(sorted(zones))}"


def refusal(
    snapshot: Snapshot,
    flavor: CloudFlavor,
    zone: str | None = None,
    image: Mapping[str, str] | None = None,
) -> str | None:
    """Why no server of `flavor` can start now; None where one can, or where nobody can tell.

    A flavor without cards is left to Nova. `image` are the image's properties.
    """
    if not asked(flavor) or unjudged(snapshot, flavor):
        return None
    wanted = need_of(snapshot, flavor, zone, image)
    if wanted is None:
        return None
    over = quota.obstacles(snapshot.limits, wanted)
    of_request = no_zone(snapshot, zone) or "; ".join(messages.quota(each) for each in over)
    return of_request or of_hosts(snapshot, wanted)


def of_hosts(snapshot: Snapshot, wanted: Need) -> str | None:
    """Why no host of the snapshot takes one more such server; None where one does."""
    aliases, found, by = known(snapshot), rooms(snapshot), rules(snapshot)
    fitting = [room for room in found if not obstacles(room, wanted, by)]
    if fitting:
        cut = hidden(fitting, wanted, by, snapshot.candidates.get(wanted.flavor)) == "all"
        return messages.not_listed(fitting[0].host, by.scheduler.max_candidates) if cut else None
    with_cards = [room for room in found if has_cards(room, wanted)]
    nearest = closest(with_cards, wanted, by)
    if nearest:
        return _host_lacks(*nearest, wanted, aliases)
    counts = cards.counts(snapshot)
    for resource_class, number in sorted(wanted.cards.items()):
        by_host = {host: count for (name, host), count in counts.items() if name == resource_class}
        if all(count.free < number for count in by_host.values()):
            return _cards_gone(_title(resource_class, aliases), number, by_host)
    return _not_together(wanted, aliases)


def doubts(
    snapshot: Snapshot,
    flavor: CloudFlavor,
    zone: str | None = None,
    image: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """What nobody can say beforehand of the hosts that would take the server."""
    wanted = need_of(snapshot, flavor, zone, image)
    if wanted is None:
        return ()
    by, aliases = rules(snapshot), known(snapshot)
    unjudged_filters = tuple(
        f"filter {name}, which gpufarm does not know" for name in unknown(snapshot.scheduler)
    )
    found = {
        messages.sentence(room, each, aliases)
        for room in rooms(snapshot)
        if not obstacles(room, wanted, by)
        for each in every(room, wanted, by)
    }
    return (*unjudged_filters, *sorted(found))


def need_of(
    snapshot: Snapshot,
    flavor: CloudFlavor,
    zone: str | None,
    image: Mapping[str, str] | None,
    project: str | None = None,
) -> Need | None:
    """What a server of `flavor` takes; None where nobody tells what its alias asks for.

    It is the snapshot's project that asks, unless another is named.
    """
    return need(
        flavor,
        known(snapshot),
        image=image,
        configured=snapshot.scheduler.aliases,
        zone=zone,
        project=project or snapshot.project,
    )


def _title(resource_class: str, aliases: dict[str, str]) -> tuple[str, str]:
    return card_name(resource_class, aliases), resource_class


def _cards_gone(title: tuple[str, str], number: int, by_host: dict[str, Count]) -> str:
    card, resource_class = title
    total = sum(by_host.values(), Count())
    if not total.total:
        return (
            f"no host has a {card} card ({resource_class}); it needs {number}: check "
            f"[pci]device_spec on the hosts and {ALIAS_SPEC} of the flavor"
        )
    hosts = _several(sum(1 for count in by_host.values() if count.total), "host")
    fix = f"{_free_some(total)}, or add cards"
    held = messages.states(total)
    if total.free:
        host, most = max(by_host.items(), key=lambda pair: pair[1].free)
        return (
            f"it needs {number} {card} cards ({resource_class}) of one host, and the most that is "
            f"free on one is {most.free} ({host}); {held} of {total.total} on {hosts}: {fix}"
        )
    if total.used == total.total:
        taken = f"all {total.used} of {total.total} {card} cards ({resource_class}) are in use"
    else:
        taken = f"no {card} card ({resource_class}) is free: {held} of {total.total}"
    return f"{taken} on {hosts}; it needs {number}: {fix}"


def _free_some(count: Count) -> str:
    ways = []
    if count.used:
        ways.append("delete a server that holds one")
    if count.cordoned:
        ways.append("uncordon one")
    if count.leaked:
        ways.append("remove a leaked allocation")
    return ", ".join(ways)


def _not_together(wanted: Need, aliases: dict[str, str]) -> str:
    listed = " and ".join(
        f"{number} {card_name(name, aliases)} ({name})"
        for name, number in sorted(wanted.cards.items())
    )
    return f"no host has {listed} free together: delete servers that hold some of them"


def _host_lacks(
    room: Room, blocking: tuple[Obstacle, ...], wanted: Need, aliases: dict[str, str]
) -> str:
    free = " and ".join(
        f"{room.cards.get(name, 0)} {card_name(name, aliases)} ({name})" for name in wanted.cards
    )
    subject = f"{free} free on {room.host}" if free else f"of the hosts {room.host} is nearest"
    problems = "; ".join(messages.sentence(room, obstacle, aliases) for obstacle in blocking)
    return f"{subject}, but {problems}"


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
