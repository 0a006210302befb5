"""Which processes a lab has in each mode, and which services live in each."""

import msgspec

from gpufarm.lab import ports, state
from gpufarm.lab.state import Lab

COMPUTE = "nova-compute"
BROKER = ("epmd", "rabbitmq")


class Service(msgspec.Struct, frozen=True):
    """A service as the user knows it; `host` for a nova-compute only, `number` from 1 on where
    there are several."""

    name: str
    host: str | None = None
    number: int = 1

    @property
    def title(self) -> str:
        return self.name if self.number == 1 else f"{self.name}-{self.number}"

    @property
    def key(self) -> str:
        """Its name in the lab's files."""
        return self.title if self.host is None else f"{self.title}@{self.host}"


class Process(msgspec.Struct, frozen=True):
    """A process and the services in it; `after` names services that have to be ready before."""

    name: str
    services: tuple[Service, ...]
    after: tuple[str, ...] = ()


def processes(lab: Lab) -> tuple[Process, ...]:
    """Every process of the lab, in the order in which they are started."""
    apis = tuple(Process(name, (Service(name),)) for name in lab_apis())
    return (*apis, *(_single(lab) if lab.mode == "single" else _split(lab)))


def lab_apis() -> tuple[str, ...]:
    """The APIs with a process of their own in either mode; what Nova waits for comes first."""
    return ("keystone", "placement", "neutron", "glance")


def _single(lab: Lab) -> tuple[Process, ...]:
    computes = (Service(COMPUTE, host) for host in lab.hosts)
    names = ("nova-api", "nova-conductor", "nova-scheduler")
    return (Process("nova", (*map(Service, names), *computes), after=("keystone", "placement")),)


def _split(lab: Lab) -> tuple[Process, ...]:
    before_conductor = ("keystone", "placement", *BROKER)
    # The conductor's process makes Nova's databases, and a nova-compute that finds no conductor
    # waits 10 s before it asks again.
    after_conductor = (*before_conductor, "nova-conductor")
    return (
        *(Process(name, (Service(name),)) for name in BROKER),
        Process("nova-conductor", (Service("nova-conductor"),), after=before_conductor),
        *(
            Process(service.key, (service,), after=after_conductor)
            for service in (*_schedulers(lab), Service("nova-api"))
        ),
        *(
            Process(service.key, (service,), after=after_conductor)
            for service in (Service(COMPUTE, host) for host in lab.hosts)
        ),
    )


def _schedulers(lab: Lab) -> tuple[Service, ...]:
    return tuple(Service("nova-scheduler", number=each + 1) for each in range(lab.schedulers))


def serves(lab: Lab, service: str, generation: int | None = None) -> bool:
    """Whether the service with that key serves; at `generation`, where one is given."""
    if service in BROKER:
        return ports.answers(lab.ports[service])
    if generation is None:
        return state.ready_path(lab.state, service).exists()
    return state.ready(lab.state, service, generation)
