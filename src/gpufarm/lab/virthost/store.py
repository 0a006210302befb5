"""Where virtual hosts and what they are made from lie on this machine.

`virthosts/` in the lab's state folder has one folder a host, made at `up` and gone at `down`, and
the key that opens all of them. The cache has what is the same for everybody: QEMU and the image.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs

from gpufarm.lab.state import private
from gpufarm.lab.virthost.machine import Machine, check_name
from gpufarm.model.errors import NoVirtualHost
from gpufarm.system import files
from gpufarm.system.processes import ProcessId, alive

FOLDER = "virthosts"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it was asked for. `created` in seconds since the epoch, `port` that of SSH."""

    machine: Machine
    created: float
    port: int | None = None
    warm: bool = False


class Run(msgspec.Struct, frozen=True):
    """The processes of a host: QEMU, and its parent, which also serves the cards."""

    keeper: ProcessId
    qemu: ProcessId


def cache() -> Path:
    """The folder of QEMU and the image; made where it is not there."""
    folder = Path(platformdirs.user_cache_dir("gpufarm")) / "virtual-hosts"
    return private(folder, fix="name another one by XDG_CACHE_HOME")


def hosts_folder(state: Path) -> Path:
    """The folder of all hosts of a state folder; made where it is not there."""
    return private(state / FOLDER)


def folder(state: Path, name: str) -> Path:
    """Where the host `name` lies; ValueError for what is no name of a host."""
    check_name(name)
    return state / FOLDER / name


def save(state: Path, host: Host) -> None:
    path = folder(state, host.machine.name) / "host.json"
    files.write(path, msgspec.json.format(msgspec.json.encode(host, enc_hook=str), indent=1))


def load(state: Path, name: str) -> Host:
    """The host of that name, running or not; NoVirtualHost where there is none."""
    try:
        data = (folder(state, name) / "host.json").read_bytes()
        return msgspec.json.decode(data, type=Host, dec_hook=_decode)
    except (FileNotFoundError, ValueError):
        raise NoVirtualHost(name, tuple(names(state))) from None


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)


def names(state: Path) -> Iterator[str]:
    """The names of all hosts, running or not."""
    for path in sorted((state / FOLDER).glob("*/host.json")):
        yield path.parent.name


def save_run(where: Path, found: Run) -> None:
    files.write(where / "run.json", msgspec.json.encode(found))


def forget_run(where: Path) -> None:
    (where / "run.json").unlink(missing_ok=True)


def run_of(where: Path) -> Run | None:
    """The processes of the host in that folder as they were started; None where none ever was."""
    try:
        return msgspec.json.decode((where / "run.json").read_bytes(), type=Run)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def running(where: Path) -> Run | None:
    """Its processes, where both run."""
    found = run_of(where)
    return found if found and alive(found.keeper) and alive(found.qemu) else None
