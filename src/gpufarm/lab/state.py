"""What a lab is, and where its parts lie below one state folder."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec
import platformdirs

from gpufarm.model.errors import LabError, LabNotRunning
from gpufarm.model.host import HostFile
from gpufarm.system import files
from gpufarm.system.processes import ProcessId, alive

Mode = Literal["single", "split"]
MODES: tuple[Mode, ...] = get_args(Mode)
CLOUD = "gpufarm-lab"
PRIVATE = 0o700
STATE_VARIABLE = "GPUFARM_LAB_STATE"
APIS = ("keystone", "placement", "glance", "neutron", "nova-api")
BROKER_PORTS = ("rabbitmq", "rabbitmq-peers", "epmd")
SERVICE_USERS = ("nova", "placement", "glance", "neutron")
VERDICTS = "scheduler-verdicts.jsonl"
"""Below the state folder: what the scheduler's filters say, written as long as it is there."""
T = TypeVar("T")


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """A lab as it was last started. `ports` by service.

    `hosts` are the names of its simulated hosts, `real` those of its virtual hosts with Nova.
    There are several `schedulers` in split mode only.
    """

    state: Path
    mode: Mode
    ports: dict[str, int]
    hosts: tuple[str, ...]
    real: tuple[str, ...] = ()
    schedulers: int = 1

    def url(self, service: str) -> str:
        """The address of an API of this lab."""
        path = {"keystone": "/v3", "nova-api": "/v2.1"}.get(service, "")
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def path(self, *parts: str) -> Path:
        return self.state.joinpath(*parts)

    def host(self, name: str) -> HostFile:
        """The hardware of the simulated host `name`; LabError where its file is not whole."""
        return _decoded(host_path(self.state, name), HostFile)


class Secrets(msgspec.Struct, frozen=True):
    """Passwords by user, and the password of the broker."""

    admin: str
    broker: str
    services: dict[str, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A process as the supervisor last saw it; `exit_status` None while it runs."""

    process: ProcessId
    generation: int
    exit_status: int | None = None


class Wanted(msgspec.Struct, frozen=True):
    """What the supervisor is to run: process names with the generation each has to be at."""

    generations: dict[str, int] = {}


def default_state() -> Path:
    """Where the lab lies unless --state says otherwise."""
    named = os.environ.get(STATE_VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_state_dir("gpufarm")) / "lab"


def private(folder: Path, fix: str = "name another folder, --state") -> Path:
    """`folder`, made where it is not there; LabError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    except OSError as error:
        raise LabError(f"{folder}: cannot be made: {error.strerror}: {fix}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LabError(f"{folder}: cannot be written into: {fix}")
    return folder


def load(state: Path) -> Lab:
    """The lab of that folder, running or not; LabNotRunning where there never was one."""
    path = state / "lab.json"
    try:
        data = msgspec.json.decode(path.read_bytes())
        lab = msgspec.convert({**data, "state": state}, Lab)
    except FileNotFoundError:
        raise LabNotRunning(str(state)) from None
    except OSError as error:
        raise LabError(
            f"{path}: cannot be read: {error.strerror}: name a folder, --state"
        ) from error
    except (msgspec.MsgspecError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    missing = {*APIS, *(BROKER_PORTS if lab.mode == "split" else ())} - lab.ports.keys()
    if missing:
        raise _damaged(path, f"no port of {', '.join(sorted(missing))}")
    return lab


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise _damaged(path, error.strerror) from error
    except msgspec.MsgspecError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, problem: str | None) -> LabError:
    return LabError(f"{path}: not a lab's file ({problem}): `gpufarm lab reset` starts clean")


def save(lab: Lab) -> None:
    # Without the folder, which may be moved.
    data = {
        "mode": lab.mode,
        "ports": lab.ports,
        "hosts": lab.hosts,
        "real": lab.real,
        "schedulers": lab.schedulers,
    }
    text = msgspec.json.format(msgspec.json.encode(data), indent=1)
    files.write(lab.path("lab.json"), text, files.SECRET)


def lab_secrets(state: Path) -> Secrets:
    """The passwords of the lab; made at the first call, random for each lab."""
    path = state / "secrets.json"
    if path.exists():
        return _decoded(path, Secrets)
    made = Secrets(
        admin=secrets.token_urlsafe(24),
        broker=secrets.token_urlsafe(24),
        services={user: secrets.token_urlsafe(24) for user in SERVICE_USERS},
    )
    files.write(path, msgspec.json.encode(made), files.SECRET)
    return made


def host_path(state: Path, name: str) -> Path:
    return state / "hosts" / f"{name}.json"


def save_hosts(state: Path, hosts: Iterable[HostFile]) -> None:
    for host in hosts:
        files.write_if_changed(
            host_path(state, host.name),
            msgspec.json.format(msgspec.json.encode(host), indent=1).decode(),
        )


def supervisor(state: Path) -> ProcessId | None:
    """The supervisor of that lab, where it runs."""
    try:
        data = (state / "run" / "supervisor.json").read_bytes()
        found = msgspec.json.decode(data, type=ProcessId)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
    return found if alive(found) else None


def run_of(state: Path, name: str) -> Run | None:
    """What is known of the process `name`; None where it was not started since the last `up`."""
    try:
        return msgspec.json.decode((state / "run" / f"{name}.json").read_bytes(), type=Run)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def running(state: Path, name: str) -> bool:
    run = run_of(state, name)
    return run is not None and run.exit_status is None and alive(run.process)


def ready_path(state: Path, service: str) -> Path:
    """The file that a service writes, holding its process's generation, once it serves."""
    return state / "run" / f"{service}.ready"


def ready(state: Path, service: str, generation: int) -> bool:
    try:
        return ready_path(state, service).read_text() == str(generation)
    except FileNotFoundError:
        return False


def wanted(state: Path) -> Wanted:
    try:
        return msgspec.json.decode((state / "run" / "wanted.json").read_bytes(), type=Wanted)
    except FileNotFoundError:
        return Wanted()


def want(state: Path, generations: dict[str, int]) -> None:
    files.write(state / "run" / "wanted.json", msgspec.json.encode(Wanted(generations)))
