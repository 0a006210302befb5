"""What no HostState says: cards that nobody can take, how many a host has, what was learned.

Cordoned cards are records of gpufarm (docs/decisions/0009-cordons.md). One-time-use cards (Nova
32) stay reserved in Placement from when a server takes them until somebody cleans them. How many
cards a host has, those of servers included, is in Nova's table pci_devices alone; it is needed for
the fair share of one card.

All of that is read from where the scheduler reads for every request, Nova's databases and
Placement, at most every `refresh_seconds`, by one request while the others go on with the last
reading. What cannot be read stays as it was last read. An outdated reading makes the reserve too
large or too small for a while, and nothing else:

- a card that was closed just now holds its reserve for up to `refresh_seconds` more;
- a card that was opened just now is without it for as long, and an ordinary server that came in
  between stays;
- before the first reading no card counts as closed, and nothing as learned.
"""

from __future__ import annotations

import threading
import time
from typing import (
    TYPE_CHECKING,
    AbstractSet,
    Any,
    Callable,
    Iterable,
    Mapping,
    NamedTuple,
    TypeVar,
)

import sqlalchemy as sa
from nova import context as nova_context
from nova import objects
from nova.db.api import api as api_database
from nova.db.api import models as api_models
from nova.db.main import api as cell_database
from nova.db.main import models as cell_models
from nova.scheduler.client import report
from oslo_log import log as logging

from gpufarm_nova.learned import LessonFile

if TYPE_CHECKING:
    from gpufarm_nova.lesson import Lesson
    from gpufarm_nova.options import Settings

LOG = logging.getLogger(__name__)

CORDONS = "gpufarm-cordons"
"""The aggregate whose metadata are the records of cordons, by the names of the cards' providers."""

ONE_TIME_USE = "HW_PCI_ONE_TIME_USE"
VERSION = "1.18"
"""The first of Placement's microversions at which providers are asked for by traits."""

OK, BAD_REQUEST = 200, 400
GONE = ("removed", "deleted")

Counts = Mapping[str, Mapping["int | None", int]]
Value = TypeVar("Value")


class Reading(NamedTuple):
    """`closed`: names of the resource providers of cards that nobody can take. `cards`: how many
    cards there are, by the uuid of the compute node and by NUMA node. `lesson`: of packing_file."""

    closed: AbstractSet[str]
    cards: Counts
    lesson: Lesson | None = None


NOTHING = Reading(frozenset(), {})


class Reader:
    """Reads for a scheduler; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reading = NOTHING
        self._cordoned: AbstractSet[str] = frozenset()
        self._used: AbstractSet[str] = frozenset()
        self._file = LessonFile(settings.packing_file)
        self._due = 0.0
        self._busy = threading.Lock()

    @property
    def settings(self) -> Settings:
        return self._settings

    def reading(self) -> Reading:
        """The last one; a new one where that is older than `refresh_seconds`."""
        if time.monotonic() >= self._due and self._busy.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._due = time.monotonic() + self._settings.refresh_seconds
                self._busy.release()
        return self._reading

    def _read(self) -> None:
        context = nova_context.get_admin_context()
        self._cordoned = _kept("cordons", self._cordoned, lambda: cordoned(context))
        classes = sorted({card.resource_class for card in self._settings.cards})
        self._used = _kept("one-time-use cards", self._used, lambda: used(classes))
        last, models = self._reading.cards, self._settings.models
        cards = _kept("numbers of cards", last, lambda: counted(context, list(models), last))
        self._reading = Reading(self._cordoned | self._used, cards, self._file.lesson())


_readers: list[Reader] = []


def shared(settings: Settings) -> Reader:
    """The reader of filter and weigher, which have the same settings."""
    for reader in _readers:
        if reader.settings == settings:
            return reader
    _readers.append(Reader(settings))
    return _readers[-1]


def _kept(what: str, last: Value, read: Callable[[], Value]) -> Value:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - of databases and HTTP; scheduling goes on
        LOG.warning("gpufarm goes on with the last reading of %s: %r", what, error)
        return last


def cordoned(context: Any) -> frozenset[str]:
    """The names of the providers of cordoned cards."""

    @api_database.context_manager.reader
    def rows(context: Any) -> Iterable[Any]:
        metadata, aggregate = api_models.AggregateMetadata, api_models.Aggregate
        query = context.session.query(metadata.key)
        query = query.join(aggregate, aggregate.id == metadata.aggregate_id)
        return list(query.filter(aggregate.name == CORDONS))

    return frozenset(row.key for row in rows(context))


def used(classes: Iterable[str]) -> frozenset[str]:
    """The names of the providers of one-time-use cards that a server has or had: those without
    room in any of `classes`. Raises ValueError for an answer that is none."""
    wanted = _providers(f"required={ONE_TIME_USE}")
    for name in classes if wanted else ():
        wanted -= _providers(f"required={ONE_TIME_USE}&resources={name}:1")
    return wanted


def _providers(query: str) -> frozenset[str]:
    answer = report.report_client_singleton().get(f"/resource_providers?{query}", version=VERSION)
    if answer.status_code == BAD_REQUEST:
        return frozenset()  # a trait or class that Placement does not know has no provider
    if answer.status_code != OK:
        raise ValueError(f"Placement answers {answer.status_code} to {query}: {answer.text}")
    return frozenset(each["name"] for each in answer.json()["resource_providers"])


def counted(context: Any, ids: list[tuple[str, str]], last: Counts) -> Counts:
    """How many devices there are with these vendor and product ids; of a cell that does not answer,
    of which Nova writes a warning, what there was at `last`."""
    cells = [
        cell
        for cell in objects.CellMappingList.get_all(context)
        if not (cell.is_cell0() or cell.disabled)
    ]
    answers = nova_context.scatter_gather_cells(
        context, cells, nova_context.CELL_TIMEOUT, _count, ids
    ).values()
    failed = [answer for answer in answers if nova_context.is_cell_failure_sentinel(answer)]
    found: dict[str, dict[int | None, int]] = {}
    for answer in answers:
        for node, numa_node, number in () if answer in failed else answer:
            found.setdefault(node, {})[numa_node] = number
    return {**last, **found} if failed else found


@cell_database.pick_context_manager_reader
def _count(context: Any, ids: list[tuple[str, str]]) -> list[tuple[str, int | None, int]]:
    node, device = cell_models.ComputeNode, cell_models.PciDevice
    query = context.session.query(node.uuid, device.numa_node, sa.func.count(device.id))
    query = query.join(node, node.id == device.compute_node_id)
    query = query.filter(node.deleted == 0, device.deleted == 0, device.status.notin_(GONE))
    of_cards = [
        sa.and_(device.vendor_id == vendor, device.product_id == product) for vendor, product in ids
    ]
    query = query.filter(sa.or_(sa.false(), *of_cards)).group_by(node.uuid, device.numa_node)
    return [tuple(row) for row in query]
