"""Whether a server with a NUMA topology of its own fits on the NUMA nodes of a host.

What is decided here: which flavors ask for NUMA nodes, and how many such servers start one after
another on nodes that are known. The rule is that of NUMATopologyFilter and nova-compute's claim
(nova/virt/hardware.py, numa_fit_instance_to_host and _numa_fit_instance_cell; nova/pci/stats.py,
_filter_pools_for_numa_cells): each node of the server goes to a node of the host of its own, which
has CPUs and memory for it, and the cards come from those nodes. Placement knows nothing of this.

No API shows a host's NUMA nodes (Nova's hypervisors have no such field, and libvirt's nodes are no
resource providers), so that they are known only where somebody tells: the lab, or host files.
"""

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from gpufarm.model.cloud import CloudFlavor

POLICY = "hw:pci_numa_affinity_policy"
IMAGE_POLICY = "hw_pci_numa_affinity_policy"
NODES = "hw:numa_nodes"

ANYWHERE = "preferred"
"""The one policy that takes a card of any node. `legacy` differs from `required` only for cards of
which the node is not known."""

_PINNED = ("dedicated", "mixed")
_MORE = ("hw:mem_page_size", "hw:pmem", "resources:PCPU")


class Cell(msgspec.Struct, frozen=True):
    """A NUMA node: what Nova may still put there, CPUs and memory times their allocation ratio.

    `largest_cpus` and `largest_memory_mb` are the most to one server: the node without the ratio
    (_numa_fit_instance_cell, "overcommitting an instance against itself").
    `cards` are the free cards by resource class.
    """

    id: int
    cpus: int
    memory_mb: int
    largest_cpus: int
    largest_memory_mb: int
    cards: dict[str, int] = {}


class Shape(msgspec.Struct, frozen=True):
    """A server's NUMA topology: `nodes` equal ones, `cards` in all and by which policy.

    `known` is False where it asks for more than is compared here: pinned CPUs, large pages, nodes
    of unequal size.
    """

    nodes: int
    cpus: int
    memory_mb: int
    policy: str
    known: bool


def shape(flavor: CloudFlavor, image: dict[str, str], policy: str = "legacy") -> Shape | None:
    """What `flavor` asks for, or the image for it; None where the server gets no NUMA topology.

    `policy` is the alias's, which the flavor's property overrides (nova/pci/request.py).
    """
    properties = flavor.properties
    number = properties.get(NODES) or image.get("hw_numa_nodes") or ""
    cpu_policy = properties.get("hw:cpu_policy") or image.get("hw_cpu_policy") or ""
    more = cpu_policy in _PINNED or "hw_mem_page_size" in image
    more = more or any(key in properties for key in _MORE)
    if not number and not more:
        return None
    nodes = int(number) if number.isdigit() and int(number) else 1
    unequal = any(key.startswith(("hw:numa_cpus.", "hw:numa_mem.")) for key in properties)
    even = flavor.vcpus % nodes == 0 and flavor.memory_mb % nodes == 0
    return Shape(
        nodes=nodes,
        cpus=flavor.vcpus // nodes,
        memory_mb=flavor.memory_mb // nodes,
        policy=properties.get(POLICY) or image.get(IMAGE_POLICY) or policy,
        known=even and not unequal and not more,
    )


def starts(cells: tuple[Cell, ...], wanted: Shape, cards: dict[str, int], most: int) -> int:
    """How many servers, at most `most`, fit on `cells` one after another."""
    for number in range(most):
        if next(_fitting(cells, wanted, cards), None) is None:
            return number
        cells = after(cells, wanted, cards, 1)
    return most


def after(
    cells: tuple[Cell, ...], wanted: Shape | None, cards: dict[str, int], times: int
) -> tuple[Cell, ...]:
    """`cells` once `times` servers have started there, as far as they fit."""
    if not cells or wanted is None:
        return cells
    for _ in range(times):
        chosen = next(_fitting(cells, wanted, cards), None)
        if chosen is None:
            break
        cells = _taken(cells, chosen, wanted, cards)
    return cells


def _fitting(
    cells: tuple[Cell, ...], wanted: Shape, cards: dict[str, int]
) -> Iterator[tuple[Cell, ...]]:
    """Ways to place one server, in Nova's order: nodes with more cards first, then those with more
    CPUs left, then those with more memory."""
    order = sorted(
        cells, key=lambda cell: (-sum(cell.cards.values()), -cell.cpus, -cell.memory_mb, cell.id)
    )
    for chosen in itertools.permutations(order, wanted.nodes):
        if all(_has_room(cell, wanted) for cell in chosen) and _has_cards(chosen, wanted, cards):
            yield chosen


def _has_room(cell: Cell, wanted: Shape) -> bool:
    return wanted.cpus <= min(cell.cpus, cell.largest_cpus) and wanted.memory_mb <= min(
        cell.memory_mb, cell.largest_memory_mb
    )


def _has_cards(chosen: Iterable[Cell], wanted: Shape, cards: dict[str, int]) -> bool:
    near = list(chosen)
    return wanted.policy == ANYWHERE or all(
        sum(cell.cards.get(name, 0) for cell in near) >= number for name, number in cards.items()
    )


def _taken(
    cells: tuple[Cell, ...], chosen: tuple[Cell, ...], wanted: Shape, cards: dict[str, int]
) -> tuple[Cell, ...]:
    near = [cell.id for cell in chosen]
    far = [cell.id for cell in cells if cell.id not in near]
    left = {cell.id: dict(cell.cards) for cell in cells}
    for name, number in cards.items():
        short = number
        for id_ in (*near, *far):
            took = min(short, left[id_].get(name, 0))
            left[id_][name] = left[id_].get(name, 0) - took
            short -= took
    return tuple(
        msgspec.structs.replace(
            cell,
            cpus=cell.cpus - (wanted.cpus if cell.id in near else 0),
            memory_mb=cell.memory_mb - (wanted.memory_mb if cell.id in near else 0),
            cards=left[cell.id],
        )
        for cell in cells
    )
