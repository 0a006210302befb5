"""Nova as a disk: the very versions that the lab runs with, for the Python of virtual hosts.

Made once and mounted read-only at MOUNT by every real host. pip fetches wheels for that Python
whatever Python this is, so nothing is compiled here; what has no wheel is left out.
"""

import compileall
import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gpufarm.lab.virthost import commands, store
from gpufarm.lab.virthost.building import Building, Note, key_of, only_builder
from gpufarm.model.errors import LabIncomplete

RECIPE = 1
"""Raised when the build changes in a way that the key does not show."""

MOUNT = "/opt/nova"
LABEL = "nova"
SITE = f"{MOUNT}/site"
DISK = "nova.ext4"

PYTHON = (3, 11)
"""That of the virtual hosts' Debian 12."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
"""What Debian 12's glibc 2.36 runs."""

LEFT_OUT = frozenset({"ovs"})
"""Without a wheel: bindings of Open vSwitch, which real hosts do not have."""
UNNEEDED = ("tests", "locale")
"""Folders of packages that no service reads."""

PIP_LIMIT, DISK_LIMIT = 1200.0, 300.0
ROOM = 64 << 20
"""For the file system's own tables, beside the files."""


def get(note: Note) -> Path:
    """The disk; built where it is not there yet, which `note` is told of."""
    found = _folder() / DISK
    if found.exists():
        return found
    with only_builder(store.cache(), note):
        if not found.exists():
            _make(note)
    return found


def pins() -> dict[str, str]:
    """{distribution: version} of Nova and all it needs, as the lab has them here.

    LabIncomplete where one is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement("nova")]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            distribution = _distribution(name)
            found[name] = distribution.version
            needed = map(Requirement, distribution.requires or ())
            waiting += [each for each in needed if _applies(each, extra)]
    return {name: version for name, version in sorted(found.items()) if name not in LEFT_OUT}


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise LabIncomplete(
            f"real hosts need {name}, which {sys.executable} does not have: "
            "`pip install 'gpufarm[lab]'`"
        ) from error


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _folder() -> Path:
    return store.cache() / f"nova-{key_of(RECIPE, pins(), PLATFORMS, UNNEEDED)}"


def _make(note: Note) -> None:
    commands.need("mke2fs")
    if importlib.util.find_spec("pip") is None:
        raise LabIncomplete(
            f"real hosts need pip, which {sys.executable} does not have: "
            f"`{sys.executable} -m ensurepip`"
        )
    note("building the disk with Nova for real hosts, once: about a minute on 2 idle cores")
    with Building(store.cache(), _folder(), note) as building:
        tree = building.path("tree")
        site = tree / "site"
        with building.stage("installing Nova", 40):
            commands.run(_pip(site), limit=PIP_LIMIT)
            _strip(site)
        with building.stage("compiling it", 25):
            _compile(tree)
        with building.stage("making its disk", 5):
            _make_disk(tree, building.path(DISK))
            shutil.rmtree(tree)


def _pip(target: Path) -> list[str]:
    python = ".".join(map(str, PYTHON))
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-compile", "--no-deps", "--only-binary=:all:", "--target", str(target)),
        *("--implementation", "cp", "--python-version", python),
        *(word for platform in PLATFORMS for word in ("--platform", platform)),
        *(f"{name}=={version}" for name, version in pins().items()),
    ]


def _strip(site: Path) -> None:
    for name in UNNEEDED:
        for found in sorted(site.glob(f"**/{name}/")):
            shutil.rmtree(found, ignore_errors=True)


def _compile(tree: Path) -> None:
    """Bytecode of that Python, where there is one here; the hosts keep their own otherwise.

    Unchecked: the disk never changes, and a look at each source costs an emulated processor time.
    """
    mode = "unchecked-hash"
    options = ("-q", "-j", "0", "-s", str(tree), "-p", MOUNT, "--invalidation-mode", mode)
    if sys.version_info[:2] == PYTHON:
        python: str | None = sys.executable
    else:
        python = shutil.which(f"python{PYTHON[0]}.{PYTHON[1]}")
    if python:
        # Some packages ship templates that are no Python: its status says nothing.
        command = [python, "-m", compileall.__name__, *options, str(tree)]
        commands.run(["sh", "-c", '"$@" || :', "sh", *command], limit=PIP_LIMIT)


def _make_disk(tree: Path, disk: Path) -> None:
    size = sum(path.lstat().st_size + 4096 for path in tree.rglob("*")) + ROOM
    with disk.open("wb") as stream:
        stream.truncate(size)
    make = ("mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-O", "^has_journal", "-m", "0")
    owner = ("-E", "root_owner=0:0")
    commands.run([*make, *owner, "-d", str(tree), str(disk)], limit=DISK_LIMIT)
