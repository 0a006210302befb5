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

from gpufarm.lab.state import PRIVATE
from gpufarm.lab.virthost import guest, image, machine, running, settling, store
from gpufarm.lab.virthost.building import Note
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.image import Image
from gpufarm.lab.virthost.machine import Iommu, Machine
from gpufarm.lab.virthost.store import Host
from gpufarm.model.errors import LabBusy, LabError, NoVirtualHost
from gpufarm.system import files, processes

BOOT_LIMIT = 600.0
RESUME_LIMIT = 180.0


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
        _remove(where)
        where.mkdir(mode=PRIVATE)
        return _start(state, wanted, found_image, note)


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


def reboot(state: Path, name: str) -> None:
    """Have that host reboot itself, through GRUB, and return once it can be used again."""
    host, reached = store.load(state, name), reach(state, name)
    where = store.folder(state, name)
    settling.reboot(
        reached, host.machine, host.port or 0, BOOT_LIMIT, lambda: running.check(where, name)
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
        healthy=run is not None and host.port is not None and guest.has_banner(host.port),
        memory_mb=round(memory, 1),
        age_seconds=int(time.time() - run.qemu.started) if run else None,
    )


def _same(state: Path, wanted: Machine, note: Note) -> Guest:
    had = store.load(state, wanted.name).machine
    if had != wanted:
        raise LabError(
            f"virtual host {wanted.name} runs with other hardware: `gpufarm lab host down "
            f"{wanted.name}` first"
        )
    note(f"{wanted.name} runs already")
    return reach(state, wanted.name)


def _start(state: Path, wanted: Machine, found: Image, note: Note) -> Guest:
    where = store.folder(state, wanted.name)
    warm = image.resumes(wanted)
    began = time.monotonic()
    note(f"{wanted.name}: " + ("resuming" if warm else "booting through GRUB (about 25 s)"))
    opener = guest.public_key(state)
    guest.pin(where, found.manifest.host_key)
    disk = found.warm if warm else found.cold
    saved = found.state if warm else None
    with running.started(where, wanted, found.tree, disk=disk, key=opener, state=saved) as started:
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
