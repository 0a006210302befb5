"""A cloud's own hosts and requests, in the columns of the trace.

What is decided here: which of a cloud's servers count as requests, and how many cards were wanted
at once.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from gpufarm.model.cloud import Provider, Value
from gpufarm.model.errors import SimulationImpossible
from gpufarm.model.server import Asked
from gpufarm.simulate.trace import NODE_COLUMNS, REQUEST_COLUMNS, SPEC, WHOLE, Node
from gpufarm_nova.lesson import Request

TIMES = ("pod_phase", "creation_time", "deletion_time")


class Came(Value, frozen=True):
    """A request and its server's time, in seconds since 1970; `ended` is None while it is there."""

    name: str
    kind: Request
    created: float
    ended: float | None
    failed: bool


def nodes(providers: Iterable[Provider], classes: Mapping[str, str]) -> tuple[Node, ...]:
    """Hosts by name, as Placement has them: after allocation ratios, without what is reserved.

    `classes` gives the name of a card by its resource class. Raises SimulationImpossible for a host
    with cards of two models, which the trace has no column for.
    """
    found = list(providers)
    cards: dict[str, dict[str, int]] = {}
    for each in found:
        for name, stock in each.inventories.items():
            if name in classes:
                mine = cards.setdefault(each.root_uuid, {})
                mine[classes[name]] = mine.get(classes[name], 0) + stock.total
    hosts = []
    for root in found:
        if root.uuid != root.root_uuid or not {"VCPU", "MEMORY_MB"} <= set(root.inventories):
            continue
        models = cards.get(root.uuid, {})
        if len(models) > 1:
            listed = ", ".join(sorted(models))
            raise SimulationImpossible(
                f"{root.name} has cards of several models ({listed}), and a row of a trace has one"
            )
        model, number = next(iter(models.items()), ("", 0))
        vcpus, memory_mb = (
            (stock.total - stock.reserved) * stock.allocation_ratio
            for stock in (root.inventories["VCPU"], root.inventories["MEMORY_MB"])
        )
        hosts.append(
            Node(name=root.name, vcpus=vcpus, memory_mb=memory_mb, cards=number, model=model)
        )
    return tuple(sorted(hosts, key=lambda host: host.name))


def came(asked: Iterable[Asked], cards: Callable[[Asked], Mapping[str, int]]) -> tuple[Came, ...]:
    """In the order in which they came. `cards` says which cards a server takes."""
    return tuple(
        Came(
            name=each.id,
            kind=Request(tuple(sorted(cards(each).items())), each.vcpus, each.memory_mb),
            created=_seconds(each.created),
            ended=_seconds(each.ended) if each.ended else None,
            failed=each.failed,
        )
        for each in asked
    )


def peaks(requests: Sequence[Came]) -> dict[str, float]:
    """By model: the most cards that servers had at once, and those of servers that found no place
    besides."""
    steps = []
    refused: dict[str, float] = {}
    for each in requests:
        for model, number in each.kind.cards:
            if each.failed:
                refused[model] = refused.get(model, 0) + number
                continue
            steps.append((each.created, number, model))
            if each.ended is not None:
                steps.append((max(each.ended, each.created), -number, model))
    used: dict[str, float] = {}
    most: dict[str, float] = {}
    for _, number, model in sorted(steps):
        used[model] = used.get(model, 0) + number
        most[model] = max(most.get(model, 0), used[model])
    return {model: most.get(model, 0) + refused.get(model, 0) for model in {*most, *refused}}


def nodes_csv(hosts: Iterable[Node]) -> str:
    rows = [
        (host.name, round(host.vcpus * WHOLE), int(host.memory_mb), host.cards, host.model)
        for host in hosts
    ]
    return _csv(NODE_COLUMNS, rows)


def requests_csv(requests: Iterable[Came]) -> str:
    """Raises SimulationImpossible for a server with cards of two models."""
    rows = []
    for each in requests:
        if len(each.kind.cards) > 1:
            raise SimulationImpossible(
                f"server {each.name} has cards of several models, and a row of a trace has one"
            )
        model, number = next(iter(each.kind.cards), ("", 0))
        rows.append(
            (
                each.name,
                round(each.kind.vcpus * WHOLE),
                int(each.kind.memory_mb),
                number,
                WHOLE if number else 0,
                model,
                "Failed" if each.failed else "Running" if each.ended is None else "Succeeded",
                round(each.created),
                "" if each.ended is None else round(each.ended),
            )
        )
    return _csv((*REQUEST_COLUMNS, SPEC, *TIMES), rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def _seconds(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
