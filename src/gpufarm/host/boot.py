"""What decides about a machine's next boot: boot loader, initramfs, modprobe.d, lists of modules.

Sources: grub-mkconfig and Debian's /etc/default/grub.d, the Boot Loader Specification, grubby(8),
dracut.conf(5), initramfs-tools(7), driverctl(8).
"""

import re
from typing import Literal

from gpufarm.host import assignments, cmdline, modprobe
from gpufarm.host.addresses import ADDRESS
from gpufarm.host.reading import Reading, lines
from gpufarm.model.facts import Boot, BootEntry, ConfigFile, ModprobeLine, ModuleToLoad

GRUB = "/etc/default/grub"
GRUB_FOLDER = "/etc/default/grub.d"
GRUB_MENUS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
GRUB_ENVIRONMENTS = ("/boot/grub2/grubenv", "/boot/grub/grubenv")
ENTRY_FOLDERS = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
KERNEL_CMDLINE = "/etc/kernel/cmdline"
INITRAMFS_TOOLS = "/etc/initramfs-tools"
DRACUT = "/etc/dracut.conf"
DRACUT_FOLDERS = ("/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d")
OVERRIDES = "/etc/driverctl.d"

OWN_FOLDER = "/etc/gpufarm"
OWN = (
    "/etc/systemd/system/gpufarm-bind.service",
    "/etc/systemd/system/sysinit.target.d/gpufarm.conf",
    "/etc/initramfs-tools/hooks/gpufarm",
    "/etc/initramfs-tools/scripts/init-top/gpufarm",
    "/usr/lib/dracut/modules.d/90gpufarm/module-setup.sh",
)
"""Files that gpufarm itself puts onto a host, beside those in folders that are read anyway."""

TOOLS = {
    "/usr/sbin": frozenset(
        (
            "driverctl",
            "grub-mkconfig",
            "grub2-mkconfig",
            "grubby",
            "update-grub",
            "update-initramfs",
        )
    ),
    "/usr/bin": frozenset(("dracut", "kernel-install", "bootctl")),
}
BINDER_FOLDERS = (
    ("/etc/udev/rules.d", ".rules"),
    ("/etc/systemd/system", ".service"),
    ("/etc/initramfs-tools/scripts/init-top", ""),
    ("/etc/initramfs-tools/scripts/init-premount", ""),
    ("/etc/initramfs-tools/hooks", ""),
)
"""Where people put what binds a function by its address; gpufarm reads only such lines there."""
BINDER = re.compile(
    r"driver_override|vfio|pci-stub|(?i:[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
)
LINUX = re.compile(r"\s*linux(?:16|efi)?\s+\S+\s+(\S.*)")
DRACUT_DRIVERS = ("force_drivers", "add_drivers")


def read(reading: Reading, release: str | None) -> Boot:
    tools = frozenset(
        tool for folder, wanted in TOOLS.items() for tool in reading.root.among(folder, wanted)
    )
    files = _files(reading)
    texts = {file.path: file.text for file in files}
    loader, entry = _next(reading, texts, release)
    return Boot(
        loader=loader,
        initramfs=_initramfs(texts, tools),
        next=entry,
        menu=_menu(reading),
        files=files,
        modprobe=_modprobe(reading),
        load=_load(reading, texts),
        overrides=_overrides(reading),
        binders=_binders(reading),
        tools=tools,
    )


def _files(reading: Reading) -> tuple[ConfigFile, ...]:
    """Boot loader and initramfs configuration, in the order in which each is sourced."""
    dracut = modprobe.effective(
        path for folder in DRACUT_FOLDERS for path in reading.files(folder, ".conf")
    )
    paths = (
        GRUB,
        *reading.files(GRUB_FOLDER, ".cfg"),
        KERNEL_CMDLINE,
        *(path for folder in ENTRY_FOLDERS for path in reading.files(folder, ".conf")),
        f"{INITRAMFS_TOOLS}/initramfs.conf",
        *reading.files(f"{INITRAMFS_TOOLS}/conf.d"),
        f"{INITRAMFS_TOOLS}/modules",
        DRACUT,
        *dracut,
        *OWN,
        *reading.files(OWN_FOLDER),
    )
    return tuple(
        ConfigFile(path=path, text=text)
        for path in paths
        if (text := reading.root.text(path)) is not None
    )


def _next(
    reading: Reading, texts: dict[str, str], release: str | None
) -> tuple[Literal["grub", "bls", "systemd-boot"] | None, BootEntry | None]:
    entries = {path: text for path, text in texts.items() if path.startswith(ENTRY_FOLDERS)}
    if entries:
        entry = _bls(reading, entries, release)
        return ("bls" if GRUB in texts else "systemd-boot"), entry
    if GRUB in texts:
        return "grub", _grub(texts)
    return None, None


def _grub(texts: dict[str, str]) -> BootEntry:
    """What grub-mkconfig would write: the settings of /etc/default/grub, then those of grub.d."""
    values: dict[str, str] = {}
    complete = True
    for path, text in texts.items():
        if path == GRUB or path.startswith(GRUB_FOLDER):
            found = assignments.parse(text, values)
            values = found.values
            complete &= not found.odd
    words = (values.get("GRUB_CMDLINE_LINUX", ""), values.get("GRUB_CMDLINE_LINUX_DEFAULT", ""))
    return BootEntry(path=GRUB, cmdline=cmdline.parse(" ".join(words)), complete=complete)


def _bls(reading: Reading, entries: dict[str, str], release: str | None) -> BootEntry | None:
    """The entry of the running kernel, or else the last one."""
    path = next(
        (path for path, text in entries.items() if _field(text, "version") == release),
        max(entries),
    )
    options = _field(entries[path], "options")
    environment = _environment(reading) if "$" in options else {}
    found = assignments.REFERENCE.sub(
        lambda match: environment.get(match[1] or match[2], ""), options
    )
    return BootEntry(path=path, cmdline=cmdline.parse(found))


def _field(entry: str, name: str) -> str:
    """The values of a key of an entry, joined: `options` may be given several times."""
    found = (line.strip().partition(" ") for line in entry.replace("\t", " ").split("\n"))
    return " ".join(value.strip() for key, _, value in found if key == name)


def _environment(reading: Reading) -> dict[str, str]:
    """The variables of grubenv, a block of `name=value` lines filled up with #."""
    wanted = lines(lambda line: line.startswith(("kernelopts=", "tuned_params=")))
    for path in GRUB_ENVIRONMENTS:
        text = reading.root.text(path, wanted)
        if text is not None:
            pairs = (line.partition("=") for line in text.split("\n"))
            return {name: value for name, _, value in pairs}
    return {}


def _menu(reading: Reading) -> BootEntry | None:
    """The first entry of GRUB's menu as it was written last."""
    wanted = lines(lambda line: bool(LINUX.match(line)))
    for path in GRUB_MENUS:
        found = LINUX.match(reading.root.text(path, wanted) or "")
        if found:
            return BootEntry(path=path, cmdline=cmdline.parse(found[1]))
    return None


def _initramfs(
    texts: dict[str, str], tools: frozenset[str]
) -> Literal["initramfs-tools", "dracut"] | None:
    if "update-initramfs" in tools or f"{INITRAMFS_TOOLS}/initramfs.conf" in texts:
        return "initramfs-tools"
    return "dracut" if "dracut" in tools or DRACUT in texts else None


def _modprobe(reading: Reading) -> tuple[ModprobeLine, ...]:
    paths = modprobe.effective(
        path for folder in modprobe.FOLDERS for path in reading.files(folder, ".conf")
    )
    return tuple(
        line for path in paths for line in modprobe.parse(reading.root.text(path) or "", path)
    )


def _load(reading: Reading, texts: dict[str, str]) -> tuple[ModuleToLoad, ...]:
    boot = (
        "/etc/modules",
        *modprobe.effective(
            path for folder in modprobe.LOAD_FOLDERS for path in reading.files(folder, ".conf")
        ),
    )
    found = [each for path in boot for each in _listed(reading.root.text(path) or "", path, "boot")]
    listed = f"{INITRAMFS_TOOLS}/modules"
    found += _listed(texts.get(listed, ""), listed, "initramfs")
    for path, text in texts.items():
        if path == DRACUT or path.startswith(DRACUT_FOLDERS):
            values = assignments.parse(text).values
            found += [
                ModuleToLoad(path=path, line=0, module=modprobe.plain(module), when="initramfs")
                for name in DRACUT_DRIVERS
                for module in values.get(name, "").split()
            ]
    return tuple(found)


def _binders(reading: Reading) -> tuple[ConfigFile, ...]:
    wanted = lines(lambda line: bool(BINDER.search(line)))
    return tuple(
        ConfigFile(path=path, text=text)
        for folder, suffix in BINDER_FOLDERS
        for path in reading.files(folder, suffix)
        if path not in OWN and (text := reading.root.text(path, wanted))
    )


def _listed(text: str, path: str, when: Literal["initramfs", "boot"]) -> tuple[ModuleToLoad, ...]:
    return tuple(
        ModuleToLoad(
            path=path, line=line, module=modprobe.plain(module), when=when, options=options
        )
        for line, module, options in modprobe.modules(text)
    )


def _overrides(reading: Reading) -> dict[str, str]:
    """{address: driver} of driverctl's files, of which each holds one driver's name."""
    return {
        name: driver
        for name in reading.root.names(OVERRIDES)
        if ADDRESS.fullmatch(name) and (driver := reading.line(f"{OVERRIDES}/{name}"))
    }
