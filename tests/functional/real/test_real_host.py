"""A GPU server on real libvirt, from what the user asks for to the guest that sees its card."""

import json
import time
from typing import Any

import pytest
from running_lab import RunningLab

pytestmark = pytest.mark.virthost

HOST = "real-1"
GTX, GTX_AUDIO, H100 = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
LONGEST = 600
CONSOLE_SECONDS = 300


def drivers(lab: RunningLab, *addresses: str) -> list[str]:
    """The driver of each of these functions of the host."""
    asked = " ".join(f"/sys/bus/pci/devices/{address}/driver" for address in addresses)
    done = lab.run("lab", "host", "ssh", HOST, "--", f"basename -a $(readlink -f {asked})")
    return done.stdout.split()


def rebind(lab: RunningLab, address: str, override: str) -> None:
    """Let the function be taken by `override`, or by whichever driver of the host wants it."""
    device = f"/sys/bus/pci/devices/{address}"
    lab.run(
        *("lab", "host", "ssh", HOST, "--"),
        f"echo {address} > {device}/driver/unbind; echo {override} > {device}/driver_override; "
        f"echo {address} > /sys/bus/pci/drivers_probe",
    )


def console(lab: RunningLab, server: str) -> list[str]:
    """The lines that the guest printed until it had listed its functions."""
    deadline = time.monotonic() + CONSOLE_SECONDS
    while True:
        found = lab.connection.compute.get_server_console_output(server)["output"] or ""
        if "guest: ready" in found:
            return [line for line in found.splitlines() if line.startswith("guest: ")]
        assert time.monotonic() < deadline, f"the guest did not come up; its console:\n{found}"
        time.sleep(1)


def wait_until_free(lab: RunningLab) -> None:
    """Nova frees a card in Placement after the server is gone."""
    deadline = time.monotonic() + CONSOLE_SECONDS
    while True:
        cards = json.loads(lab.run("card", "list", "-f", "json").stdout)
        if {each["state"] for each in cards} == {"free"}:
            return
        assert time.monotonic() < deadline, cards
        time.sleep(1)


def test_a_guest_sees_its_card_and_gives_it_back(real_lab: RunningLab) -> None:
    assert drivers(real_lab, GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]
    create = ("server", "create", "real-g1", "--flavor", "g1.gpu", "--image", "gpu-console")
    done = real_lab.run(*create, "--network", "none", "-f", "json", timeout=LONGEST)
    server = json.loads(done.stdout)
    assert (server["status"], server["host"], server["cards"]) == ("ACTIVE", HOST, [GTX])
    domain = real_lab.run("lab", "host", "ssh", HOST, "--", "virsh dumpxml instance-00000001")
    assert "<hidden state='on'/>" in domain.stdout

    lines = console(real_lab, server["id"])
    assert [line.split()[2] for line in lines if "10de:" in line] == ["10de:1b80"]

    real_lab.connection.compute.delete_server(server["id"])
    real_lab.connection.compute.wait_for_delete(
        real_lab.connection.compute.get_server(server["id"]), wait=LONGEST
    )
    wait_until_free(real_lab)
    assert drivers(real_lab, GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]
    assert real_lab.run("lab", "host", "ssh", HOST, "--", "virsh list --name").stdout.split() == []


FOREIGN = """\
cat > /root/foreign.xml <<'END'
<domain type="kvm">
  <name>foreign</name>
  <memory unit="MiB">96</memory>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>/vmlinuz</kernel>
    <initrd>/var/lib/libvirt/images/guest.img</initrd>
    <cmdline>quiet stay</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <hostdev mode="subsystem" type="pci" managed="yes">
      <source><address domain="0x0000" bus="0x02" slot="0x00" function="0x0"/></source>
    </hostdev>
  </devices>
</domain>
END
virsh create /root/foreign.xml
"""


def why(lab: RunningLab, flavor: str) -> list[dict[str, Any]]:
    """Create a server that ends in ERROR; what `explain` says of it, from the hosts' logs."""
    name = f"real-{flavor.replace('.', '-')}-fails"
    create = ("server", "create", name, "--flavor", flavor, "--image", "gpu-console")
    done = lab.run(*create, "--network", "none", check=False, timeout=LONGEST)
    assert done.returncode == 1
    server = lab.connection.compute.find_server(name)
    assert "Exhausted all hosts" in lab.connection.compute.get_server(server.id).fault["message"]
    said = json.loads(lab.run("explain", name, "-f", "json", check=False).stdout)
    lab.connection.compute.delete_server(server.id)
    lab.connection.compute.wait_for_delete(server, wait=LONGEST)
    return [each for each in said["reasons"] if each["source"] == "hypervisor"]


def test_a_card_that_a_foreign_guest_holds(real_lab: RunningLab) -> None:
    real_lab.run("lab", "host", "ssh", HOST, "--", FOREIGN, timeout=LONGEST)
    (reason,) = why(real_lab, "g1.h100")
    checked = real_lab.run("claims", "check", "--older-than", "0", "-f", "json", check=False)
    real_lab.run("lab", "host", "ssh", HOST, "--", "virsh destroy foreign")

    assert reason["host"] == HOST
    assert f"card {H100}: guest foreign holds it" in reason["message"]
    assert checked.returncode == 2
    (finding,) = json.loads(checked.stdout)
    assert (finding["code"], finding["address"]) == ("IN_USE_UNKNOWN", H100)
    assert real_lab.run("claims", "check", "--older-than", "0").returncode == 0


@pytest.mark.long
def test_a_group_that_is_not_viable(real_lab: RunningLab) -> None:
    """The audio function goes to the host's sound driver, as where nobody prepared the host."""
    rebind(real_lab, GTX_AUDIO, "")
    assert drivers(real_lab, GTX, GTX_AUDIO) == ["vfio-pci", "snd_hda_intel"]
    (reason,) = why(real_lab, "g1.gpu")
    rebind(real_lab, GTX_AUDIO, "vfio-pci")
    assert drivers(real_lab, GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]

    assert reason["host"] == HOST
    assert f"card {GTX}: its IOMMU group" in reason["message"]
    assert "not viable" in reason["message"]


def test_the_host_is_listed_and_in_placement(real_lab: RunningLab) -> None:
    rows = json.loads(real_lab.run("lab", "status", "-f", "json").stdout)
    assert {(row["host"], row["healthy"]) for row in rows} == {(None, True), (HOST, True)}
    providers = real_lab.connection.placement.get("/resource_providers").json()
    names = {each["name"] for each in providers["resource_providers"]}
    assert {HOST, f"{HOST}_{GTX}", f"{HOST}_{H100}"} <= names
    assert real_lab.run("farm", "check", "tests/functional/real/farm.yaml").returncode == 0
