"""The programs that virtual hosts need, and how they are run so that none outlives its caller."""

import os
import shutil
from collections.abc import Mapping, Sequence

from gpufarm.model.errors import CommandFailed, LabIncomplete
from gpufarm.system import run as programs

LAST_LINES = 12
SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""mke2fs lies in a folder that is not in everybody's PATH."""

WITH_CALLER = ("setpriv", "--pdeathsig", "KILL", "--")
"""Killed by the kernel when the thread that started it ends, in whatever way."""

PACKAGES = {
    "apt-get": "apt",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "unshare": "util-linux",
}
"""{program: the Debian package that has it}"""


def need(*names: str) -> None:
    """LabIncomplete, with the command that helps, where this machine lacks one of them."""
    missing = [name for name in names if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES.get(name, name) for name in missing}))
        raise LabIncomplete(
            f"virtual hosts need {', '.join(missing)}, which this machine does not have: "
            f"`sudo apt-get install {packages}`"
        )


def path(name: str) -> str:
    """Where that program of this machine is; LabIncomplete where it is not."""
    need(name)
    return shutil.which(name, path=SYSTEM_PATH) or name


def as_root(command: Sequence[str]) -> tuple[str, ...]:
    """`command` where it owns any file that it makes, and where what it starts ends with it.

    Mounts and processes live in name spaces of their own. Who is not root is root in a name space
    of users, with the ids that /etc/subuid grants.
    """
    mapped = () if os.geteuid() == 0 else ("--map-root-user", "--map-auto")
    apart = ("--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
    return ("unshare", *mapped, *apart, "--", *command)


def run(
    command: Sequence[str], *, limit: float, environment: Mapping[str, str] | None = None
) -> str:
    """What `command` prints. It ends with this process, in whatever way that ends.

    CommandFailed where it fails, with its last lines; ProgramTimedOut after `limit` seconds.
    """
    done = programs.run([*WITH_CALLER, *command], timeout=limit, environment=environment)
    if done.status:
        problem = f"ended with status {done.status}"
        raise CommandFailed(command[0], problem, last_lines(done.stderr or done.stdout))
    return done.stdout.decode(errors="replace")


def last_lines(output: bytes) -> tuple[str, ...]:
    """The end of what a program wrote, without what would move a terminal's cursor."""
    lines = output[-8192:].decode(errors="replace").splitlines()
    return tuple("".join(c for c in line if c.isprintable()) for line in lines[-LAST_LINES:])
