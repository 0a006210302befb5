"""What can happen to a GPU server on real libvirt, and what its user and operator are told."""

import pytest
from real_lab import GTX, GTX_AUDIO, H100, HOST, T4, T4_TOO, RealLab, start

pytestmark = [pytest.mark.virthost, pytest.mark.long]


def test_a_managed_function_goes_back_to_the_driver_that_it_had(mended: RealLab) -> None:
    with mended.bound(GTX_AUDIO, "", "snd_hda_intel"):
        made = mended.create("real-managed", "g1.full")
        assert mended.drivers(GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]
        mended.delete(made["id"])
        assert mended.drivers(GTX, GTX_AUDIO) == ["vfio-pci", "snd_hda_intel"]


def test_an_unmanaged_card_stays_where_it_was_bound(mended: RealLab) -> None:
    made = mended.create("real-unmanaged", "g1.h100")
    mended.delete(made["id"])
    assert mended.drivers(H100) == ["vfio-pci"]
    with mended.bound(H100, "pci-stub", "pci-stub"):
        (reason,) = mended.why("g1.h100")
        assert mended.drivers(H100) == ["pci-stub"]
    assert reason["host"] == HOST
    assert "a card of IOMMU group" in reason["message"]
    assert "it is not with its VFIO driver" in reason["message"]


def test_a_group_that_is_not_viable(mended: RealLab) -> None:
    with mended.bound(GTX_AUDIO, "", "snd_hda_intel"):
        (reason,) = mended.why("g1.gpu")
    assert reason["host"] == HOST
    assert f"card {GTX}: its IOMMU group" in reason["message"]
    assert "not viable" in reason["message"]


HOLD = """\
group=$(basename $(readlink /sys/bus/pci/devices/{address}/iommu_group))
systemd-run --quiet --unit=hold sh -c "exec 3<>/dev/vfio/$group; exec sleep 1000"
"""


def test_a_card_that_a_process_holds(mended: RealLab) -> None:
    mended.there(HOLD.format(address=H100))
    (reason,) = mended.why("g1.h100")
    mended.there("systemctl stop hold")
    assert f"card {H100}: a process outside of libvirt holds it" in reason["message"]


def test_a_card_that_does_not_come_back_from_a_reset(mended: RealLab) -> None:
    with mended.silent(H100):
        (reason,) = mended.why("g1.h100")
    assert reason["host"] == HOST
    assert f"card {H100}: every read from it is all ones" in reason["message"]


def test_a_card_is_unplugged_under_a_running_guest(mended: RealLab) -> None:
    made = mended.create("real-unplugged", "g1.t4")
    (address,) = made["cards"]
    mended.unplug(address)
    mended.wait(lambda: not _sees(mended, made["id"]), "the guest lists its functions again")
    result, said = mended.verify("real-unplugged", status=2)["functions"]
    assert (result, said) == ("wrong", "0 of 1 10de:1eb8")
    assert mended.claims() == [("CARD_GONE", address)]

    mended.compute.reboot_server(made["id"], "HARD")
    mended.until(made["id"], "ERROR")
    (reason,) = mended.causes("real-unplugged")
    assert reason["host"] == HOST
    assert f"card {address}: it is gone from the host's PCI bus" in reason["message"]


def _sees(lab: RealLab, server: str) -> bool:
    found = lab.console(server)
    return not found.whole or any(each.product_id == "1eb8" for each in found.functions)


@pytest.mark.parametrize("by", ["systemctl reboot", "echo c > /proc/sysrq-trigger"])
def test_the_host_reboots(mended: RealLab, by: str) -> None:
    """Told to, or by itself where its kernel panics."""
    made = mended.create("real-rebooted", "g1.full")
    mended.reboot(by)
    mended.wait(lambda: mended.guests() != [], "Nova has started its guest again")
    mended.wait(lambda: mended.console(made["id"]).whole, "the guest is up")
    mended.until(made["id"], "ACTIVE")
    assert mended.verify("real-rebooted")["functions"][0] == "ok"
    assert mended.claims() == []
    mended.delete(made["id"])
    assert mended.drivers(GTX, GTX_AUDIO) == ["vfio-pci", "vfio-pci"]


@pytest.mark.parametrize("started", [False, True])
def test_nova_compute_dies_while_it_creates(mended: RealLab, started: bool) -> None:
    server = mended.ask("real-killed", "g1.t4")
    task = "OS-EXT-STS:task_state"
    mended.wait(lambda: mended.server(server)[task] == "spawning", "spawning")
    if started:
        mended.wait(lambda: mended.guests() != [], "libvirt has started the guest")
    mended.kill()
    mended.start()
    mended.until(server, "ERROR")
    assert {code for code, _ in mended.claims()} == {"BUILD_STUCK"}
    mended.delete(server)
    assert mended.guests() == []
    assert mended.drivers(T4) == ["vfio-pci"]
    assert mended.claims() == []


def test_nova_compute_dies_while_it_deletes(mended: RealLab) -> None:
    made = mended.create("real-killed", "g1.t4")
    mended.compute.delete_server(made["id"])
    mended.kill()
    mended.start()
    mended.delete(made["id"])
    assert mended.guests() == []
    assert mended.drivers(T4) == ["vfio-pci"]
    assert mended.claims() == []


def test_a_guest_that_outlives_its_server(mended: RealLab) -> None:
    made = mended.create("real-deleted", "g1.h100")
    mended.kill()
    mended.force_down(HOST, down=True)
    try:
        mended.delete(made["id"])
        assert mended.claims() == [("ROW_LEFT_BEHIND", H100)]
    finally:
        mended.force_down(HOST, down=False)
    mended.start()
    assert mended.claims() == [("IN_USE_UNKNOWN", H100)]
    (guest,) = mended.guests()
    mended.there(f"virsh destroy {guest}")
    assert mended.claims() == [("IN_USE_UNKNOWN", H100)], "it is defined with it"
    mended.there(f"virsh undefine {guest}")
    assert mended.claims() == []


def test_a_host_leaves_the_lab_and_a_new_one_joins(mended: RealLab) -> None:
    made = mended.create("real-stays", "g1.h100")
    refused = mended.run("lab", "host", "down", HOST, check=False)
    assert refused.returncode == 1
    assert "real-stays" in refused.stderr
    mended.delete(made["id"])
    mended.run("lab", "host", "down", HOST)
    try:
        assert {row["host"] for row in mended.json("lab", "status")} == {None}
        assert mended.claims() == []
    finally:
        start(mended.lab)
    assert mended.run("lab", "status").returncode == 0
    assert mended.free() == {GTX, GTX_AUDIO, H100, T4, T4_TOO}
