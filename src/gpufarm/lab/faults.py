"""Faults that a simulated host is told to have: to fail or to be slow at a step of its driver."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from gpufarm.model.errors import LabError
from gpufarm.system import files

Step = Literal[
    "spawn",
    "destroy",
    "power_on",
    "power_off",
    "reboot",
    "snapshot",
    "migrate_disk_and_power_off",
    "finish_migration",
    "finish_revert_migration",
    "confirm_migration",
    "pre_live_migration",
    "live_migration",
    "get_available_resource",
]
STEPS: tuple[str, ...] = get_args(Step)


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """`delay` in seconds comes first, then `error` is raised; `times` None means every time."""

    delay: Annotated[float, Meta(ge=0)] = 0.0
    error: str | None = None
    times: Annotated[int, Meta(ge=1)] | None = None


def path(state: Path, host: str) -> Path:
    return state / "faults" / f"{host}.json"


def read(state: Path, host: str) -> dict[str, Fault]:
    """{step: fault} of that host; LabError where its file says something else."""
    where = path(state, host)
    try:
        return msgspec.json.decode(where.read_bytes(), type=dict[str, Fault])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise LabError(f"{where}: no list of faults ({error}): remove it") from error


def put(state: Path, host: str, step: Step, fault: Fault | None) -> None:
    """Set the fault of that step; None takes it away."""
    with files.lock(path(state, host).with_suffix(".lock"), wait=True):
        _write(state, host, step, fault)


def take(state: Path, host: str, step: str) -> Fault | None:
    """The fault that this run of `step` has; counts one of its times down."""
    if not path(state, host).exists():
        return None
    with files.lock(path(state, host).with_suffix(".lock"), wait=True):
        fault = read(state, host).get(step)
        if fault is not None and fault.times is not None:
            left = fault.times - 1
            rest = msgspec.structs.replace(fault, times=left) if left else None
            _write(state, host, step, rest)
        return fault


def _write(state: Path, host: str, step: str, fault: Fault | None) -> None:
    found = {name: other for name, other in read(state, host).items() if name != step}
    if fault is not None:
        found[step] = fault
    if found:
        files.write(path(state, host), msgspec.json.encode(found))
    else:
        path(state, host).unlink(missing_ok=True)
