"""Policies compared on one trace: several seeds each, in as many processes as there are CPUs.

What is decided here: what is run, and how the seeds become means and standard deviations.
"""

import concurrent.futures
import importlib.util
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpufarm.model.cloud import Value
from gpufarm.model.errors import PartMissing, SimulationImpossible, TraceInvalid
from gpufarm.simulate import arrivals, learning, measures, replay
from gpufarm.simulate.bounds import Bounds, bounds
from gpufarm.simulate.measures import Measures
from gpufarm.simulate.policies import POLICIES, Fragments, Settings
from gpufarm.simulate.trace import Trace
from gpufarm_nova import lesson as lessons
from gpufarm_nova import reserve
from gpufarm_nova.lesson import Lesson
from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts, GpuFlavor

PERCENT = 100.0


class Experiment(Value, frozen=True):
    """`load` in percent of the cards; `steady` with servers that end."""

    scenario: str
    trace: Trace
    settings: Settings
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    load: float = PERCENT
    cpu_ratio: float = 1.0
    steady: bool = False


class Result(Value, frozen=True):
    """One policy with one seed."""

    policy: str
    seed: int
    measures: Measures
    bounds: Bounds


def settings(
    trace: Trace,
    keep: Amounts | None = None,
    share: float = 1.0,
    lesson: Lesson | None = None,
    cpu_ratio: float = 1.0,
) -> Settings:
    """What a cloud with these requests has: a flavor for each kind of GPU server, and for each free
    card `keep`, or else the median that its servers have with a card.

    Raises SimulationImpossible for a reserve that no host with cards has.
    """
    gpu = [kind for kind in trace.requests if kind.cards]
    reserves = {}
    for model in sorted({model for kind in gpu for model, _ in kind.cards}):
        own = [kind for kind in gpu if model in dict(kind.cards)]
        median = reserve.of_flavors(
            GpuFlavor(kind.vcpus, kind.memory_mb, kind.size) for kind in own
        )
        reserves[model] = keep or median or Amounts(0, 0)
        hosts = [node.host(cpu_ratio) for node in trace.nodes if node.model == model]
        if not any(
            host.total.vcpus >= reserves[model].vcpus
            and host.total.memory_mb >= reserves[model].memory_mb
            for host in hosts
        ):
            source = "" if keep else ", the median of what servers ask for with a card,"
            raise SimulationImpossible(
                f"the reserve of {reserves[model].vcpus:.12g} vCPU and "
                f"{reserves[model].memory_mb:.12g} MiB for a {model}{source} is larger than any "
                "host that has one: set another with --reserve"
            )
    kinds = learning.counted(gpu)
    return Settings(
        reserves=reserves,
        share=share,
        flavors=tuple(Flavor(_name(*kind[:3]), *kind[:3]) for kind in kinds),
        lesson=lesson,
        requests=trace.requests,
    )


def read_lesson(file: Path) -> Lesson:
    """Raises TraceInvalid."""
    try:
        found = lessons.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceInvalid(str(file), 0, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceInvalid(str(file), 0, f"is no text: {error}") from error
    if not isinstance(found, Lesson):
        raise TraceInvalid(str(file), 0, found.problem)
    return found


def add_hosts(trace: Trace, number: int, like: str) -> Trace:
    """With `number` more nodes like the one of that name. Raises SimulationImpossible."""
    model = next((node for node in trace.nodes if node.name == like), None)
    if model is None:
        raise SimulationImpossible(f"no node is called {like!r}")
    more = [
        msgspec.structs.replace(model, name=f"{like}+{count}") for count in range(1, number + 1)
    ]
    return msgspec.structs.replace(trace, nodes=(*trace.nodes, *more))


def run_one(experiment: Experiment, policy: str, seed: int) -> Result:
    trace, load = experiment.trace, experiment.load / PERCENT
    rule = POLICIES[policy](experiment.settings)
    fragments = Fragments(trace.requests)

    looks: list[Measures] = []

    def look(outcome: replay.Outcome) -> Measures:
        return measures.measure(trace.nodes, outcome, fragments)

    scale = 1.0
    if experiment.steady:
        cloud = replay.Steady(trace.nodes, rule, experiment.cpu_ratio)
        for outcome in cloud.run(trace.requests, seed, load):
            looks.append(look(outcome))
        found = measures.over_time(looks[:-1], looks[-1])
        # What is there at one moment is so much of all that came.
        scale = load * trace.cards / sum(kind.size for kind in outcome.seen)
    else:
        arrived = arrivals.stream(trace.requests, trace.cards, seed)
        arrived = arrivals.up_to(arrived, trace.cards, load)
        outcome = replay.arrive(trace.nodes, arrived, rule, experiment.cpu_ratio)
        found = look(outcome)
    limits = bounds(trace.nodes, outcome, experiment.cpu_ratio, scale)
    return Result(policy=policy, seed=seed, measures=found, bounds=limits)


def run(
    experiment: Experiment, told: Callable[[str], None] = lambda _: None, jobs: int | None = None
) -> list[dict[str, Any]]:
    """One object for each policy, in their order. `told` hears of each seed that is done."""
    pairs = [(policy, seed) for policy in experiment.policies for seed in experiment.seeds]
    results: dict[str, list[Result]] = {policy: [] for policy in experiment.policies}
    workers = min(len(pairs), jobs or os.cpu_count() or 1)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, initializer=_begin, initargs=(experiment,)
    )
    with pool:
        futures = [pool.submit(_work, policy, seed) for policy, seed in pairs]
        try:
            for future in concurrent.futures.as_completed(futures):
                result = future.result()
                results[result.policy].append(result)
                told(f"{result.policy}, seed {result.seed}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [summary(experiment, results[policy]) for policy in experiment.policies]


_mine: list[Experiment] = []
"""Of a worker process: what it works on, so that it is sent there once."""


def _begin(experiment: Experiment) -> None:
    _mine[:] = [experiment]


def _work(policy: str, seed: int) -> Result:
    return run_one(_mine[0], policy, seed)


def summary(experiment: Experiment, results: Sequence[Result]) -> dict[str, Any]:
    """Means over seeds, and standard deviations under the same names with _sd."""
    found: dict[str, Any] = {
        "policy": results[0].policy,
        "scenario": experiment.scenario,
        "load": experiment.load,
        "seeds": sorted(result.seed for result in results),
    }
    for part in ("measures", "bounds"):
        for name in getattr(results[0], part).__struct_fields__:
            values = [getattr(getattr(result, part), name) for result in results]
            if isinstance(values[0], dict):
                sizes = sorted({size for value in values for size in value}, key=int)
                found[name] = {
                    size: _mean([value[size] for value in values if size in value])
                    for size in sizes
                }
            else:
                found[name] = _mean(values)
                found[f"{name}_sd"] = round(statistics.pstdev(values), 3)
    return found


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(values), 3)


def _name(cards: Any, vcpus: float, memory_mb: float) -> str:
    taken = " and ".join(f"{number} {model}" for model, number in cards)
    return f"{taken}, {vcpus:g} vCPU, {memory_mb:g} MiB"


def require() -> None:
    """Raise PartMissing where the libraries of the simulator are not installed."""
    for name in ("numpy", "scipy"):
        if importlib.util.find_spec(name) is None:
            raise PartMissing(f"{name} is not installed", "simulate")
