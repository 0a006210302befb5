"""The files on a host that are gpufarm's, and what is in them.

What is decided here: their paths and texts. Each is written whole and is nobody else's; where
others have a folder of drop-ins, ours is a file in it. Every value in them is an address, an id, a
driver's name of ours or a word of `kernel_line`: none can hold a character that a shell minds.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Final, Literal

import msgspec

from gpufarm.model.facts import PciFunction

HEAD = "# Written by gpufarm, which writes it anew when it differs.\n"

FUNCTIONS: Final = "/etc/gpufarm/functions"
BIND: Final = "/etc/gpufarm/bind.sh"
BUILT: Final = "/etc/gpufarm/initramfs"
"""Of what the initramfs was built the last time: a digest."""
KERNEL_WORDS: Final = "/etc/gpufarm/kernel-words"
"""What grubby added to the kernel command lines; elsewhere the drop-in says it."""
SERVICE: Final = "/etc/systemd/system/gpufarm-bind.service"
WANTED: Final = "/etc/systemd/system/sysinit.target.d/gpufarm.conf"
MODULES: Final = "/etc/modules-load.d/gpufarm.conf"
GRUB: Final = "/etc/default/grub.d/gpufarm.cfg"
INITRAMFS_HOOK: Final = "/etc/initramfs-tools/hooks/gpufarm"
INITRAMFS_SCRIPT: Final = "/etc/initramfs-tools/scripts/init-top/gpufarm"
DRACUT_MODULE: Final = "/usr/lib/dracut/modules.d/90gpufarm/module-setup.sh"
"""The one folder where dracut looks for modules (dracut.modules(7))."""

PATHS: Final = (
    FUNCTIONS,
    BIND,
    BUILT,
    KERNEL_WORDS,
    SERVICE,
    WANTED,
    MODULES,
    GRUB,
    INITRAMFS_HOOK,
    INITRAMFS_SCRIPT,
    DRACUT_MODULE,
)
"""All that there can be: what facts have to read for a plan to know what is done."""

EXECUTABLE: Final = frozenset((BIND, INITRAMFS_HOOK, INITRAMFS_SCRIPT, DRACUT_MODULE))
INITRAMFS_INPUTS: Final = (FUNCTIONS, BIND, INITRAMFS_HOOK, INITRAMFS_SCRIPT, DRACUT_MODULE)


class Given(msgspec.Struct, frozen=True, order=True):
    """A function that leaves the host: to `driver`, or off the bus where there is none."""

    address: str
    vendor_id: str
    product_id: str
    driver: str | None

    @classmethod
    def of(cls, function: PciFunction, driver: str | None) -> "Given":
        return cls(function.address, function.vendor_id, function.product_id, driver)

    @property
    def line(self) -> str:
        ids = f"{self.address} {self.vendor_id} {self.product_id}"
        return f"bind {ids} {self.driver}" if self.driver else f"remove {ids}"


def functions_text(given: Iterable[Given]) -> str:
    return HEAD + "".join(f"{each.line}\n" for each in sorted(given))


def parse_functions(text: str | None) -> Iterator[Given]:
    """What a file of ours says; lines that it would not have are passed over."""
    for line in (text or "").splitlines():
        match line.split():
            case ["bind", address, vendor_id, product_id, driver]:
                yield Given(address, vendor_id, product_id, driver)
            case ["remove", address, vendor_id, product_id]:
                yield Given(address, vendor_id, product_id, None)


def texts(
    given: Iterable[Given], initramfs: Literal["initramfs-tools", "dracut"] | None
) -> dict[str, str]:
    """{path: text} of the files that have functions bound at boot; none where none is given."""
    given = tuple(given)
    if not given:
        return {}
    found = {
        FUNCTIONS: functions_text(given),
        BIND: _data("bind.sh"),
        SERVICE: _data("bind.service"),
        WANTED: f"{HEAD}[Unit]\nWants=gpufarm-bind.service\n",
    }
    if any(each.driver == "vfio-pci" for each in given):
        found[MODULES] = modules_text(("vfio_pci", "vfio_iommu_type1"))
    if initramfs == "initramfs-tools":
        found[INITRAMFS_HOOK] = _data("initramfs-hook")
        found[INITRAMFS_SCRIPT] = _data("initramfs-script")
    if initramfs == "dracut":
        found[DRACUT_MODULE] = _data("dracut-module")
    return found


def modules_text(modules: Iterable[str]) -> str:
    """A list for modules-load.d, under the kernel's names: facts have them so too."""
    return HEAD + "".join(f"{module}\n" for module in modules)


def grub_text(words: Iterable[str]) -> str:
    """A drop-in of grub-mkconfig, which is sourced by a shell."""
    variable = "GRUB_CMDLINE_LINUX_DEFAULT"
    return f'{HEAD}{variable}="${variable} {" ".join(words)}"\n'


def words_text(words: Iterable[str]) -> str:
    return HEAD + "".join(f"{word}\n" for word in words)


def parse_words(text: str | None) -> tuple[str, ...]:
    """The words of `grub_text` or of `words_text`."""
    lines = [line for line in (text or "").splitlines() if line and not line.startswith("#")]
    found = " ".join(lines).replace('"', " ").split()
    return tuple(word for word in found if not word.startswith(("GRUB_", "$")))


def digest(found: dict[str, str]) -> str | None:
    """Of what goes into the initramfs; None where nothing does."""
    inputs = [f"{path}\n{found[path]}" for path in INITRAMFS_INPUTS if path in found]
    if not inputs:
        return None
    return HEAD + hashlib.sha256("\0".join(inputs).encode()).hexdigest() + "\n"


@functools.cache
def _data(name: str) -> str:
    return (files("gpufarm.host") / "data" / name).read_text(encoding="utf-8")
