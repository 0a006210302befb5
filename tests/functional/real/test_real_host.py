"""A GPU server on real libvirt, from what the user asks for to the guest that sees its cards."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from real_lab import FARM, GTX, GTX_AUDIO, H100, HOST, NEW_SERVER, NOW, T4, T4_TOO, RealLab

from gpufarm.guest import seen

pytestmark = pytest.mark.virthost

NAME = "real-full"


@pytest.fixture(scope="module")
def server(real: RealLab) -> Iterator[dict[str, Any]]:
    """A server with both functions of the GTX 1080."""
    made = real.create(NAME, "g1.full")
    yield made
    real.delete(made["id"])


def test_a_guest_sees_both_functions_and_no_kvm(real: RealLab, server: dict[str, Any]) -> None:
    assert (server["status"], server["host"]) == ("ACTIVE", HOST)
    assert server["cards"] == [GTX, GTX_AUDIO]
    found = real.verify(NAME)
    assert {check: result for check, (result, _) in found.items()} == {
        "functions": "ok",
        "one model": "ok",
        "KVM hidden": "ok",
        "driver": "not checked",
        "CUDA": "not checked",
    }
    assert found["functions"][1] == "1 of 1 10de:10f0, 1 of 1 10de:1b80"
    assert found["KVM hidden"][1] == "the guest finds no KVM, libvirt hides it"


def test_what_is_claimed_and_not_seen(real: RealLab, server: dict[str, Any]) -> None:
    """A card that Placement has for the server, and libvirt not."""
    placement = real.lab.connection.placement
    path, version = f"/allocations/{server['id']}", {"microversion": "1.28"}
    held = placement.get(path, **version).json()
    query = {"name": f"{HOST}_{H100}"}
    (card,) = placement.get("/resource_providers", params=query).json()["resource_providers"]
    held["allocations"][card["uuid"]] = {"resources": {"CUSTOM_PCI_10DE_2330": 1}}
    assert placement.put(path, json=held, **version).ok

    result, said = real.verify(NAME, status=2)["functions"]
    assert result == "wrong"
    assert "0 of 1 10de:2330" in said
    assert real.claims() == [("ALLOCATION_LEFT_BEHIND", H100)]
    (row,) = real.json("claims", "repair", *NOW)
    assert (row["outcome"], row["host"]) == ("done", HOST)
    assert real.verify(NAME)["functions"][0] == "ok"


def test_a_card_that_is_taken_is_refused_before_nova_is_asked(
    real: RealLab, server: dict[str, Any]
) -> None:
    words = ("server", "create", "real-one-more", "--flavor", "g1.gpu", *NEW_SERVER)
    done = real.run(*words, check=False)
    assert done.returncode == 2
    assert "all 1 of 1 gtx1080 cards" in done.stderr
    assert [each.name for each in real.compute.servers(all_projects=True)] == [NAME]


def test_it_cannot_be_live_migrated(real: RealLab, server: dict[str, Any]) -> None:
    """That Nova does refuse: tests/functional/capacity/test_explain_lab.py."""
    said = json.loads(real.run("explain", NAME, "-f", "json", check=False).stdout)
    (reason,) = (each for each in said["reasons"] if each["code"] == "LIVE_MIGRATION")
    assert "gtx1080, gtx1080-audio" in reason["message"]


def test_libvirt_restarts_under_it(real: RealLab, server: dict[str, Any]) -> None:
    real.there("systemctl restart libvirtd")
    assert real.verify(NAME)["KVM hidden"][0] == "ok"
    assert real.claims() == []


def test_deleted_it_gives_its_card_back(real: RealLab, server: dict[str, Any]) -> None:
    real.delete(server["id"])
    assert real.drivers(GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]
    assert real.guests() == []


def test_two_cards_of_one_model(real: RealLab) -> None:
    made = real.create("real-two", "g2.t4")
    assert made["cards"] == [T4, T4_TOO]
    assert real.verify("real-two")["functions"] == ("ok", "2 of 2 10de:1eb8")
    assert real.console(made["id"]).kvm, "its flavor does not hide it"
    real.delete(made["id"])
    assert real.drivers(T4, T4_TOO) == ["vfio-pci", "vfio-pci"]


def test_it_is_up_once_its_web_page_answers(real: RealLab) -> None:
    """What the image's `service_url` says, seen from the host; `auto` is the lab's one network."""
    words = ("real-page", "--flavor", "g1.h100", "--image", "gpu-console")
    made = real.json("server", "create", *words)
    ((address,),) = made["addresses"].values()
    page = seen.parse(real.there(f"busybox wget -qO- 'http://[{address}]/'"))
    assert page.whole
    assert "2330" in {each.product_id for each in page.functions}
    assert page.functions == real.console(made["id"]).functions
    real.delete(made["id"])


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


def test_a_card_that_a_foreign_guest_holds(real: RealLab) -> None:
    real.there(FOREIGN)
    (reason,) = real.why("g1.h100")
    found = real.claims()
    real.there("virsh destroy foreign")

    assert reason["host"] == HOST
    assert f"card {H100}: guest foreign holds it" in reason["message"]
    assert found == [("IN_USE_UNKNOWN", H100)]
    assert real.claims() == []


def test_the_host_is_listed_and_in_placement(real: RealLab) -> None:
    rows = real.json("lab", "status")
    assert {(row["host"], row["healthy"]) for row in rows} == {(None, True), (HOST, True)}
    providers = real.lab.connection.placement.get("/resource_providers").json()
    names = {each["name"] for each in providers["resource_providers"]}
    assert {HOST, f"{HOST}_{GTX}", f"{HOST}_{H100}"} <= names
    assert real.run("farm", "check", str(FARM)).returncode == 0
