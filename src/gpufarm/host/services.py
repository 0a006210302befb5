"""Files put on a host for its services, which are restarted to read them.

What is decided here: how a host's services are looked at, and that a restart counts only when the
service is still up a while later. Which files and services is a plan's matter.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from gpufarm.host import orders
from gpufarm.host.apply import Applied
from gpufarm.host.plan import feasible
from gpufarm.host.rollout import TakenBack
from gpufarm.host.target import Target
from gpufarm.model.errors import HostError, HostUnequal, ServiceNotUp
from gpufarm.model.hardware import Device, Hardware
from gpufarm.model.host_change import HostPlan, RunCommand, shown
from gpufarm.model.services import Service, Services, restarted
from gpufarm.system import journal
from gpufarm.system.agent import Answer
from gpufarm.system.journal import Entry

SETTLE_SECONDS = 15.0
"""A nova-compute that cannot take its settings ends within seconds of its start."""

Look = Callable[[Target], Services]
Planner = Callable[[Services], HostPlan]


def look(
    target: Target, files: Iterable[str], services: Iterable[str], paths: Iterable[str] = ()
) -> Services:
    """What of these there is on a host. Raises what the target raises, and JournalInvalid."""
    asked = [
        "machine",
        *(f"file {path}" for path in files),
        *(f"path {path}" for path in paths),
        *(f"service {name}" for name in services),
    ]
    answer = target.ask("services", "".join(f"{line}\n" for line in asked).encode())
    return _parse(target.name, answer.lines)


def _parse(target: str, lines: Iterable[str]) -> Services:
    host, path = "", ""
    texts: dict[str, str] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    services: list[Service] = []
    noted: list[str] = []
    told: dict[str, list[str]] = {"path": [], "machine": [], "device": [], "cpu_set": []}
    for line in lines:
        kind, _, rest = line.partition(" ")
        match kind, rest.split(" "):
            case "host", [host]:
                pass
            case "file", _:
                path, texts[rest] = rest, ""
            case "text", _ if path:
                texts[path] += f"{rest}\n"
            case "alias", [where, *words]:
                aliases[where] = (*aliases.get(where, ()), " ".join(words))
            case _ if kind in told:
                told[kind].append(rest)
            case "service", [name, active, sub, enabled, run]:
                name = name.removesuffix(".service")
                services.append(Service(name, active, sub, enabled.startswith("enabled"), run))
            case _:
                noted.append(line)
    entries = journal.parse(target, Answer(tuple(noted), ())).entries
    if not host:
        raise HostError(f"{target}: it has no name: neither the kernel nor nova.conf has one")
    return Services(
        host=host,
        files=texts,
        paths=frozenset(told["path"]),
        services=tuple(services),
        aliases=aliases,
        due=_due(entries[-1:]),
        hardware=_hardware(told["machine"], told["device"]),
        cpu_sets=tuple(" in ".join(each.split(" ", 1)[::-1]) for each in told["cpu_set"]),
    )


def _hardware(machine: list[str], devices: list[str]) -> Hardware | None:
    match [each.split(" ") for each in machine]:
        case [[cpus, memory_mb]] if cpus.isdigit() and memory_mb.isdigit():
            return Hardware(int(cpus), int(memory_mb), tuple(_devices(devices)))
    return None


def _devices(lines: list[str]) -> Iterator[Device]:
    for line in lines:
        match line.split(" "):
            case [vendor, product, kind]:
                yield vendor, product, kind


def _due(last: tuple[Entry, ...]) -> frozenset[str]:
    """Services of the last apply that it did not come to restart."""
    steps = [step for entry in last for step in entry.steps]
    return _restarted(step.name.split() for step in steps if step.state != "done")


def put(
    target: Target,
    looked: Look,
    planned: Planner,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Applied:
    """Carry out what `planned` says of what `looked` sees, and restart what has to read it.

    Raises HostRefused before any change, ServiceNotUp where a restarted service does not stay up,
    HostUnequal where a new plan is not empty, and what the target raises.
    """
    steps = feasible(target.name, planned(looked(target))).steps
    if not steps:
        return Applied((), needs_reboot=False)
    answer = target.ask("apply", orders.encode(steps))
    names = _restarted(each.words for each in steps if isinstance(each, RunCommand))
    found = _settled(target, looked, names, wait)
    left = planned(found).steps
    if left:
        raise HostUnequal(target.name, tuple(shown(each).name for each in left))
    return Applied(steps, needs_reboot=False, warnings=answer.warnings)


def take_back(
    target: Target, looked: Look, *, wait: Callable[[float], None] = time.sleep
) -> TakenBack:
    """Undo every `put` since the last time. Raises ServiceNotUp, and what the target raises."""
    answer = target.ask("rollback")
    names = _restarted(line.removeprefix("undone by ").split() for line in answer.lines)
    _settled(target, looked, names, wait)
    return TakenBack(answer.lines, answer.warnings)


def _restarted(commands: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(name for words in commands for name in restarted(words))


def _settled(
    target: Target, looked: Look, names: frozenset[str], wait: Callable[[float], None]
) -> Services:
    """The services once those of `names` have been up for a while, in one run."""
    before = looked(target)
    if not names:
        return before
    wait(SETTLE_SECONDS)
    after = looked(target)
    runs, ran = ({each.name: each.run for each in x.services if each.runs} for x in (after, before))
    states = {each.name: each.active for each in after.services}
    down = [
        f"{name} ({states.get(name, 'gone')})"
        for name in sorted(names)
        if name not in runs or runs[name] != ran.get(name)
    ]
    if down:
        raise ServiceNotUp(target.name, tuple(down))
    return after
