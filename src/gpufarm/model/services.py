"""What runs on a host: services of systemd, and the files of ours that say how."""

from collections.abc import Iterable
from typing import Final

import msgspec

from gpufarm.model.hardware import Hardware
from gpufarm.model.host_change import RunCommand

RESTART: Final = ("systemctl", "restart")


class Service(msgspec.Struct, frozen=True):
    """A unit as systemd says: `active` and `sub` are ActiveState and SubState of systemctl(1).

    `run` differs between two starts of it (InvocationID).
    """

    name: str
    active: str
    sub: str
    enabled: bool
    run: str

    @property
    def runs(self) -> bool:
        return self.active in ("active", "reloading")

    @property
    def failed(self) -> bool:
        """Also one that systemd is about to start once more."""
        return self.active == "failed" or self.sub == "auto-restart"

    @property
    def wanted(self) -> bool:
        """Whether it is meant to run; what is installed and neither enabled nor running is not."""
        return self.enabled or self.active != "inactive"


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is what Nova calls this host; `files` and `paths` are those asked for that are there.

    `aliases` has {path: values of [pci] alias} of every file of Nova's.
    `due` are services whose restart was interrupted, so that they may not have read their files.
    `cpu_sets` are Nova's options that give servers some CPUs only, and where they stand; `hardware`
    is None where the kernel does not tell.
    """

    host: str
    files: dict[str, str] = {}
    paths: frozenset[str] = frozenset()
    services: tuple[Service, ...] = ()
    aliases: dict[str, tuple[str, ...]] = {}
    due: frozenset[str] = frozenset()
    hardware: Hardware | None = None
    cpu_sets: tuple[str, ...] = ()


def restart(services: Iterable[str], reason: str) -> RunCommand:
    """Undone by the same, after the files have their old content again."""
    words = (*RESTART, *services)
    return RunCommand(words=words, alters=(), undo=words, reason=reason)


def restarted(words: Iterable[str]) -> frozenset[str]:
    """The services that a command restarts, given its words; none for any other command."""
    first, second, *names = (*words, "", "")
    return frozenset(names) - {""} if (first, second) == RESTART else frozenset()
