"""A virtual host on which Nova waits to be configured: its saved state, made once.

It is the image of all virtual hosts with the disk of `nova_disk` mounted and its modules imported,
so that a real host of a lab has its nova-compute up seconds after it was resumed.
"""

from pathlib import Path

import msgspec

from gpufarm.lab.real import launcher, nova_disk
from gpufarm.lab.virthost import image, qemu, rootfs, store
from gpufarm.lab.virthost.building import Building, Note, key_of, only_builder
from gpufarm.lab.virthost.cards import Card
from gpufarm.lab.virthost.image import MANIFEST, Image, Manifest, Stage
from gpufarm.lab.virthost.machine import Machine
from gpufarm.system import files

MEMORY_MB = 1536
"""Nova and libvirt take some 400 MB of it; the rest is for guests."""

UNIT = "nova-compute"
LAUNCHER = "/usr/local/lib/nova-compute.py"
KERNEL, INITRD = "guest-kernel", "guest-initrd"
FETCHED = {KERNEL: "/vmlinuz", INITRD: rootfs.GUEST_IMAGE}
"""What a guest of the host boots; the lab's Glance gets it from there."""

SERVICE = f"""\
[Unit]
Description=OpenStack Compute
RequiresMountsFor={nova_disk.MOUNT}
After=network.target libvirtd.socket

[Service]
ExecStart=/usr/bin/python3 {LAUNCHER}
ExecReload=/bin/kill -HUP $MAINPID
Environment=PYTHONPATH={nova_disk.SITE} PYTHONWARNINGS=ignore
KillMode=mixed
TimeoutStopSec=15

[Install]
WantedBy=multi-user.target
"""
OWN_BYTECODE = """\
[Service]
Environment=PYTHONPYCACHEPREFIX=/var/cache/nova
"""
"""Where the disk has none, as it was made by another Python."""

INSTALL = f"""\
set -e
mkdir -p {nova_disk.MOUNT} /etc/nova/nova.conf.d /var/lib/nova/instances /var/log/nova
chmod 700 /etc/nova
echo 'LABEL={nova_disk.LABEL} {nova_disk.MOUNT} ext4 ro 0 0' >> /etc/fstab
cat > {LAUNCHER} <<'END'
{Path(launcher.__file__).read_text()}END
cat > /etc/systemd/system/{UNIT}.service <<'END'
{SERVICE}END
systemctl daemon-reload
mount {nova_disk.MOUNT}
if [ ! -d {nova_disk.SITE}/nova/__pycache__ ]; then
    mkdir /etc/systemd/system/{UNIT}.service.d
    cat > /etc/systemd/system/{UNIT}.service.d/bytecode.conf <<'END'
{OWN_BYTECODE}END
    systemctl daemon-reload
fi
systemctl enable --quiet --now {UNIT}
until [ -e {launcher.IMPORTED} ]; do
    systemctl --quiet is-active {UNIT} || {{ journalctl -u {UNIT} | tail -20 >&2; exit 1; }}
    sleep 1
done
modprobe vfio-pci
virsh --quiet nodedev-list > /dev/null
virsh --quiet capabilities > /dev/null
"""
"""The last one has libvirt ask QEMU what it can do, which takes eight seconds and is kept."""


def machine(name: str, cards: tuple[Card, ...], disk: Path) -> Machine:
    """The real host of that name, which reaches nothing yet."""
    return Machine(name=name, cards=cards, memory_mb=MEMORY_MB, disks=(disk,))


def get(note: Note) -> Image:
    """The image; built, with all below it, where it is not there yet."""
    base, disk = image.get(note), nova_disk.get(note)
    bare = machine(image.MACHINE.name, (), disk)
    folder = store.cache() / f"compute-{_key(base, bare)}"
    if not (folder / MANIFEST).exists():
        with only_builder(store.cache(), note):
            if not (folder / MANIFEST).exists():
                _make(folder, base, bare, note)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    return Image(folder, base.tree, manifest, bare)


def _key(base: Image, bare: Machine) -> str:
    made_from = (base.folder.name, str(base.manifest.built), *map(str, bare.disks))
    return key_of(made_from, qemu.arguments(bare), INSTALL, FETCHED, image.SETTLE)


def _make(folder: Path, base: Image, bare: Machine, note: Note) -> None:
    note("preparing what real hosts resume from, once: about a minute and a half on 2 idle cores")
    with Building(store.cache(), folder, note) as building:
        stages = (Stage("importing Nova", 45, INSTALL),)
        key = base.manifest.host_key
        plan = image.Plan(base.tree, bare, base.cold, key, stages, FETCHED)
        image.boot_and_save(building, plan)
        files.write(building.path(MANIFEST), msgspec.json.encode(base.manifest))
