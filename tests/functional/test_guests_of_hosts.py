"""Guests that libvirt starts on a prepared host: what they see, and that nobody takes it away."""

import re
from pathlib import Path

import pytest
from preparing import LONGEST, STATE, drivers, one_of_two, rows, spec_file
from virtual_hosts import GTX, GTX_TOO, K4200, VirtualHost

pytestmark = pytest.mark.virthost

READY = "guest: ready"
SECONDS = 300
"""A guest takes half a minute on an idle machine: an emulated CPU inside of another one."""

DOMAIN = """\
<domain type="kvm">
  <name>{name}</name>
  <memory unit="MiB">96</memory>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>/vmlinuz</kernel>
    <initrd>/var/lib/libvirt/images/guest.img</initrd>
    <cmdline>console=ttyS0 quiet stay</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <controller type="usb" model="none"/>
    <memballoon model="none"/>
    <serial type="file"><source path="/root/{name}.log"/></serial>
    {hostdevs}
  </devices>
</domain>
"""
HOSTDEV = """\
<hostdev mode="subsystem" type="pci" managed="yes">
  <source><address domain="0x0000" bus="0x{bus}" slot="0x00" function="0x{function}"/></source>
</hostdev>
"""
WAIT = """
for try in $(seq {seconds}); do
  grep -q '{ready}' /root/{name}.log && exit 0
  sleep 1
done
virsh list --all; cat /root/{name}.log; exit 1
"""


def domain(host: VirtualHost, name: str, *functions: str) -> str:
    """The command that starts a guest with these functions of the host."""
    parts = (re.split("[:.]", function) for function in functions)
    hostdevs = "".join(HOSTDEV.format(bus=bus, function=number) for _, bus, _, number in parts)
    text = DOMAIN.format(name=name, hostdevs=hostdevs)
    host.ssh(f"cat > /root/{name}.xml <<'END'\n{text}END")
    return f"virsh create /root/{name}.xml"


def test_a_guest_sees_all_functions_and_nobody_takes_them_away(
    quick: VirtualHost, tmp_path: Path
) -> None:
    words = ("--spec", str(one_of_two(tmp_path)))
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    rows(quick, "host", "apply", *words)
    quick.ssh(domain(quick, "vm1", f"{GTX}.0", f"{GTX}.1"), timeout=LONGEST)
    quick.ssh(WAIT.format(seconds=SECONDS, ready=READY, name="vm1"), timeout=LONGEST)
    seen = quick.ssh("cat /root/vm1.log").stdout
    assert re.search(r"guest: \S+ 10de:1b80 030000", seen)
    assert re.search(r"guest: \S+ 10de:10f0 040300", seen)

    with_others = tmp_path / "others"
    with_others.mkdir()
    others = str(spec_file(with_others, cards=[{"address": f"{GTX_TOO}.0"}]))
    for refused in (("apply", "--spec", others), ("rollback",)):
        done = quick.gpufarm("host", *refused, check=False)
        assert done.returncode == 1
        assert GTX in done.stderr
        assert re.search(r"vm1|qemu-system", done.stderr)
    rebooting = quick.gpufarm("host", "apply", *words, "--reboot", check=False)
    assert rebooting.returncode == 0, "nothing changes, so that nothing reboots"
    assert drivers(quick)[f"{GTX}.0"] == drivers(quick)[f"{GTX}.1"] == "vfio-pci vfio-pci"

    other = quick.ssh(domain(quick, "vm2", f"{GTX}.0", f"{GTX}.1"), check=False)
    assert "is in use by driver QEMU, domain vm1" in other.stderr

    quick.ssh("virsh destroy vm1; rm /root/vm?.*")
    assert drivers(quick)[f"{GTX}.1"] == "vfio-pci vfio-pci"
    rows(quick, "host", "rollback")
    assert quick.ssh(STATE).stdout == before
    assert drivers(quick) == had


def test_a_card_of_a_shared_group_is_refused_and_libvirt_says_why(
    quick: VirtualHost, tmp_path: Path
) -> None:
    spec = spec_file(tmp_path, cards=[{"model": "Quadro K4200"}])
    before, had = quick.ssh(STATE).stdout, drivers(quick)
    done = quick.gpufarm("host", "apply", "--spec", str(spec), check=False)
    assert done.returncode == 1
    assert "GROUP_NOT_VIABLE" in done.stderr
    assert "(nvme)" in done.stderr
    assert quick.ssh(STATE).stdout == before

    tried = quick.ssh(domain(quick, "vm3", f"{K4200}.0", f"{K4200}.1"), check=False)
    assert tried.returncode != 0
    assert re.search(rf"vfio {K4200}.0: group \d+ is not viable", tried.stderr)
    quick.ssh("rm /root/vm3.*", check=False)
    assert drivers(quick) == had
