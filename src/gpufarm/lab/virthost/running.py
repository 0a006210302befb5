"""Starting QEMU for a machine in a folder, plugging its cards in, and saving its state."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gpufarm.lab import ports
from gpufarm.lab.virthost import commands, keeper, qemu, qmp, store
from gpufarm.lab.virthost.machine import Machine, plugged
from gpufarm.lab.virthost.qmp import Qmp
from gpufarm.lab.virthost.tree import Tree
from gpufarm.model.errors import CommandFailed, VirtualHostFailed
from gpufarm.system import files, processes

if TYPE_CHECKING:
    import subprocess

START_LIMIT = 60.0
STATE_LIMIT = 120.0
IMAGE_LIMIT = 60.0
PORT_TRIES = 5
STATE_FILE = "state"


class Disk(msgspec.Struct, frozen=True):
    """An image that a host's own disk begins as; `form` is what qemu-img calls its format."""

    path: Path | str
    form: str


@dataclass(frozen=True)
class Started:
    """A QEMU that runs. It ends with this command until `let_go`."""

    where: Path
    machine: Machine
    monitor: Qmp
    keeper: "subprocess.Popen[str]"

    def check(self) -> None:
        """VirtualHostFailed where it has ended."""
        check(self.where, self.machine.name, self.keeper)

    def let_go(self) -> None:
        """From here on it lives without this command."""
        if self.keeper.stdin:
            self.keeper.stdin.write(keeper.READY)
            self.keeper.stdin.flush()


def check(where: Path, name: str, launched: "subprocess.Popen[str] | None" = None) -> None:
    """VirtualHostFailed, with its last words, where the host in that folder does not run."""
    found = store.run_of(where)
    ended = launched is not None and launched.poll() is not None
    if ended or (found and not (processes.alive(found.keeper) and processes.alive(found.qemu))):
        lines = tuple(
            line
            for log in (keeper.QEMU_LOG, keeper.KEEPER_LOG)
            if (where / log).exists()
            for line in commands.last_lines((where / log).read_bytes())
        )
        raise VirtualHostFailed(name, "QEMU has ended", str(where), lines)


@contextlib.contextmanager
def started(
    where: Path,
    machine: Machine,
    tree: Tree,
    *,
    disk: Disk | None,
    key: str,
    state: Path | None = None,
) -> Iterator[Started]:
    """QEMU with that machine in the folder `where`; ended with the block unless it was let go.

    Without `disk` it goes on with the one that is there. With `state`, a saved state, it does not
    run yet and has no cards: see `resume`.
    """
    environment = tree.environment
    if disk:
        overlay = ("create", "-q", "-f", "qcow2", "-F", disk.form, "-b", str(disk.path))
        words = (*tree.command("qemu-img"), *overlay, str(where / qemu.DISK))
        commands.run(words, limit=IMAGE_LIMIT, environment=environment)
    if machine.reaches or machine.peers:
        _put_relay(where / qemu.RELAY)
    files.write(where / qemu.KEY, key)
    command = (*tree.command(), *qemu.arguments(machine, incoming=state))
    functions = {each.socket: each.function for each in plugged(machine)}
    launched = keeper.launch(where, keeper.Start(command, environment, functions))
    try:
        with qmp.connect(
            where / qemu.QMP, START_LIMIT, lambda: check(where, machine.name, launched)
        ) as monitor:
            yield Started(where, machine, monitor, launched)
    finally:
        with contextlib.suppress(BrokenPipeError):
            if launched.stdin:
                launched.stdin.close()
        # It lives on when this command ends: it is no child to wait for.
        launched.returncode = launched.poll() or 0


def _put_relay(path: Path) -> None:
    """A name in the host's folder: QEMU takes the command apart as a shell would."""
    path.unlink(missing_ok=True)
    path.symlink_to(commands.path("busybox"))


def resume(host: Started) -> None:
    """Run a host from its saved state, with its cards plugged in while it was away."""
    host.monitor.wait_for_migration(STATE_LIMIT)
    for plug in qemu.plugs(host.machine):
        host.monitor.execute("device_add", plug)
    host.monitor.execute("cont")


def save(host: Started) -> None:
    """Keep what the host is now: its state in STATE_FILE, its disk in DISK.

    It goes on with another disk on top of that one, `golden`, so that it can be ended in order.
    """
    host.monitor.execute("stop")
    snapshot = {"device": "root", "snapshot-file": GOLDEN, "format": "qcow2"}
    host.monitor.execute("blockdev-snapshot-sync", snapshot)
    host.monitor.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
    host.monitor.execute("migrate", {"uri": f"file:{STATE_FILE}"})
    host.monitor.wait_for_migration(STATE_LIMIT)
    host.monitor.execute("cont")


GOLDEN = "golden.qcow2"


def forward(host: Started, preferred: int | None = None) -> int:
    """Lead a port of 127.0.0.1 to the host's SSH; returns the port, which its peers find in
    PORT_FILE."""
    before = {host.machine.name: preferred} if preferred else {}
    for _ in range(PORT_TRIES):
        port = ports.free(host.machine.name, before)
        rule = f"tcp:{ports.LOOPBACK}:{port}-{qemu.GUEST_ADDRESS}:{qemu.SSH_PORT}"
        said = host.monitor.human(f"hostfwd_add {qemu.NETWORK} {rule}").strip()
        if not said:
            files.write(host.where / qemu.PORT_FILE, f"{port}\n")
            return port
        before = {}
    raise CommandFailed("qemu", "hostfwd_add", (said,))


def end(where: Path) -> None:
    """End the host in that folder, if it runs, and return when it is gone."""
    found = store.run_of(where)
    if found:
        processes.end([found.keeper])
        processes.end([found.qemu], patience=0)
        store.forget_run(where)
