"""The image of virtual hosts: a Debian that GRUB boots, and the saved state of one that has booted.

It is made once: packages, a disk with a partition, a first boot that installs GRUB, a saved state.
What it is made from is in its key; the versions of its packages are in its manifest.
"""

import time
from pathlib import Path

import msgspec

from gpufarm.lab.virthost import (
    boot_sector,
    commands,
    debian,
    guest,
    qemu,
    rootfs,
    running,
    store,
    tree,
)
from gpufarm.lab.virthost.building import Building, Note, key_of, only_builder
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import SWITCH_ADDRESS, Machine
from gpufarm.lab.virthost.running import Disk, Started
from gpufarm.lab.virthost.tree import Tree
from gpufarm.model.errors import DiskFull, VirtualHostFailed
from gpufarm.system import files, processes

RECIPE = 1
"""Raised when the build changes in a way that none of the key's parts shows."""

DISK_SIZE = 4 << 30
NEEDED_MB = 4096
"""While it is built; done, QEMU and the image take 1.4 GB."""

PACKAGES_LIMIT = 1800.0
DISK_LIMIT = 600.0
BOOT_LIMIT = 600.0
STAGE_LIMIT = 900.0
POWEROFF_LIMIT = 180.0

MACHINE = Machine(name=rootfs.PLACEHOLDER_NAME)
"""Whose state is saved. AMD's IOMMU cannot be (QEMU: `unmigratable`), and is booted instead."""

RAW, MANIFEST = "disk.raw", "manifest.json"

PREPARE = """\
set -e
grub-install /dev/vda
update-grub
"""
SETTLE = f"""\
set -e
systemctl is-system-running --wait
virsh --quiet list
echo 1 > /sys/bus/pci/devices/{SWITCH_ADDRESS}/remove
sync
echo 3 > /proc/sys/vm/drop_caches
"""
"""The switch comes back with a rescan, and then with windows as large as what is below it needs:
a downstream port, unlike a root port, cannot be told to keep some free."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`packages` are versions by name; `built` in seconds since the epoch."""

    host_key: str
    qemu: str
    built: float
    packages: dict[str, str]


class Image(msgspec.Struct, frozen=True):
    """An image, with the QEMU that its state was saved by, and the machine that was saved."""

    folder: Path
    tree: Tree
    manifest: Manifest
    machine: Machine = MACHINE

    @property
    def cold(self) -> Disk:
        """What a host's disk begins as where it boots."""
        return Disk(self.folder / running.GOLDEN, "qcow2")

    @property
    def warm(self) -> Disk:
        """What a host's disk begins as where it goes on from `state`."""
        return Disk(self.folder / qemu.DISK, "qcow2")

    @property
    def state(self) -> Path:
        return self.folder / running.STATE_FILE


def resumes(machine: Machine, saved: Machine = MACHINE) -> bool:
    """Whether such a host can go on from the state of `saved`, instead of booting."""
    addressed = any(card.address for card in machine.cards)
    bare = msgspec.structs.replace(machine, name=saved.name, cards=(), reaches=(), peers=())
    return not addressed and bare == saved


def get(note: Note) -> Image:
    """The image; built where it is not there yet, which `note` is told of."""
    found = find()
    if found:
        return found
    with only_builder(store.cache(), note):
        found = find()
        if found:
            return found
        free = files.free_mb(store.cache())
        if free < NEEDED_MB:
            fix = "free some, or set XDG_CACHE_HOME to another disk"
            raise DiskFull(str(store.cache()), NEEDED_MB, free, fix)
        note("building what virtual hosts boot from, once: about 2 minutes on 2 idle cores")
        return _make(tree.find() or tree.make(note), note)


def find() -> Image | None:
    """The image that is there already."""
    found = tree.find()
    if found is None:
        return None
    folder = store.cache() / f"image-{key(found.version)}"
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return Image(folder, found, msgspec.json.decode(data, type=Manifest))


def key(version: str) -> str:
    """A name for what it is made from: packages, files, QEMU's version, the machine, commands."""
    recipe = debian.bootstrap(
        "URI", Path("TARGET"), rootfs.PACKAGES, rootfs.hooks(*[Path("X")] * 2)
    )
    disk = (rootfs.files("KEY"), rootfs.EARLY_FILES, rootfs.LINKS, DISK_SIZE)
    return key_of(RECIPE, version, recipe, disk, qemu.arguments(MACHINE), PREPARE, SETTLE)


def _make(found: Tree, note: Note) -> Image:
    commands.need("mmdebstrap", "mke2fs", "unshare", "ssh", "ssh-keygen")
    debian.need_keys()
    target = store.cache() / f"image-{key(found.version)}"
    with Building(store.cache(), target, note) as building:
        with building.stage("installing Debian", 60):
            host_key = _install(building)
        with building.stage("making the disk", 5):
            _make_disk(building)
        grub = Stage("installing GRUB", 10, PREPARE)
        boot_and_save(building, Plan(found, MACHINE, Disk(RAW, "raw"), host_key, (grub,)))
        manifest = Manifest(
            host_key=host_key,
            qemu=found.version,
            built=time.time(),
            packages=_versions(building.path("packages").read_text()),
        )
        files.write(building.path(MANIFEST), msgspec.json.encode(manifest))
    return Image(target, found, manifest)


def _install(building: Building) -> str:
    """Debian in the folder `root`; returns the public half of the host's key."""
    private, public = _key_pair(building.path("host-key"))
    early, late = building.path("early.tar"), building.path("late.tar")
    contents = {path: (text, 0o644) for path, text in rootfs.EARLY_FILES.items()}
    rootfs.write_tar(early, contents, {})
    rootfs.write_tar(late, rootfs.files(private), rootfs.LINKS)
    hooks = rootfs.hooks(early, late)
    uri = debian.mirror()
    command = debian.bootstrap(uri, building.path("root"), rootfs.PACKAGES, hooks)
    with debian.packages_of(uri):
        commands.run(
            commands.as_root(command),
            limit=PACKAGES_LIMIT,
            environment={"TMPDIR": str(building.folder)},
        )
    for path in (early, late):
        path.unlink()
    return public


def _key_pair(path: Path) -> tuple[str, str]:
    """A new key pair's private text and its public half, without files left."""
    guest.make_key(path)
    private, public = path.read_text(), guest.public_half(path)
    guest.remove_key(path)
    return private, public


def _make_disk(building: Building) -> None:
    """The folder `root` as a disk with one partition; no loop device is needed for it."""
    root, raw = building.path("root"), building.path(RAW)
    with raw.open("wb") as stream:
        stream.truncate(DISK_SIZE)
    offset = boot_sector.FIRST_PARTITION
    options = f"offset={offset},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    size = f"{(DISK_SIZE - offset) // 1024}k"
    make = ("mke2fs", "-q", "-t", "ext4", "-U", rootfs.UUID, "-E", options, "-d", str(root))
    commands.run(commands.as_root([*make, str(raw), size]), limit=DISK_LIMIT)
    boot, core = ((root / path).read_bytes() for path in (rootfs.GRUB_BOOT, rootfs.GRUB_CORE))
    with raw.open("r+b") as stream:
        stream.write(boot_sector.first_megabyte(boot, core, DISK_SIZE))
    files.write(building.path("packages"), (root / rootfs.VERSIONS).read_bytes())
    commands.run(commands.as_root(["rm", "-rf", str(root)]), limit=DISK_LIMIT)


def _versions(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


class Stage(msgspec.Struct, frozen=True):
    """A script that is run on a host before its state is saved; `seconds` on two idle cores."""

    name: str
    seconds: int
    script: str


class Plan(msgspec.Struct, frozen=True):
    """What boots from which disk, and what is done there; `fetched` are files kept: {name: path}.

    `disk` is named from the folder of the building.
    """

    tree: Tree
    machine: Machine
    disk: Disk
    host_key: str
    stages: tuple[Stage, ...]
    fetched: dict[str, str] = {}


def boot_and_save(building: Building, plan: Plan) -> None:
    """Boot the machine, run the stages on it, save its state, and power it off."""
    where = building.folder
    private = where / guest.KEY
    guest.make_key(private)
    guest.pin(where, plan.host_key)
    opener = guest.public_half(private)
    with running.started(where, plan.machine, plan.tree, disk=plan.disk, key=opener) as host:
        try:
            with building.stage("first boot", 25):
                reached = _reach(host, private)
            for each in plan.stages:
                with building.stage(each.name, each.seconds):
                    reached.ask(each.script, STAGE_LIMIT)
            for name, path in plan.fetched.items():
                files.write(building.path(name), reached.read(path))
            with building.stage("saving the state", 10):
                reached.ask(SETTLE, BOOT_LIMIT)
                running.save(host)
            with building.stage("powering off", 10):
                _power_off(host, reached)
        finally:
            running.end(where)
    guest.remove_key(private)


def _reach(host: Started, private: Path) -> Guest:
    port = running.forward(host)
    config = host.where / guest.CONFIG
    stanza = guest.stanza(host.machine.name, port, private, host.where / guest.KNOWN)
    files.write(config, stanza)
    reached = Guest(host.machine.name, config)
    guest.first_answer(reached, port, lambda: "exit 0", BOOT_LIMIT, host.check)
    return reached


def _power_off(host: Started, reached: Guest) -> None:
    reached.run("systemctl poweroff", POWEROFF_LIMIT)
    deadline = time.monotonic() + POWEROFF_LIMIT
    found = store.run_of(host.where)
    while found and processes.alive(found.qemu):
        if time.monotonic() > deadline:
            problem = f"it did not power off within {POWEROFF_LIMIT:.0f} s"
            raise VirtualHostFailed(host.machine.name, problem, str(host.where))
        time.sleep(0.1)
