"""A host as a folder: plain files for /etc, /boot and sysfs, and a kernel that answers to writes.

The kernel's part is model_kernel.sh, which takes the place of the agent's only doors to it (`tell`,
`load`, `call` in agent/basics.sh). What it does is what virtual hosts show of a real one.
"""

import shutil
import stat
from pathlib import Path
from typing import Any

from gpufarm.host import facts
from gpufarm.model.facts import HostFacts
from gpufarm.system import agent
from gpufarm.system.agent import Answer, Book, Verb
from gpufarm.system.root import Folder

PCI = "sys/bus/pci"
DEFAULT_GRUB = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="console=ttyS0"\n'
RELEASE = "6.1.0-test"

KERNEL = (Path(__file__).parent / "model_kernel.sh").read_text()


class ModelHost:
    """A target whose root is a folder. `stop` ends its agent at that moment, once."""

    name = "model"

    def __init__(self, top: Path, book: Book = "prepare") -> None:
        self.top = top
        self.stop = 0
        self.book: Book = book

    def script(self) -> str:
        head, _, _ = agent.text().rpartition("main\n")
        return f"{head}{KERNEL}stop={self.stop}\nmain\n"

    def facts(self) -> HostFacts:
        return facts.read(Folder(self.top))

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer:
        (self.top.parent / "moments").unlink(missing_ok=True)
        script, self.stop = self.script(), 0
        return agent.ask(agent.here(str(self.top), script, self.book), self.name, verb, orders)

    def moments(self) -> list[str]:
        """What the last call went through."""
        return (self.top.parent / "moments").read_text().splitlines()

    def copy(self, name: str) -> "ModelHost":
        top = self.top.parent.parent / name / "root"
        shutil.copytree(self.top, top, symlinks=True)
        return type(self)(top, self.book)

    def content(self) -> dict[str, Any]:
        """Every file, its rights and bytes, a journal's too.

        Without the lock, which goes with the boot, and modules that were loaded, which stay so.
        """
        found: dict[str, Any] = {}
        for path in sorted(self.top.rglob("*")):
            name = str(path.relative_to(self.top))
            if name.startswith(("run", f"{PCI}/drivers")):
                continue
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                found[name] = path.readlink()
            elif path.is_dir():
                found[name] = mode
            else:
                found[name] = (mode, path.read_bytes())
        return found

    def driver(self, address: str) -> str | None:
        link = self.top / PCI / "devices" / address / "driver"
        return link.readlink().name if link.is_symlink() else None

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def add_function(
        self,
        address: str,
        ids: str,
        class_id: str,
        *,
        group: int | None,
        wanted_by: str = "",
        driver: str | None = None,
    ) -> None:
        """`wanted_by`: drivers whose tables of ids have it, in the order in which they try."""
        folder = f"{PCI}/devices/{address}"
        vendor, product = ids.split(":")
        self.put(f"{folder}/vendor", f"0x{vendor}\n")
        self.put(f"{folder}/device", f"0x{product}\n")
        self.put(f"{folder}/class", f"0x{class_id}\n")
        self.put(f"{folder}/driver_override", "(null)\n")
        self.put(f"{folder}/modalias", f"pci:v0000{vendor}d0000{product}\n")
        self.put(f"{folder}/.wanted_by", wanted_by)
        if group is not None:
            devices = self.top / f"sys/kernel/iommu_groups/{group}/devices"
            devices.mkdir(parents=True, exist_ok=True)
            (devices / address).symlink_to(f"../../../../bus/pci/devices/{address}")
            (self.top / folder / "iommu_group").symlink_to(
                f"../../../../kernel/iommu_groups/{group}"
            )
        if driver:
            self.bind(address, driver)

    def bind(self, address: str, driver: str) -> None:
        folder = self.top / PCI / "drivers" / driver
        folder.mkdir(parents=True, exist_ok=True)
        (folder / address).touch()
        (self.top / PCI / "devices" / address / "driver").symlink_to(f"../../drivers/{driver}")


def debian(top: Path) -> ModelHost:
    """GRUB, initramfs-tools, an Intel IOMMU that is on; vfio-pci is there and not loaded."""
    host = _common(top)
    host.put("etc/default/grub", DEFAULT_GRUB)
    host.put("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n")
    host.put("boot/grub/grub.cfg", "\tlinux\t/boot/vmlinuz root=/dev/vda1 ro quiet\n", 0o444)
    host.put(f"boot/initrd.img-{RELEASE}", "an image\n", 0o600)
    for tool in ("update-grub", "update-initramfs"):
        host.put(f"usr/sbin/{tool}", "", 0o755)
    return host


def red_hat(top: Path) -> ModelHost:
    """grubby, dracut, two kernels."""
    host = _common(top)
    host.put("etc/default/grub", "GRUB_ENABLE_BLSCFG=true\n")
    for release in ("5.14.0-1", RELEASE):
        host.put(f"boot/initramfs-{release}.img", f"image of {release}\n", 0o600)
        host.put(
            f"boot/loader/entries/x-{release}.conf",
            f"title x\nversion {release}\noptions root=/dev/vda1 ro quiet\n",
        )
    host.put("usr/sbin/grubby", "", 0o755)
    host.put("usr/bin/dracut", "", 0o755)
    return host


def _common(top: Path) -> ModelHost:
    host = ModelHost(top)
    host.put("proc/sys/kernel/osrelease", f"{RELEASE}\n")
    host.put("proc/cmdline", "root=/dev/vda1 ro quiet\n")
    host.put("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t: vmx\n")
    host.put("proc/modules", "")
    host.put("sys/firmware/acpi/tables/DMAR", "")
    host.put(f"lib/modules/{RELEASE}/kernel/drivers/vfio/pci/vfio-pci.ko", "")
    host.put(f"lib/modules/{RELEASE}/kernel/drivers/pci/pci-stub.ko", "")
    host.put(".built", "built\n")
    for folder in ("var/lib", f"{PCI}/devices", f"{PCI}/drivers", "etc/modules-load.d", "run"):
        (host.top / folder).mkdir(parents=True)
    return host


def gtx_1080(host: ModelHost, *, group: int | None = 13) -> None:
    """SV's card at SV's address, in the hands of the host."""
    for address, ids, class_id, driver in (
        ("0000:42:00.0", "10de:1b80", "030000", "nouveau"),
        ("0000:42:00.1", "10de:10f0", "040300", "snd_hda_intel"),
    ):
        host.add_function(address, ids, class_id, group=group, wanted_by=driver, driver=driver)


def off(host: ModelHost) -> None:
    """Without IOMMU."""
    shutil.rmtree(host.top / "sys/kernel/iommu_groups", ignore_errors=True)
    for link in host.top.glob(f"{PCI}/devices/*/iommu_group"):
        link.unlink()
