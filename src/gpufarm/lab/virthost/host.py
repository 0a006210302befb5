"""Bringing virtual hosts up and taking them down.

A host is there for experiments: `up` gives a fresh one, resumed from the image's saved state where
that fits and booted through GRUB otherwise, and `down` removes it with all that was done to it.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gpufarm.lab.ports import LOOPBACK
from gpufarm.lab.state import PRIVATE
from gpufarm.lab.virthost import guest, image, machine, running, settling, store
from gpufarm.lab.virthost.building import Note
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.image import Image
from gpufarm.lab.virthost.machine import Iommu, Machine
from gpufarm.lab.virthost.store import Host
from gpufarm.model.errors import LabBusy, LabError, NoVirtualHost, ProgramError
from gpufarm.system import files, processes
from gpufarm.system.reach import ssh as ssh_answers

BOOT_LIMIT = 600.0
RESUME_LIMIT = 180.0
POWEROFF_LIMIT = 60.0


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `lab host list`; `cards` are `ADDRESS NAME`, null where the host does not run."""

    name: str
    iommu: Iommu
    cards: tuple[str, ...]
    ssh_port: int | None
    pid: int | None
    healthy: bool
    memory_mb: float
    age_seconds: int | None


def up(state: Path, wanted: Machine, note: Note) -> Guest:
    """A host with that hardware, reachable and settled; the one that runs where it is the same.

    ValueError where no such host can be, LabError where one of that name has other hardware.
    """
    machine.check(wanted)
    found_image = image.get(note)
    with _locked(state, wanted.name):
        where = store.folder(state, wanted.name)
        if store.running(where):
            return _same(state, wanted, note)
        return _start(state, wanted, found_image, note)


def keep(state: Path, wanted: Machine, found: Image, note: Note) -> Guest:
    """The same for a host that outlives its `stop`: it boots from the disk that it had then.

    A new one begins as `found` is.
    """
    machine.check(wanted)
    with _locked(state, wanted.name):
        where = store.folder(state, wanted.name)
        if store.running(where):
            return _same(state, wanted, note)
        if wanted.name not in store.names(state):
            return _start(state, wanted, found, note)
        _refuse_other_hardware(state, wanted)
        return _start(state, wanted, found, note, fresh=False)


def stop(state: Path, name: str) -> None:
    """Power that host off, and keep its disk for `keep`."""
    where = store.folder(state, name)
    with _locked(state, name):
        found = store.running(where)
        if found:
            with contextlib.suppress(ProgramError, NoVirtualHost):
                reach(state, name).run("systemctl poweroff", POWEROFF_LIMIT, shared=False)
                processes.wait([found.qemu], POWEROFF_LIMIT)
        running.end(where)


def down(state: Path, name: str) -> None:
    """End that host and remove it; NoVirtualHost where there is none."""
    where = store.folder(state, name)
    if not where.exists():
        raise NoVirtualHost(name, tuple(store.names(state)))
    with _locked(state, name):
        _remove(where)
    guest.configure(state)


def down_all(state: Path) -> None:
    """End and remove every host of that state folder."""
    for path in list((state / store.FOLDER).glob("*/")):
        with contextlib.suppress(NoVirtualHost, ValueError):
            down(state, path.name)


def reach(state: Path, name: str) -> Guest:
    """The host of that name, for commands; NoVirtualHost where none runs."""
    host = store.load(state, name)
    if host.port is None or not store.running(store.folder(state, name)):
        raise NoVirtualHost(name, tuple(store.names(state)))
    return Guest(name, store.hosts_folder(state) / guest.CONFIG)


def check(state: Path, name: str) -> None:
    """VirtualHostFailed, with its last words, where that host has ended."""
    running.check(store.folder(state, name), name)


def reboot(state: Path, name: str, by: str = settling.REBOOT) -> None:
    """Have that host reboot itself, through GRUB, and return once it can be used again; `by` is the
    command that it is told to do so with."""
    host, reached = store.load(state, name), reach(state, name)
    where, port = store.folder(state, name), host.port or 0
    settling.reboot(
        reached, host.machine, port, BOOT_LIMIT, lambda: running.check(where, name), by=by
    )


def status(state: Path) -> tuple[HostStatus, ...]:
    """Every host of that state folder; healthy is one whose SSH server answers."""
    return tuple(status_of(state, name) for name in store.names(state))


def status_of(state: Path, name: str) -> HostStatus:
    """That host; NoVirtualHost where there is none."""
    host = store.load(state, name)
    run = store.running(store.folder(state, name))
    memory = sum(map(processes.memory_mb, (run.keeper, run.qemu))) if run else 0.0
    cards = zip(machine.slots(host.machine), host.machine.cards, strict=True)
    return HostStatus(
        name=name,
        iommu=host.machine.iommu,
        cards=tuple(f"{slot}.0 {card.name}" for slot, card in cards),
        ssh_port=host.port,
        pid=run.qemu.pid if run else None,
        healthy=run is not None and host.port is not None and ssh_answers(LOOPBACK, host.port),
        memory_mb=round(memory, 1),
        age_seconds=int(time.time() - run.qemu.started) if run else None,
    )


def _same(state: Path, wanted: Machine, note: Note) -> Guest:
    _refuse_other_hardware(state, wanted)
    note(f"{wanted.name} runs already")
    return reach(state, wanted.name)


def _refuse_other_hardware(state: Path, wanted: Machine) -> None:
    """What it reaches, and what lies on further disks, may be another than at its last start."""
    had = store.load(state, wanted.name).machine
    now = {"reaches": wanted.reaches, "peers": wanted.peers, "disks": wanted.disks}
    if msgspec.structs.replace(had, **now) != wanted:
        raise LabError(
            f"virtual host {wanted.name} has other hardware: `gpufarm lab host down "
            f"{wanted.name}` first"
        )


def _start(state: Path, wanted: Machine, found: Image, note: Note, *, fresh: bool = True) -> Guest:
    """Resume it or boot it as `found` is; one that is not `fresh` boots from its own disk."""
    where = store.folder(state, wanted.name)
    warm = fresh and image.resumes(wanted, found.machine)
    began = time.monotonic()
    note(f"{wanted.name}: " + ("resuming" if warm else "booting through GRUB (about 25 s)"))
    opener = guest.public_key(state)
    disk, saved = (found.warm, found.state) if warm else (found.cold, None)
    if fresh:
        _remove(where)
        where.mkdir(mode=PRIVATE)
        guest.pin(where, found.manifest.host_key)
    else:
        running.end(where)
    with running.started(
        where, wanted, found.tree, disk=disk if fresh else None, key=opener, state=saved
    ) as started:
        if warm:
            running.resume(started)
        host = Host(machine=wanted, created=time.time(), port=running.forward(started), warm=warm)
        store.save(state, host)
        reached = Guest(wanted.name, guest.configure(state))
        limit = RESUME_LIMIT if warm else BOOT_LIMIT
        settling.settle(reached, wanted, host.port or 0, limit, started.check)
        started.let_go()
    note(f"{wanted.name} is up: {time.monotonic() - began:.1f} s")
    return reached


def _remove(where: Path) -> None:
    running.end(where)
    shutil.rmtree(where, ignore_errors=True)


@contextlib.contextmanager
def _locked(state: Path, name: str) -> Iterator[None]:
    """Keep other commands from changing the same host."""
    folder = store.hosts_folder(state)
    with files.lock(folder / f"{name}.lock", wait=False) as held:
        if not held:
            raise LabBusy(f"virtual host {name}: another command changes it: wait until it is done")
        yield
