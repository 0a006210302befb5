"""Who has a VFIO device open."""

from gpufarm.host.numbers import natural
from gpufarm.host.reading import Reading
from gpufarm.model.facts import Holder
from gpufarm.model.printable import printable
from gpufarm.system.secrets import only_guest_name

FOLDER = "/dev/vfio"
CONTAINER = "/dev/vfio/vfio"
"""Open in every process that uses VFIO; it says nothing about which device."""


def groups(reading: Reading) -> tuple[int, ...]:
    """The IOMMU groups with a node in /dev/vfio."""
    found = (natural(name) for name in reading.root.names(FOLDER))
    return tuple(sorted(number for number in found if number is not None))


def read(reading: Reading) -> tuple[Holder, ...] | None:
    """None where the processes of others cannot be looked at."""
    if not set(reading.root.names(FOLDER)) - {"vfio"}:
        return ()
    paths: dict[int, set[str]] = {}
    for link, path in reading.root.open_below(f"{FOLDER}/").items():
        pid = natural(link.split("/")[2])
        if path != CONTAINER and pid is not None:
            paths.setdefault(pid, set()).add(printable(path))
    if not paths and any(path.startswith("/proc/") for path in reading.root.unreadable):
        return None
    return tuple(
        Holder(
            pid=pid,
            command=reading.line(f"/proc/{pid}/comm") or "?",
            guest=_guest(reading.root.text(f"/proc/{pid}/cmdline", only_guest_name) or ""),
            paths=tuple(sorted(paths[pid])),
        )
        for pid in sorted(paths)
    )


def _guest(words: str) -> str | None:
    """The name of the guest in QEMU's `-name guest=NAME,...` or `-name NAME,...`."""
    given = words.split("\0")
    if "-name" not in given[:-1]:
        return None
    name = given[given.index("-name") + 1].split(",")[0].removeprefix("guest=")
    return printable(name) or None
