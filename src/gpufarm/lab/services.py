"""Which processes a lab has in each mode, and which services live in each."""

import msgspec

from gpufarm.lab.state import Lab

COMPUTE = "nova-compute"


class Service(msgspec.Struct, frozen=True):
    """A service as the user knows it; `host` for a nova-compute only."""

    name: str
    host: str | None = None

    @property
    def key(self) -> str:
        """Its name in the lab's files."""
        return self.name if self.host is None else f"{self.name}@{self.host}"


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
    broker = ("epmd", "rabbitmq")
    before_conductor = ("keystone", "placement", *broker)
    # The conductor's process makes Nova's databases, and a nova-compute that finds no conductor
    # waits 10 s before it asks again.
    after_conductor = (*before_conductor, "nova-conductor")
    return (
        Process("epmd", (Service("epmd"),)),
        Process("rabbitmq", (Service("rabbitmq"),), after=("epmd",)),
        Process("nova-conductor", (Service("nova-conductor"),), after=before_conductor),
        *(
            Process(name, (Service(name),), after=after_conductor)
            for name in ("nova-scheduler", "nova-api")
        ),
        *(
            Process(service.key, (service,), after=after_conductor)
            for service in (Service(COMPUTE, host) for host in lab.hosts)
        ),
    )
