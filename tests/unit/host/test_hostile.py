"""Captures that anybody may have made: whatever is in them, facts, cards and findings come out."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.host import facts, report
from gpufarm.host.cards import cards
from gpufarm.host.findings import check
from gpufarm.host.ids import Names
from gpufarm.system import capture
from gpufarm.system.capture import Capture, Captured

DEVICE = "/sys/bus/pci/devices/0000:42:00.0"
OTHER = "/sys/bus/pci/devices/10000:e1:1f.7"
GOOD = {
    f"{DEVICE}/uevent": "PCI_CLASS=30000\nPCI_ID=10DE:1B80\nDRIVER=vfio-pci\n",
    f"{OTHER}/vendor": "0x1002\n",
    f"{OTHER}/device": "0x731f\n",
    f"{OTHER}/class": "0x030000\n",
}
TEXT_PATHS = [
    *(
        f"{device}/{name}"
        for device in (DEVICE, OTHER)
        for name in (
            "uevent",
            "vendor",
            "device",
            "class",
            "modalias",
            "numa_node",
            "driver_override",
            "resource",
            "current_link_speed",
            "current_link_width",
            "max_link_width",
            "reset_method",
            "boot_vga",
            "sriov_totalvfs",
            "sriov_numvfs",
            "mdev_supported_types/x/available_instances",
            "mdev_supported_types/x/name",
            "vfio-dev/vfio0/dev",
        )
    ),
    "/sys/bus/pci/devices/evil; rm -rf /",
    "/sys/kernel/iommu_groups/7/devices/x",
    "/sys/kernel/iommu_groups/x/devices/0000:42:00.0",
    "/sys/class/iommu/dmar0/intel-iommu/ecap",
    "/sys/class/iommu/ivhd0/x",
    "/sys/bus/pci/slots/4/address",
    "/sys/module/vfio_pci/parameters/ids",
    "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/hostname",
    "/proc/cmdline",
    "/proc/modules",
    "/proc/cpuinfo",
    "/proc/12/comm",
    "/proc/12/cmdline",
    "/lib/modules/6.1/modules.builtin",
    "/lib/modules/6.1/kernel/drivers/vfio/x.ko",
    "/boot/config-6.1",
    "/boot/grub/grub.cfg",
    "/boot/grub2/grubenv",
    "/boot/loader/entries/a.conf",
    "/etc/default/grub",
    "/etc/default/grub.d/a.cfg",
    "/etc/dracut.conf",
    "/etc/modules",
    "/etc/modprobe.d/a.conf",
    "/etc/modules-load.d/a.conf",
    "/etc/initramfs-tools/modules",
    "/etc/driverctl.d/0000:42:00.0",
    "/etc/udev/rules.d/a.rules",
    "/etc/gpufarm/functions",
    "/etc/os-release",
    "/usr/lib64/libvirt.so.0.9005.0",
    "/usr/lib64/libvirt.so.0.x",
    "/dev/vfio/30",
    "/dev/vfio/vfio",
    "/dev/kvm",
]
LINK_PATHS = [
    DEVICE,
    OTHER,
    f"{DEVICE}/iommu_group",
    f"{DEVICE}/driver",
    f"{OTHER}/physfn",
    f"{OTHER}/iommu_group",
    "/proc/12/fd/3",
    "/proc/x/fd/3",
    "/proc/12",
    "/proc/٣/fd/1",
]
TARGETS = [
    "/",
    "",
    "/x",
    "/sys/kernel/iommu_groups/30",
    "/sys/kernel/iommu_groups/" + "9" * 5000,
    "/sys/kernel/iommu_groups/٣",
    "/sys/devices/pci0000:40/0000:40:02.0/0000:42:00.0",
    f"{DEVICE}",
    "/dev/vfio/30",
    "/dev/vfio/" + "9" * 5000,
    "/dev/vfio/devices/vfio0",
]
VALUES = [
    "",
    "\n",
    "0",
    "-1",
    "1",
    "9" * 5000,
    "0x" + "f" * 40,
    "evil; rm -rf /",
    "$(reboot)",
    "`reboot`",
    "\x1b[2J",
    "\0",
    "é\u202e",
    "6.1",
    "../../etc",
    "PCI_CLASS=30000\nPCI_ID=10DE:1B80\nDRIVER=\x1b[2J\nPCI_SUBSYS_ID=:\n",
    "0x0 0xffffffffffffffffffffffffffffffff 0x200\n",
    "0x1 0x0 0x200\n-1 -1 -1\n",
    "options vfio-pci ids=ffffffff:ffffffff allow\ninstall x\nsoftdep",
    "pci_stub ids=10de:1b80\nvfio_virqfd\n",
    'GRUB_CMDLINE_LINUX="intel_iommu=on vfio-pci.ids=10de:1b80"',
    "linux /vmlinuz root=x",
    "version 6.1\noptions $kernelopts ${tuned_params} $",
    "kernelopts=" + "$kernelopts " * 50,
    "flags\t: vmx\naddress sizes\t: 99999999999 bits physical\n",
    "CONFIG_VFIO_PCI=\nCONFIG_INTEL_IOMMU\n",
    "1" * 4300 + " GT/s",
]
HOSTILE = st.builds(
    Capture,
    files=st.dictionaries(
        st.sampled_from(TEXT_PATHS), st.sampled_from(VALUES) | st.text(max_size=40), max_size=25
    ).map(lambda found: GOOD | found),
    binary=st.dictionaries(
        st.sampled_from([f"{DEVICE}/config", f"{OTHER}/config"]),
        st.binary(max_size=70) | st.just(b"\xff" * 64),
    ),
    links=st.dictionaries(st.sampled_from(LINK_PATHS), st.sampled_from(TARGETS), max_size=6),
    outputs=st.dictionaries(
        st.sampled_from(["qemu"]),
        st.sampled_from(["version " + "9" * 5000 + ".1", "version 1.0", "x"]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(HOSTILE)
def test_anything_is_read(found: Capture) -> None:
    host = facts.read(Captured(found, "hostile"))
    msgspec.json.decode(msgspec.json.encode(host))
    rows = report.scan(host, Names())
    findings = check(host, cards(host))
    for row in rows:
        for text in (row.driver, row.name, *row.reset_methods):
            assert text is None or text.isprintable()
    for each in findings:
        assert each.message.isprintable()
        assert each.fix.isprintable()
    again = Captured(facts.capture(Captured(found, "hostile")), "hostile")
    assert facts.read(again) == host
    capture.encode(found)
