"""A real sshd on 127.0.0.1, with keys and a port of its own, for as long as a test session."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NEEDED = "install openssh-client and openssh-server: the tests read hosts over a real SSH"

COMMANDS = {
    "plain": None,
    "noisy": "echo Welcome; echo to this host; exec sh -s",
    "no-shell": "echo This account is not available.; exit 1",
    "echo": "cat",
    "half": "sh -s | head -c 3000",
    "liar": r"printf 'gpufarm-collect 1\nF /etc/x\nevil\nend\n'",
    "endless": "yes",
    "slow": "sleep 60",
}
"""What the host does for each name that ssh's configuration has: a shell, or something else."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _key(path: Path) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True
    )
    return path.with_suffix(".pub").read_text().strip()


def _server(folder: Path, port: int) -> list[str]:
    _key(folder / "host")
    allowed = []
    for name, command in COMMANDS.items():
        options = f'restrict,command="{command}" ' if command else "restrict "
        allowed.append(options + _key(folder / name))
    (folder / "authorized").write_text("\n".join(allowed) + "\n")
    (folder / "authorized").chmod(0o600)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "PrintMotd": "no",
        "LogLevel": "ERROR",
    }
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
    return [SSHD, "-f", str(folder / "sshd_config"), "-D", "-e"]


def _client(folder: Path, port: int) -> Path:
    blocks = [
        f"Host {name}\n  IdentityFile {folder / name}\n  IdentitiesOnly yes\n" for name in COMMANDS
    ]
    config = folder / "ssh_config"
    config.write_text(
        "".join(blocks) + f"Host *\n  HostName 127.0.0.1\n  Port {port}\n"
        f"  User {getpass.getuser()}\n  StrictHostKeyChecking no\n  LogLevel ERROR\n"
        f"  UserKnownHostsFile {folder / 'known_hosts'}\n  IdentityAgent none\n"
    )
    return config


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Path]:
    """The client's configuration, with a host of each name of `COMMANDS`."""
    if not (Path(SSHD).exists() and shutil.which("ssh-keygen")):
        raise RuntimeError(NEEDED)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's, made at its start by init
    port = _free_port()
    with subprocess.Popen(_server(folder, port), stderr=subprocess.DEVNULL) as running:
        try:
            _wait(port)
            yield _client(folder, port)
        finally:
            running.terminate()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
