"""What the log of a nova-compute says of a card, in the words of libvirt 9 and QEMU 7.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.capacity import faults

SERVER = "[instance: 5d0c2f5e-5f40-4b6c-8f0a-94b1e4a1f7d1]"
CARD = "0000:01:00.0"

SEEN = {
    f"qemu closed the monitor: vfio {CARD}: group 12 is not viable": "IOMMU group 12 is",
    "libvirt.libvirtError: Requested operation is not valid: PCI device "
    f"{CARD} is in use by driver QEMU, domain foreign": "guest foreign holds it",
    f"vfio {CARD}: failed to open /dev/vfio/12: Device or resource busy": "outside of libvirt",
    "libvirt.libvirtError: Requested operation is not valid: Unmanaged PCI device "
    f"{CARD} must be manually detached from the host": "not with its VFIO driver",
    f"libvirt.libvirtError: Device {CARD} not found: could not access "
    f"/sys/bus/pci/devices/{CARD}/config: No such file or directory": "gone from the host's PCI",
    f"internal error: Unable to reset PCI device {CARD}: no FLR, PM reset or bus reset available": (
        "could not be reset: no FLR"
    ),
}


@pytest.mark.parametrize(("line", "meaning"), SEEN.items())
def test_a_cause_names_host_card_and_meaning_once(line: str, meaning: str) -> None:
    log = f"ERROR nova.virt.libvirt.driver {SERVER} {line}\nERROR {SERVER} {line}\n"
    (reason,) = faults.in_log("real-1", log)
    assert reason.host == "real-1"
    assert f"card {CARD}: " in reason.message
    assert meaning in reason.message
    assert not reason.blocks


def test_a_log_that_names_no_card_says_nothing() -> None:
    assert faults.in_log("real-1", f"INFO nova.compute.manager {SERVER} Took 9 seconds\n") == ()


@given(
    st.text() | st.sampled_from(sorted(SEEN)).flatmap(lambda x: st.text().map(lambda y: y + x + y))
)
def test_no_log_moves_the_terminal(log: str) -> None:
    for reason in faults.in_log("real-1", log):
        assert reason.message.isprintable()
