"""Nodes and requests as CSV, in the columns of the openb trace.

What is decided here: which rows are taken, and what they mean. Nodes: sn, cpu_milli, memory_mib,
gpu, model. Requests: name, cpu_milli, memory_mib, num_gpu, gpu_milli, and optionally gpu_spec.
Other columns are left alone.

A request with gpu_milli below 1000 shares a GPU. Passthrough cannot do that: it is left out, or
counts as one whole GPU. Where gpu_spec is empty everywhere, any card serves any request; otherwise
it names the model that a request takes.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gpufarm.model.cloud import Value
from gpufarm.model.errors import TraceInvalid
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts, Host

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
REQUEST_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
SPEC = "gpu_spec"

WHOLE = 1000
"""gpu_milli of a whole GPU; a CPU has as many cpu_milli."""

ANY_CARD = "gpu"

MOST_CARDS = 64
MOST_VCPUS_MILLI = 10_000_000
MOST_MEMORY_MB = 1 << 30


class Node(Value, frozen=True):
    """A host; `vcpus` before any allocation ratio."""

    name: str
    vcpus: float
    memory_mb: float
    cards: int
    model: str

    def host(self, cpu_ratio: float = 1.0) -> Host:
        """Empty."""
        total = Amounts(self.vcpus * cpu_ratio, self.memory_mb)
        return Host(total, total, self.cards, {self.model: self.cards} if self.cards else {})


class Trace(Value, frozen=True):
    """Hosts in the order of their file, and requests, one for each server."""

    nodes: tuple[Node, ...]
    requests: tuple[Request, ...]

    @property
    def cards(self) -> int:
        return sum(node.cards for node in self.nodes)


def read(nodes: Path, requests: Path, *, shared_as_whole: bool = False) -> Trace:
    """Raises TraceInvalid, which names the file, the line and the column."""
    by_model, kinds = _requests(requests, shared_as_whole=shared_as_whole)
    found = _nodes(nodes, by_model=by_model)
    models = {node.model for node in found if node.cards}
    if not models:
        raise TraceInvalid(str(nodes), 0, "no node has a GPU")
    for line, kind in kinds:
        for model, _ in kind.cards:
            if model not in models:
                problem = f"{SPEC}: no node has a card {model!r}"
                raise TraceInvalid(str(requests), line, problem)
    return Trace(nodes=found, requests=tuple(kind for _, kind in kinds))


def _nodes(file: Path, *, by_model: bool) -> tuple[Node, ...]:
    found = []
    names = set()
    for line, row in _rows(file, NODE_COLUMNS):
        cards = _number(file, line, row, "gpu", MOST_CARDS)
        vcpus = _number(file, line, row, "cpu_milli", MOST_VCPUS_MILLI) / WHOLE
        memory_mb = _number(file, line, row, "memory_mib", MOST_MEMORY_MB)
        name = row["sn"]
        if not vcpus or not memory_mb:
            raise TraceInvalid(str(file), line, f"node {name!r} has no CPU or no memory")
        if not name or name in names:
            problem = f"{name!r} is there twice" if name else "empty"
            raise TraceInvalid(str(file), line, f"sn: {problem}")
        names.add(name)
        model = (row["model"] if by_model else ANY_CARD) if cards else ""
        found.append(Node(name=name, vcpus=vcpus, memory_mb=memory_mb, cards=cards, model=model))
    return tuple(found)


def _requests(file: Path, *, shared_as_whole: bool) -> tuple[bool, list[tuple[int, Request]]]:
    """Whether the requests name models, and each with its line."""
    rows = []
    for line, row in _rows(file, REQUEST_COLUMNS):
        cards = _number(file, line, row, "num_gpu", MOST_CARDS)
        part = _number(file, line, row, "gpu_milli", WHOLE)
        vcpus = _number(file, line, row, "cpu_milli", MOST_VCPUS_MILLI) / WHOLE
        memory_mb = _number(file, line, row, "memory_mib", MOST_MEMORY_MB)
        if cards and part < WHOLE and not shared_as_whole:
            continue
        rows.append((line, cards, vcpus, memory_mb, (row.get(SPEC) or "") if cards else ""))
    specs = {spec for _, cards, *_, spec in rows if cards}
    by_model = specs not in (set(), {""})
    if by_model:
        for line, cards, *_, spec in rows:
            if cards and (not spec or "|" in spec):
                problem = f"{SPEC}: {spec!r}: either each request names one model, or none does"
                raise TraceInvalid(str(file), line, problem)
    kinds = []
    for line, cards, vcpus, memory_mb, spec in rows:
        taken = ((spec or ANY_CARD, cards),) if cards else ()
        kinds.append((line, Request(taken, vcpus, memory_mb)))
    return by_model, kinds


def _rows(file: Path, columns: Sequence[str]) -> Iterable[tuple[int, Mapping[str, str]]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise TraceInvalid(str(file), 1, f"columns missing: {', '.join(missing)}")
            empty = True
            for row in reader:
                empty = False
                if None in row or None in row.values():
                    problem = "not as many columns as the first line"
                    raise TraceInvalid(str(file), reader.line_num, problem)
                yield reader.line_num, row
            if empty:
                raise TraceInvalid(str(file), 1, "no row")
    except OSError as error:
        raise TraceInvalid(str(file), 0, f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceInvalid(str(file), 0, f"is no CSV: {error}") from error


def _number(file: Path, line: int, row: Mapping[str, str], column: str, most: int) -> int:
    text = row[column].strip() or "0"
    try:
        found = int(text)
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        problem = f"{column}: {text[:40]!r} is no whole number from 0 to {most}"
        raise TraceInvalid(str(file), line, problem)
    return found
