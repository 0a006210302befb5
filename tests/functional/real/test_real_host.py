"""A GPU server on real libvirt, from what the user asks for to the guest that sees its card."""

import json
import time

import pytest
from running_lab import RunningLab

pytestmark = pytest.mark.virthost

HOST = "real-1"
GTX, GTX_AUDIO = "0000:01:00.0", "0000:01:00.1"
LONGEST = 600
CONSOLE_SECONDS = 300


def drivers(lab: RunningLab, *addresses: str) -> list[str]:
    """The driver of each of these functions of the host."""
    asked = " ".join(f"/sys/bus/pci/devices/{address}/driver" for address in addresses)
    done = lab.run("lab", "host", "ssh", HOST, "--", f"basename -a $(readlink -f {asked})")
    return done.stdout.split()


def console(lab: RunningLab, server: str) -> list[str]:
    """The lines that the guest printed until it had listed its functions."""
    deadline = time.monotonic() + CONSOLE_SECONDS
    while True:
        found = lab.connection.compute.get_server_console_output(server)["output"] or ""
        if "guest: ready" in found:
            return [line for line in found.splitlines() if line.startswith("guest: ")]
        assert time.monotonic() < deadline, f"the guest did not come up; its console:\n{found}"
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
    cards = json.loads(real_lab.run("card", "list", "-f", "json").stdout)
    assert {each["state"] for each in cards} == {"free"}
    assert drivers(real_lab, GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]
    assert real_lab.run("lab", "host", "ssh", HOST, "--", "virsh list --name").stdout.split() == []


def test_the_host_is_listed_and_in_placement(real_lab: RunningLab) -> None:
    rows = json.loads(real_lab.run("lab", "status", "-f", "json").stdout)
    assert {(row["host"], row["healthy"]) for row in rows} == {(None, True), (HOST, True)}
    providers = real_lab.connection.placement.get("/resource_providers").json()
    names = {each["name"] for each in providers["resource_providers"]}
    assert {HOST, f"{HOST}_{GTX}", f"{HOST}_0000:02:00.0"} <= names
    assert real_lab.run("farm", "check", "tests/functional/real/farm.yaml").returncode == 0
