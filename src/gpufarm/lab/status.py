"""How a lab is: each of its services, and whether it does its work."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import msgspec

from gpufarm.lab import services, state
from gpufarm.lab.services import Process, Service
from gpufarm.lab.state import APIS, Lab
from gpufarm.system import processes
from gpufarm.system.processes import ProcessId

HEALTH_TIMEOUT = 10.0


class ServiceStatus(msgspec.Struct, frozen=True):
    """A row of `lab status`. `age_seconds` is null where the service does not run.

    A process that holds several services counts in equal parts for each of them in `memory_mb`,
    so that the column's sum is the lab's memory.
    """

    service: str
    host: str | None
    healthy: bool
    address: str | None
    memory_mb: float
    age_seconds: int | None


def status(lab: Lab, *, ask: bool = True) -> tuple[ServiceStatus, ...]:
    """Every service of the lab; an API is healthy when it answers, any other once it serves.

    Without `ask` the APIs are taken at their word, as `up` has it from them.
    """
    found = services.processes(lab)
    runs = {process.name: _alive(lab, process) for process in found}
    apis = [
        service
        for process in found
        if runs[process.name]
        for service in process.services
        if service.name in APIS
    ]
    answering = _answering(lab, apis) if ask else {}
    rows = [_supervisor(lab)]
    for process in found:
        rows += _rows(lab, process, runs[process.name], answering)
    return tuple(rows)


def _alive(lab: Lab, process: Process) -> ProcessId | None:
    run = state.run_of(lab.state, process.name)
    if run is None or run.exit_status is not None or not processes.alive(run.process):
        return None
    return run.process


def _rows(
    lab: Lab, process: Process, alive: ProcessId | None, answering: Mapping[str, bool]
) -> list[ServiceStatus]:
    memory = _memory(process, alive) / len(process.services)
    age = int(time.time() - alive.started) if alive else None
    return [
        ServiceStatus(
            service=service.title,
            host=service.host,
            healthy=alive is not None
            and services.serves(lab, service.key)
            and answering.get(service.name, True),
            address=_address(lab, service),
            memory_mb=round(memory, 1),
            age_seconds=age,
        )
        for service in process.services
    ]


def _memory(process: Process, alive: ProcessId | None) -> float:
    if alive is None:
        return 0.0
    below = processes.descendants(alive) if process.name in services.BROKER else []
    return sum(processes.memory_mb(each) for each in (alive, *below))


def _supervisor(lab: Lab) -> ServiceStatus:
    """The parent of all: without it, nothing that dies is noticed."""
    found = state.supervisor(lab.state)
    return ServiceStatus(
        service="supervisor",
        host=None,
        healthy=found is not None,
        address=None,
        memory_mb=round(processes.memory_mb(found), 1) if found else 0.0,
        age_seconds=int(time.time() - found.started) if found else None,
    )


def _address(lab: Lab, service: Service) -> str | None:
    if service.name in APIS:
        return lab.url(service.name)
    if service.name in services.BROKER:
        return f"127.0.0.1:{lab.ports[service.name]}"
    return None


def _answering(lab: Lab, apis: list[Service]) -> dict[str, bool]:
    """{API: whether it answers}, asked at the same time."""
    names = [service.name for service in apis]
    if state.supervisor(lab.state) is None:
        return dict.fromkeys(names, False)
    with ThreadPoolExecutor(len(APIS)) as pool:
        return dict(zip(names, pool.map(lambda name: _answers(lab.url(name)), names), strict=True))


def _answers(url: str) -> bool:
    """Whether the API says anything but an error of its own; 401 is an answer."""
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT):  # noqa: S310 - our own http URL
            return True
    except urllib.error.HTTPError as error:
        return error.code < HTTPStatus.INTERNAL_SERVER_ERROR
    except OSError:
        return False
