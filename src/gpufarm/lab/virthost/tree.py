"""QEMU as an unpacked folder, run by its own loader: nothing is installed on this machine.

Virtual hosts need `vfio-user-pci`, which no stable Debian or Ubuntu has in its QEMU yet.
"""

import platform
from pathlib import Path

import msgspec

from gpufarm.lab.virthost import commands, debian, store
from gpufarm.lab.virthost.building import Building, Note, key_of
from gpufarm.model.errors import LabIncomplete
from gpufarm.system import files

RECIPE = 1
"""Raised when what is unpacked changes in a way that the command line does not show."""

LIMIT = 900.0
LIBRARIES = "usr/lib/x86_64-linux-gnu"
SYSTEM = "qemu-system-x86_64"
UNNEEDED = ("./usr/share/doc", "./usr/share/locale", "./usr/share/man")


class Tree(msgspec.Struct, frozen=True):
    """An unpacked QEMU. `version` is what it says of itself: a saved state fits only that one."""

    folder: Path
    version: str

    def command(self, program: str = SYSTEM) -> tuple[str, ...]:
        """The words that start one of its programs."""
        loader = str(self.folder / "usr/lib64/ld-linux-x86-64.so.2")
        libraries = ("--library-path", str(self.folder / LIBRARIES))
        started = (loader, *libraries, str(self.folder / "usr/bin" / program))
        if program != SYSTEM:
            return started
        data = (self.folder / "usr/share" / name for name in ("qemu", "seabios"))
        return (*started, *(word for path in data for word in ("-L", str(path))))

    @property
    def environment(self) -> dict[str, str]:
        return {"QEMU_MODULE_DIR": str(self.folder / LIBRARIES / "qemu")}


def find() -> Tree | None:
    """The QEMU that is unpacked already."""
    folder = _folder()
    try:
        return Tree(folder, (folder / "version").read_text())
    except FileNotFoundError:
        return None


def make(note: Note) -> Tree:
    """Unpack QEMU; the caller holds the cache's lock."""
    if platform.machine() != "x86_64":
        raise LabIncomplete(f"virtual hosts need an x86_64 machine, this is {platform.machine()}")
    commands.need("mmdebstrap", "unshare", "tar", "apt-get")
    debian.need_keys()
    uri = debian.mirror()
    with Building(store.cache(), _folder(), note) as building:
        with building.stage("unpacking QEMU", 30):
            archive = building.path("qemu.tar")
            command = commands.as_root(debian.fetch_qemu(uri, archive))
            with debian.packages_of(uri):
                commands.run(command, limit=LIMIT)
            unwanted = [f"--exclude={path}" for path in UNNEEDED]
            unpack = ("tar", "--extract", "--no-same-owner", "--file", str(archive))
            commands.run(
                [*unpack, "--directory", str(building.folder), *unwanted, "./usr"], limit=LIMIT
            )
            archive.unlink()
        made = Tree(building.folder, "")
        said = commands.run([*made.command(), "--version"], limit=60, environment=made.environment)
        files.write(building.path("version"), said.splitlines()[0])
    return find() or made


def _folder() -> Path:
    recipe = debian.fetch_qemu("URI", Path("TARGET"))
    return store.cache() / f"qemu-{key_of(RECIPE, recipe)}"
