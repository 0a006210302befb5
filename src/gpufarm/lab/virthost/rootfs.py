"""What is on the disk of every virtual host, beside Debian's packages.

It is a server as an operator would have it, less what would only cost time here. The one thing of
our own is that SSH asks the firmware for whom to let in, so that one image serves everybody's keys.
"""

import io
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path

from gpufarm.lab.virthost.qemu import GUEST_ADDRESS, KEY_ITEM

PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "procps", "less", "iproute2", "openssh-server"),
    *("linux-image-amd64", "initramfs-tools", "kmod", "busybox-static", "cpio", "zstd"),
    *("grub-pc", "grub2-common", "pciutils", "python3", "python3-libvirt"),
    *("qemu-system-x86", "qemu-utils", "libvirt-clients"),
    *("libvirt-daemon-system", "libvirt-daemon-driver-qemu"),
)
"""linux-image-cloud-amd64 would be smaller, but has no pci-stub, graphics or sound drivers."""

NO_TIMER_CHECK = "no_timer_check"
"""What Linux does by itself under KVM (arch/x86/kernel/kvm.c): the check counts ten ticks of a
timer against the processor's clock, and panics where a busy machine lets QEMU's timer wait."""
REBOOT_ON_PANIC = "panic=5"
"""Seconds. Now and then a host panics under a guest; without this word it then stands still."""
KERNEL_WORDS = (
    f"console=ttyS0,115200 net.ifnames=0 {NO_TIMER_CHECK} {REBOOT_ON_PANIC} mitigations=off"
)
"""Without mitigations programs start a fifth quicker here; nobody else is on such a host."""

UUID = "8f2d6a50-6d0c-4a5e-9c5b-0a1c6f1d7e42"
"""Of the root file system: it stands in the kernel's command line."""

PLACEHOLDER_NAME = "virtual-host"
GUEST_FOLDER = "/usr/lib/virtual-host/guest"
GUEST_IMAGE = "/var/lib/libvirt/images/guest.img"
"""An initramfs for guests of the host: it lists the PCI functions that it sees on its console."""

EARLY_FILES = {
    # Of all modules (`most`) an initramfs takes 4 minutes to make in software emulation; gzip takes
    # half as long again as zstd in a hurry.
    "etc/initramfs-tools/conf.d/virtual-host": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}

FILES = {
    "etc/fstab": f"UUID={UUID} / ext4 rw,noatime 0 0\n",
    "etc/hostname": f"{PLACEHOLDER_NAME}\n",
    "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {PLACEHOLDER_NAME}\n",
    "etc/resolv.conf": "",
    "etc/systemd/network/10-ssh.network": (
        "[Match]\nDriver=virtio_net\n[Network]\n"
        f"Address={GUEST_ADDRESS}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    ),
    "etc/ssh/sshd_config.d/virtual-host.conf": (
        "UseDNS no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        f"AuthorizedKeysCommand /usr/bin/cat /sys/firmware/qemu_fw_cfg/by_name/{KEY_ITEM}/raw\n"
        "AuthorizedKeysCommandUser root\n"
    ),
    "etc/systemd/journald.conf.d/virtual-host.conf": "[Journal]\nStorage=volatile\n",
    "etc/modules-load.d/virtual-host.conf": "qemu_fw_cfg\n",
    "etc/default/grub": (
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_RECORDFAIL_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        f'GRUB_CMDLINE_LINUX="{KERNEL_WORDS}"\n'
        'GRUB_TERMINAL=serial\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n'
        "GRUB_DISABLE_OS_PROBER=true\n"
    ),
}

KERNEL_ARGUMENTS = f"root=UUID={UUID} ro {KERNEL_WORDS} quiet"
"""What update-grub makes of the file above: the first boot has to have the same."""

GUEST_INIT = """\
#!/busybox sh
/busybox mkdir -p /proc /sys
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sysfs /sys
list() {
    for device in /sys/bus/pci/devices/*; do
        read vendor < "$device/vendor"
        read product < "$device/device"
        read class < "$device/class"
        echo "guest: ${device##*/} ${vendor#0x}:${product#0x} ${class#0x}"
    done
    read clocks < /sys/devices/system/clocksource/clocksource0/available_clocksource
    echo "guest: clocks $clocks"
    echo "guest: ready"
}
serve() {
    for module in /modules/*; do
        /busybox insmod "$module"
    done
    for device in /sys/class/net/eth*; do
        /busybox ip link set "${device##*/}" up
    done
    /busybox httpd -h /www
}
seen=$(list)
echo "$seen"
echo "$seen" > /www/index.html
case "$seen" in
*" 1af4:1000 "* | *" 1af4:1041 "*) serve ;;
esac
read arguments < /proc/cmdline
case " $arguments " in
*" stay "*)
    while /busybox sleep 5; do
        now=$(list)
        [ "$now" = "$seen" ] && continue
        echo "$now"
        echo "$now" > /www/index.html
        seen=$now
    done
    ;;
esac
/busybox poweroff -f
"""
"""What it prints is read by `guest.seen`; it lists again what has changed, until it ends. Where it
has a virtio network device it shows the same as a web page; its address comes from the network."""
GUEST_MODULES = ("virtio_pci", "virtio_net")

MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "systemd-pstore.service"),
    *("getty@tty1.service", "libvirt-guests.service", "systemd-networkd-wait-online.service"),
    *("systemd-timesyncd.service", "user@.service"),
)
"""Units that only take time. virtlockd's socket is not among them: libvirtd would break."""

LINKS = {
    **{f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED},
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": (
        "/lib/systemd/system/systemd-networkd.service"
    ),
}

GRUB_PREFIX = "(hd0,msdos1)/boot/grub"
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux")
GRUB_SCRIPT = f"""\
set root=(hd0,msdos1)
linux /boot/vmlinuz-@KERNEL@ {KERNEL_ARGUMENTS}
initrd /boot/initrd.img-@KERNEL@
boot
"""
"""What GRUB does at the first boot, before grub-install and update-grub have run."""
GRUB_SCRIPT_FILE = "/usr/lib/virtual-host/grub-script"
GRUB_CORE = "usr/lib/virtual-host/core.img"
GRUB_BOOT = "usr/lib/grub/i386-pc/boot.img"
VERSIONS = "usr/lib/virtual-host/packages"


def files(host_key: str) -> dict[str, tuple[str, int]]:
    """{path: (content, mode)} of what is put on the disk after the packages."""
    found = {path: (content, 0o644) for path, content in FILES.items()}
    found["etc/ssh/ssh_host_ed25519_key"] = (host_key, 0o600)
    found[f"{GUEST_FOLDER.lstrip('/')}/init"] = (GUEST_INIT, 0o755)
    found[GRUB_SCRIPT_FILE.lstrip("/")] = (GRUB_SCRIPT, 0o644)
    return found


def write_tar(
    path: Path, contents: Mapping[str, tuple[str, int]], links: Mapping[str, str]
) -> None:
    """A tar of these files and symbolic links, all of them root's."""
    with tarfile.open(path, "w") as archive:
        for name, (content, mode) in contents.items():
            data = content.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)


def hooks(early: Path, late: Path) -> tuple[str, ...]:
    """What mmdebstrap does before and after it installs the packages."""
    return (
        f"--essential-hook=tar-in {shlex.quote(str(early))} /",
        f"--customize-hook=tar-in {shlex.quote(str(late))} /",
        *(f'--customize-hook=chroot "$1" sh -euc {shlex.quote(line)}' for line in INSIDE),
    )


COPY_MODULES = f"""\
kernel=$(ls /lib/modules)
number=10
for path in $(modprobe --set-version $kernel --all --show-depends {" ".join(GUEST_MODULES)} |
    sed -n 's/^insmod \\([^ ]*\\).*/\\1/p' | awk '!seen[$0]++'); do
    cp $path {GUEST_FOLDER}/modules/$number-${{path##*/}}
    number=$((number + 1))
done
"""
"""Of the guest's modules and all that they need, in the order in which they are loaded."""

INSIDE = (
    "rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key* /etc/ssh/*_key.pub",
    # Each login would run what is there.
    "rm -f /etc/update-motd.d/*",
    # It is started by its socket when somebody needs it.
    "rm /etc/systemd/system/multi-user.target.wants/libvirtd.service",
    f"sed -i s/@KERNEL@/$(ls /lib/modules)/ {GRUB_SCRIPT_FILE}",
    " ".join(
        (
            *("grub-mkimage", "--format=i386-pc", f"--prefix='{GRUB_PREFIX}'"),
            *(f"--config={GRUB_SCRIPT_FILE}", f"--output=/{GRUB_CORE}", *GRUB_MODULES),
        )
    ),
    f"cp /bin/busybox {GUEST_FOLDER}/",
    f"mkdir {GUEST_FOLDER}/modules {GUEST_FOLDER}/www",
    COPY_MODULES,
    f"cd {GUEST_FOLDER} && find . | cpio --quiet -o -H newc | gzip -1 > {GUEST_IMAGE}",
    f"dpkg-query --show > /{VERSIONS}",
)
"""Command lines inside of the new system; none has a word from outside of this file."""
