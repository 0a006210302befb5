"""What has to change for the next boot: our files, the boot menu, the initramfs."""

from collections.abc import Iterable, Iterator
from typing import Final

from gpufarm.host import ours
from gpufarm.host.plan.choice import ours_on, refusal
from gpufarm.host.plan.kernel_line import KernelLine, iommu_words
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import RunCommand, Step, WriteFile

ENTRIES: Final = (
    "/boot/loader/entries/*.conf",
    "/boot/grub2/grubenv",
    "/etc/kernel/cmdline",
    "/etc/default/grub",
)
"""What grubby writes (grubby(8), and its source)."""
UPDATE_INITRAMFS: Final = ("update-initramfs", "-u", "-k", "all")
DRACUT: Final = ("dracut", "--force", "--regenerate-all")
IMAGES: Final = {
    "initramfs-tools": (UPDATE_INITRAMFS, ("/boot/initrd.img-*",)),
    "dracut": (DRACUT, ("/boot/initramfs-*.img",)),
}

REASONS: Final = {
    ours.FUNCTIONS: "the functions that leave the host, by address",
    ours.BIND: "gives them to their driver at boot, before any other driver can take them",
    ours.SERVICE: "runs it on the root, before udev loads drivers",
    ours.WANTED: "has systemd start that",
    ours.MODULES: "VFIO is loaded early",
    ours.INITRAMFS_HOOK: "puts it into the initramfs, whose udev loads drivers first",
    ours.INITRAMFS_SCRIPT: "runs it in the initramfs, before udev",
    ours.DRACUT_MODULE: "runs it in the initramfs, before udev",
}
MANAGED: Final = tuple(REASONS)


def file_steps(facts: HostFacts, wanted: dict[str, str]) -> Iterator[WriteFile]:
    found = ours_on(facts)
    for path in MANAGED:
        if found.get(path) != wanted.get(path):
            gone = path not in wanted
            yield _write(
                path, found, wanted.get(path), "no longer needed" if gone else REASONS[path]
            )


def kernel_line_steps(facts: HostFacts, line: KernelLine) -> Iterator[Step]:
    if facts.boot.loader == "grub":
        return _grub(facts, line)
    return _grubby(facts, line)


def initramfs_steps(facts: HostFacts, wanted: dict[str, str]) -> Iterator[Step]:
    """Built anew when what we put into it is not what it was built of the last time."""
    found = ours_on(facts)
    digest = ours.digest(wanted)
    if digest == found.get(ours.BUILT) or facts.boot.initramfs is None:
        return
    words, images = IMAGES[facts.boot.initramfs]
    reason = "the initramfs binds the functions" if digest else "the initramfs binds nothing more"
    yield RunCommand(words=words, alters=images, undo=words, reason=reason)
    yield _write(ours.BUILT, found, digest, "remembers what the initramfs was built of")


def refusals(facts: HostFacts, steps: Iterable[Step]) -> Iterator[Finding]:
    """A system whose boot nobody here knows how to change."""
    touched = {each.path for each in steps if isinstance(each, WriteFile)}
    if {ours.GRUB, ours.KERNEL_WORDS} & touched and not _loader_known(facts):
        yield refusal(
            "LOADER_UNKNOWN",
            None,
            "the kernel command line has to change, and this host has neither GRUB's "
            "/etc/default/grub with update-grub nor grubby",
            "add the words intel_iommu=on iommu=pt by the means of its boot loader",
        )
    if ours.FUNCTIONS in touched and facts.boot.initramfs is None:
        yield refusal(
            "INITRAMFS_UNKNOWN",
            None,
            "this host has neither initramfs-tools nor dracut, so that nothing can be bound before "
            "its initramfs loads drivers",
            "install one of them",
        )


def _loader_known(facts: HostFacts) -> bool:
    tools = facts.boot.tools
    if facts.boot.loader == "grub":
        return bool(tools & {"update-grub", "grub2-mkconfig", "grub-mkconfig"})
    return "grubby" in tools


def _grub(facts: HostFacts, line: KernelLine) -> Iterator[Step]:
    """A drop-in, and the menu written anew where it does not say what the drop-ins say."""
    found = ours_on(facts)
    text = ours.grub_text(line.words) if line.words else None
    waits = bool(line.before_next_boot)
    if found.get(ours.GRUB) != text:
        reason = "the kernel turns on the IOMMU" if text else "no longer needed"
        yield _write(ours.GRUB, found, text, reason, needs_reboot=waits)
    planned = facts.boot.next.cmdline if facts.boot.next else ()
    will = (iommu_words(planned) - set(line.before)) | set(line.words)
    if facts.boot.menu is None:
        stale = found.get(ours.GRUB) != text
    else:
        stale = iommu_words(facts.boot.menu.cmdline) != will
    if stale:
        words, menu = _menu_command(facts)
        reason = "the boot menu has the kernel command line"
        yield RunCommand(words=words, alters=menu, undo=words, reason=reason, needs_reboot=waits)


def _menu_command(facts: HostFacts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "update-grub" in facts.boot.tools:
        return ("update-grub",), ("/boot/grub/grub.cfg",)
    tool = "grub2-mkconfig" if "grub2-mkconfig" in facts.boot.tools else "grub-mkconfig"
    menu = "/boot/grub2/grub.cfg" if tool == "grub2-mkconfig" else "/boot/grub/grub.cfg"
    return (tool, "-o", menu), (menu,)


def _grubby(facts: HostFacts, line: KernelLine) -> Iterator[Step]:
    """RHEL family: each kernel's boot entry holds its command line, and grubby changes them all."""
    found = ours_on(facts)
    now = iommu_words(facts.boot.next.cmdline) if facts.boot.next else frozenset()
    added = tuple(word for word in line.words if word not in now)
    removed = tuple(word for word in line.before if word not in line.words and word in now)
    text = ours.words_text(line.words) if line.words else None
    waits = bool(line.before_next_boot)
    # The file says whose words they are, from before they are there until after they are gone.
    if removed:
        yield _grubby_command("--remove-args", "--args", removed, needs_reboot=waits)
    if found.get(ours.KERNEL_WORDS) != text:
        reason = "remembers what grubby added" if text else "no longer needed"
        yield _write(ours.KERNEL_WORDS, found, text, reason)
    if added:
        yield _grubby_command("--args", "--remove-args", added, needs_reboot=waits)


def _grubby_command(
    option: str, opposite: str, words: tuple[str, ...], *, needs_reboot: bool
) -> RunCommand:
    return RunCommand(
        words=("grubby", "--update-kernel=ALL", f"{option}={' '.join(words)}"),
        alters=ENTRIES,
        undo=("grubby", "--update-kernel=ALL", f"{opposite}={' '.join(words)}"),
        reason="every boot entry has its kernel command line",
        needs_reboot=needs_reboot,
    )


def _write(
    path: str, found: dict[str, str], text: str | None, reason: str, *, needs_reboot: bool = False
) -> WriteFile:
    return WriteFile(
        path=path,
        text=text,
        was=found.get(path),
        mode=0o755 if path in ours.EXECUTABLE else 0o644,
        reason=reason,
        needs_reboot=needs_reboot,
    )
