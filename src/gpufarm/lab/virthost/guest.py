"""Reaching a virtual host over SSH: the key, the configuration, and commands with time limits.

The private key is one of the state folder's, and never leaves it. The host's own key is that of the
image, and pinned: a connection to anything else is refused.
"""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gpufarm.lab.ports import LOOPBACK
from gpufarm.lab.virthost import commands, store
from gpufarm.model.errors import LabError, VirtualHostFailed
from gpufarm.system import files, reach, ssh
from gpufarm.system import run as programs
from gpufarm.system.run import Done

KEY = "id_ed25519"
CONFIG = "ssh_config"
KNOWN = "known_hosts"
HOST_ALIAS = "virtual-host"
"""The name of the image's host key in every known_hosts file."""

SOCKET = "ssh"
"""Of the connection that commands share; it lies in the host's folder, which is its owner's."""
LONGEST_SOCKET = 107 - 17
"""unix(7), less what ssh puts behind the name while it makes the socket (mux.c)."""

COMMAND_LIMIT = 120.0
SSH_FAILED = 255


class Guest(msgspec.Struct, frozen=True):
    """A host that SSH reaches by `name` with the file `config`."""

    name: str
    config: Path

    def command(self, *words: str) -> tuple[str, ...]:
        """The words that run `words` there; ssh joins them for the shell of the other side."""
        return ("ssh", "-F", str(self.config), self.name, *words)

    def run(self, text: str, limit: float = COMMAND_LIMIT, *, shared: bool = True) -> Done:
        """What the script `text` did in the host's shell; ProgramTimedOut after `limit` seconds."""
        words = ssh.words(self.name, self.config, "sh -s", shared=shared)
        return programs.run(words, timeout=limit, stdin=text.encode())

    def part(self) -> None:
        """End the connection that commands share: that of a host which goes down hangs."""
        ssh.part(self.name, self.config)

    def ask(self, text: str, limit: float = COMMAND_LIMIT) -> str:
        """What the script prints; VirtualHostFailed where its status is not 0."""
        return self.output(self.run(text, limit))

    def read(self, path: str) -> bytes:
        """All of a file there; VirtualHostFailed where it cannot be read."""
        return self._well(self.run(f"cat {shlex.quote(path)}")).stdout

    def output(self, done: Done) -> str:
        """What it printed; VirtualHostFailed where its status is not 0."""
        return self._well(done).stdout.decode(errors="replace")

    def _well(self, done: Done) -> Done:
        if done.status:
            lines = commands.last_lines(done.stderr or done.stdout)
            problem = f"a command ended with status {done.status}"
            raise VirtualHostFailed(self.name, problem, str(self.config.parent), lines)
        return done


def public_key(state: Path) -> str:
    """The line that lets in who has the key of that state folder; made at the first call."""
    return public_half(own_key(state, KEY))


def own_key(state: Path, name: str) -> Path:
    """The private half of a key pair of that state folder; made at the first call."""
    folder = store.hosts_folder(state)
    path = folder / name
    with files.lock(folder / "lock", wait=True):
        if not path.exists():
            make_key(path)
    return path


def make_key(path: Path) -> None:
    """A new key pair at `path`, whole or not there; the private half is the owner's only."""
    building = path.with_name(f".{path.name}.new")
    for leftover in (building, _public(building)):
        leftover.unlink(missing_ok=True)
    words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gpufarm", "-f", str(building))
    commands.need("ssh-keygen")
    commands.run(words, limit=60)
    _public(building).replace(_public(path))
    building.replace(path)


def public_half(path: Path) -> str:
    """The public half of the key pair at `path`: kind and key, one line without a comment."""
    kind, text, *_ = _public(path).read_text().split()
    return f"{kind} {text}\n"


def remove_key(path: Path) -> None:
    path.unlink()
    _public(path).unlink()


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def pin(where: Path, host_key: str) -> None:
    """Trust that key, and no other, for the host in the folder `where`."""
    files.write(where / KNOWN, f"{HOST_ALIAS} {host_key}")


def pinned(where: Path) -> str:
    """The key that is trusted for the host in the folder `where`, one line."""
    return (where / KNOWN).read_text().removeprefix(f"{HOST_ALIAS} ")


def configure(state: Path) -> Path:
    """Write anew the configuration with which SSH reaches the hosts of that state folder."""
    folder = store.hosts_folder(state)
    with files.lock(folder / "lock", wait=True):
        found = [store.load(state, name) for name in store.names(state)]
        text = "".join(
            stanza(host.machine.name, host.port, folder / KEY, folder / host.machine.name / KNOWN)
            for host in found
            if host.port is not None
        )
        files.write_if_changed(folder / CONFIG, text)
    return folder / CONFIG


def stanza(name: str, port: int, key: Path, known: Path) -> str:
    """One host in ssh_config(5)."""
    settings = {
        "HostName": LOOPBACK,
        "Port": str(port),
        "User": "root",
        "IdentityFile": _quoted(key),
        "IdentitiesOnly": "yes",
        "HostKeyAlias": HOST_ALIAS,
        "UserKnownHostsFile": _quoted(known),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PasswordAuthentication": "no",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "8",
        # The default, sntrup761x25519, takes the emulated CPU much longer.
        "KexAlgorithms": "curve25519-sha256",
        # A connection costs the emulated CPU a second or two.
        "ControlMaster": "auto",
        "ControlPath": _socket(known.with_name(SOCKET)),
        "ControlPersist": "60",
        "LogLevel": "ERROR",
    }
    lines = "".join(f"    {name} {value}\n" for name, value in settings.items())
    return f"Host {name}\n{lines}"


def _socket(path: Path) -> str:
    """Where the path of a UNIX socket would be too long, each command has its own connection."""
    return _quoted(path) if len(os.fsencode(path)) <= LONGEST_SOCKET else "none"


def _quoted(path: Path) -> str:
    text = str(path)
    if '"' in text or "${" in text or not text.isprintable():
        raise LabError(f"{text}: SSH cannot be told of a file of that name: choose another --state")
    return '"' + text.replace("%", "%%") + '"'


def first_answer(
    guest: Guest, port: int, script: Callable[[], str], limit: float, check: Callable[[], None]
) -> str:
    """What `script()` prints there once SSH answers; `check` raises where it never will.

    VirtualHostFailed after `limit` seconds, or where the script fails.
    """
    deadline = time.monotonic() + limit
    while True:
        check()
        if reach.ssh(LOOPBACK, port):
            done = guest.run(script(), max(deadline - time.monotonic(), COMMAND_LIMIT))
            if done.status != SSH_FAILED:
                return guest.output(done)
        if time.monotonic() > deadline:
            problem = f"SSH does not answer within {limit:.0f} s"
            raise VirtualHostFailed(guest.name, problem, str(guest.config.parent))
        time.sleep(0.1)
