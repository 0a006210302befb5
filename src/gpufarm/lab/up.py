"""Starting, reloading and ending a lab.

`up` prepares the state folder, starts the supervisor and waits until every service serves. Each
step finds what an earlier, interrupted run left and goes on from there; a service that dies
meanwhile ends it, and then nothing stays running.
"""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gpufarm.lab import config, farm_settings, ports, services, state, supervisor, template
from gpufarm.lab.environment import paste_files
from gpufarm.lab.identity import compute_id
from gpufarm.lab.real import hosts as real_hosts
from gpufarm.lab.real import saved
from gpufarm.lab.real.hosts import Prepare, Wanted
from gpufarm.lab.state import APIS, BROKER_PORTS, Lab, Mode
from gpufarm.lab.virthost import host as virthost
from gpufarm.lab.virthost import store
from gpufarm.model.errors import DiskFull, LabBusy, LabError, ServiceDied
from gpufarm.model.host import HostFile
from gpufarm.system import files
from gpufarm.system.processes import descendants, end, send

FOLDERS = (
    "compute",
    "db",
    "etc",
    "etc/glance",
    "etc/keystone",
    "etc/neutron",
    "etc/nova",
    f"etc/nova/{config.FARM_FOLDER}",
    "etc/placement",
    "faults",
    "guests",
    "hosts",
    "images",
    "images/staging",
    "images/store",
    "images/tasks",
    "log",
    "rabbit",
    "run",
)
MARK = "lock"
"""The file that makes a folder a lab's."""

OWN = (
    *(name for name in FOLDERS if "/" not in name),
    *("keys", "clouds.yaml", "lab.json", "secrets.json", "farm.lock"),
    store.FOLDER,
    MARK,
)
"""What a lab has in its folder; the mark goes last, so that a reset that was killed can go on."""

LONGEST_PATH = 300
"""SQLite takes no path beyond 512 bytes (its MAX_PATHNAME), and file names follow."""

NEEDED_MB = 200
"""Databases, logs and images of an hour's use stay far below."""

PATIENCE = 120.0
"""Seconds without any service getting ready, after which a start is given up."""

RESERVED_NAMES = frozenset({config.CONTROLLER, "nova", "neutron"})

LAST_LINES = 12

UNFIT = frozenset("$%?#;\"'\\")
"""Characters that a lab's path cannot have."""

Note = Callable[[str], None]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks for; None keeps what the lab has.

    `real` hosts are started beside those that the lab has, and made ready by `prepare`.
    """

    state: Path
    mode: Mode | None = None
    hosts: tuple[HostFile, ...] | None = None
    real: tuple[Wanted, ...] = ()
    prepare: Prepare | None = None
    schedulers: int | None = None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands from changing the same lab; LabBusy where one does already."""
    state.private(folder)
    with files.lock(folder / MARK, wait=False) as held:
        if not held:
            raise LabBusy(f"{folder}: another command changes this lab: wait until it is done")
        yield


def up(request: Request, default_hosts: tuple[HostFile, ...], note: Note) -> Lab:
    """Start what does not run yet of the lab, and wait until all of it serves."""
    folder = request.state
    _check_path(folder)
    _check_unused(folder)
    with locked(folder):
        free = files.free_mb(folder)
        if free < NEEDED_MB:
            raise DiskFull(str(folder), NEEDED_MB, free)
        before = state.load(folder) if (folder / "lab.json").exists() else None
        hosts = _hosts(request, before, default_hosts)
        if _real(request, before):
            saved.get(note)  # it may take minutes: before anything runs
        try:
            if before is not None and state.supervisor(folder):
                return _resume(request, before, hosts, note)
            return _start(request, before, hosts, note)
        except BaseException:
            if before is not None:
                state.save(before)  # hosts with which it did not start are not kept
            raise


def _check_path(folder: Path) -> None:
    """Raise LabError for a path that some service would read as something else.

    `$` and `%` are expanded by oslo.config and alembic, `?` and `#` end the path of a database's
    URL, `;` parts the files in OS_NOVA_CONFIG_FILES.
    """
    found = sorted({each for each in str(folder) if each in UNFIT or not each.isprintable()})
    if found:
        named = " ".join(map(repr, found))
        raise LabError(f"{folder}: a lab cannot lie in a path with {named}: name another, --state")
    if len(str(folder).encode()) > LONGEST_PATH:
        raise LabError(f"{folder}: longer than {LONGEST_PATH} bytes: name another, --state")


def _check_unused(folder: Path) -> None:
    """Raise LabError for a folder that holds something else than a lab."""
    if folder.is_dir() and any(folder.iterdir()) and not is_lab(folder):
        raise LabError(f"{folder}: holds files that are no lab's: name another folder, --state")


def is_lab(folder: Path) -> bool:
    """Whether `up` or `lab host up` made a lab there."""
    return any((folder / mark).exists() for mark in (MARK, store.FOLDER))


def down(folder: Path) -> bool:
    """End what this lab started; whether anything ran."""
    if not is_lab(folder):
        return False
    with locked(folder):
        if (folder / "lab.json").exists():
            real_hosts.stop(state.load(folder))
        return _end(folder)


def reset(folder: Path) -> None:
    """End the lab and its virtual hosts, and remove what is theirs; files of others stay."""
    if not is_lab(folder):
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise LabError(f"{folder}: not the folder of a lab: nothing was removed")
        return
    with locked(folder):
        _end(folder)
        virthost.down_all(folder)
        for name in OWN:
            _remove(folder / name)
    with contextlib.suppress(OSError):  # not empty, or a link to a folder elsewhere
        folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reload(lab: Lab, names: tuple[str, ...], note: Note) -> None:
    """Start these processes anew, with what the farm file says now, and wait for them."""
    configure(lab, paste_files(lab.mode))
    generations = dict(state.wanted(lab.state).generations)
    for name in names:
        generations[name] = generations.get(name, 0) + 1
    _run_wanted(lab, generations, note)


def _hosts(
    request: Request, before: Lab | None, default_hosts: tuple[HostFile, ...]
) -> tuple[HostFile, ...]:
    """The hosts that the lab is to have: all it had, and those asked for."""
    for host in request.hosts or ():
        if host.name in RESERVED_NAMES:
            raise LabError(f"a host cannot be named {host.name}: files of the lab's services are")
    had = {name: before.host(name) for name in before.hosts} if before else {}
    asked = request.hosts or (() if before else default_hosts)
    found = tuple({**had, **{host.name: host for host in asked}}.values())
    both = sorted({host.name for host in found}.intersection(_real(request, before)))
    if both:
        raise LabError(f"{both[0]} cannot be a simulated host and a real one: rename it")
    return found


def _real(request: Request, before: Lab | None) -> tuple[str, ...]:
    """The names of the real hosts that the lab is to have."""
    had = before.real if before else ()
    return tuple(dict.fromkeys((*had, *(each.name for each in request.real))))


def _resume(request: Request, lab: Lab, hosts: tuple[HostFile, ...], note: Note) -> Lab:
    """Bring a lab whose supervisor runs to what is asked for: dead services, other hosts."""
    if request.mode not in {None, lab.mode}:
        raise LabError(
            f"{lab.state}: the lab runs in mode {lab.mode}: `gpufarm lab down` first, then up "
            f"--mode {request.mode}"
        )
    if request.schedulers not in {None, lab.schedulers}:
        raise LabError(
            f"{lab.state}: the lab runs with {lab.schedulers} schedulers: `gpufarm lab down` first"
        )
    changed = {host.name for host in hosts if host.name not in lab.hosts}
    changed |= {
        host.name for host in hosts if host.name in lab.hosts and lab.host(host.name) != host
    }
    real = _real(request, lab)
    changed |= {name for name in real if name not in lab.real}
    lab = msgspec.structs.replace(lab, hosts=tuple(host.name for host in hosts), real=real)
    _prepare(lab, hosts)
    generations = dict(state.wanted(lab.state).generations)
    for process in services.processes(lab):
        of_changed_host = any(service.host in changed for service in process.services)
        if of_changed_host or not state.running(lab.state, process.name):
            generations[process.name] = generations.get(process.name, 0) + 1
    for database in config.DATABASES if changed else ():
        template.make_own(lab, state.lab_secrets(lab.state), database)
    with _real_hosts(lab, request, note) as join:
        _run_wanted(lab, generations, note)
        join()
    return lab


def _start(request: Request, before: Lab | None, hosts: tuple[HostFile, ...], note: Note) -> Lab:
    folder = request.state
    mode = request.mode or (before.mode if before else "single")
    if mode == "single" and _real(request, before):
        raise LabError("real hosts need the lab in mode split: over RabbitMQ they find its Nova")
    schedulers = request.schedulers or (before.schedulers if before else 1)
    if mode == "single" and schedulers > 1:
        raise LabError(f"{folder}: several schedulers need --mode split: a process for each")
    had_ports = before.ports if before else {}
    paste = paste_files(mode)
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    for leftover in (folder / "run").iterdir():
        leftover.unlink()
    with contextlib.ExitStack() as opened:
        sockets = ports.open_all(APIS, had_ports)
        for listening in sockets.values():
            opened.enter_context(listening)
        numbers = {name: ports.number(listening) for name, listening in sockets.items()}
        if mode == "split":
            numbers |= {name: ports.free(name, had_ports) for name in BROKER_PORTS}
        lab = Lab(
            state=folder,
            mode=mode,
            ports=numbers,
            hosts=tuple(host.name for host in hosts),
            real=_real(request, before),
            schedulers=schedulers,
        )
        go = supervisor.launch(folder, sockets)
    try:
        _prepare(lab, hosts, paste)
        if not template.copy(lab):
            note("the first lab with these packages: making its databases takes a while longer")
        state.want(folder, {process.name: 1 for process in services.processes(lab)})
        go()
        with _real_hosts(lab, request, note) as join:
            _wait(lab, note)
            join()
    except BaseException:
        real_hosts.stop(lab)
        _end(folder)
        raise
    return lab


def _real_hosts(
    lab: Lab, request: Request, note: Note
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    wanted = real_hosts.wanted(lab, request.real)
    return real_hosts.coming_up(lab, wanted, request.prepare, note)


def _prepare(lab: Lab, hosts: tuple[HostFile, ...], paste: dict[str, Path] | None = None) -> None:
    """Write every file that the services read, before any of them starts."""
    folder = lab.state
    for host in hosts:
        identity = folder / "compute" / host.name / "compute_id"
        identity.parent.mkdir(exist_ok=True, mode=0o700)
        files.write_if_changed(identity, compute_id(host.name))
    state.save_hosts(folder, hosts)
    configure(lab, paste or paste_files(lab.mode))
    template.make_keys(lab)
    state.save(lab)


def configure(lab: Lab, paste: dict[str, Path]) -> None:
    """Write every configuration file, with what the farm file says."""
    secrets, placement = state.lab_secrets(lab.state), farm_settings.of_placement(lab)
    for path, text in config.configuration(lab, secrets, paste, placement).items():
        files.write_if_changed(lab.path(path), text, files.SECRET)
    farm_settings.merge_roles(lab)


def _run_wanted(lab: Lab, generations: dict[str, int], note: Note) -> None:
    found = state.supervisor(lab.state)
    if found is None:
        raise LabError(f"{lab.state}: the lab's supervisor is gone: `gpufarm lab up` starts it")
    state.want(lab.state, generations)
    send(found, signal.SIGHUP)
    try:
        _wait(lab, note)
    except BaseException:
        _end(lab.state)
        raise


def _wait(lab: Lab, note: Note) -> None:
    """Return once every service serves; ServiceDied or LabError where one never will."""
    generations = state.wanted(lab.state).generations
    waiting = {
        service.key: process.name
        for process in services.processes(lab)
        for service in process.services
        if not services.serves(lab, service.key, generations[process.name])
    }
    deadline = time.monotonic() + PATIENCE
    while waiting:
        done = [
            key for key, name in waiting.items() if services.serves(lab, key, generations[name])
        ]
        for key in done:
            del waiting[key]
            note(f"{key} serves")
            deadline = time.monotonic() + PATIENCE
        _check_alive(lab, generations)
        if time.monotonic() > deadline:
            key, name = next(iter(waiting.items()))
            lines = "\n  ".join(_last_lines(lab, name))
            raise LabError(
                f"{key} did not get ready within {PATIENCE:.0f} s; everything was stopped again. "
                f"Its last lines:\n  {lines}"
            )
        if waiting:
            time.sleep(0.02)


def _check_alive(lab: Lab, generations: dict[str, int]) -> None:
    if state.supervisor(lab.state) is None:
        raise ServiceDied(
            "the supervisor", str(lab.path("log", "supervisor.out")), _last_lines(lab, "supervisor")
        )
    for name, generation in generations.items():
        run = state.run_of(lab.state, name)
        if run and run.generation == generation and run.exit_status is not None:
            raise ServiceDied(name, str(lab.path("log", f"{name}.out")), _last_lines(lab, name))


def _last_lines(lab: Lab, name: str) -> tuple[str, ...]:
    """The end of what the process wrote: to its standard error, or else to its log."""
    for suffix in (".out", ".log"):
        path = lab.path("log", name + suffix)
        if path.exists() and path.stat().st_size:
            return tuple(path.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return ()


def _end(folder: Path) -> bool:
    found = state.supervisor(folder)
    if found is None:
        return False
    children = descendants(found)
    end([found])
    # Those that outlive a supervisor that had to be killed: the kernel signals them, this waits.
    end(children, patience=0)
    for leftover in (folder / "run").glob("*"):
        leftover.unlink(missing_ok=True)
    return True
