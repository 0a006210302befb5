"""The machine that gpufarm runs on, as a root."""

from gpufarm.model.errors import ProgramError
from gpufarm.model.printable import printable
from gpufarm.system.root import Folder
from gpufarm.system.run import run

PROGRAMS: dict[str, tuple[tuple[str, ...], ...]] = {
    # Debian's name, and that of the RHEL family (the package qemu-kvm-core).
    "qemu": (("qemu-system-x86_64", "--version"), ("/usr/libexec/qemu-kvm", "--version")),
}
"""What is asked for its version, and by which programs: the first that is there answers."""

TIMEOUT = 20.0
"""Seconds. They answer in less than one; a virtual host without KVM takes several."""


class Machine(Folder):
    """`/`, with its programs."""

    def __init__(self) -> None:
        super().__init__("/")

    def output(self, program: str) -> str | None:
        for words in PROGRAMS[program]:
            try:
                done = run(words, timeout=TIMEOUT)
            except ProgramError:
                continue
            if done.status == 0:
                return printable(done.stdout.strip().split(b"\n")[0])
        return None
