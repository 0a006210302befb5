"""What a process uses is not taken from it, and nothing is changed before that is known."""

from pathlib import Path

import pytest
from model_host import PCI, ModelHost, debian, gtx_1080
from test_interrupted import GTX_1080, NONE

from gpufarm.host.apply import prepare, refuse_guests, roll_back
from gpufarm.model.errors import HostHeld, HostRefused


@pytest.fixture
def host(tmp_path: Path) -> ModelHost:
    made = debian(tmp_path / "one" / "root")
    gtx_1080(made)
    made.put(f"{PCI}/devices/0000:42:00.1/sound/card0/uevent", "MAJOR=116\n")
    control = f"{PCI}/devices/0000:42:00.1/sound/card0/controlC0/uevent"
    made.put(control, "MAJOR=116\nMINOR=6\nDEVNAME=snd/controlC0\n")
    # Processes of which nothing is to be seen: the kernel's own.
    (made.top / "proc/2/fd").mkdir(parents=True)
    return made


def opens(host: ModelHost, pid: int, path: str) -> None:
    host.put(f"proc/{pid}/comm", "pipewire\n")
    (host.top / f"proc/{pid}/fd").mkdir()
    (host.top / f"proc/{pid}/fd/0").symlink_to("/dev/null")
    (host.top / f"proc/{pid}/fd/7").symlink_to(path)


def closes(host: ModelHost, pid: int) -> None:
    (host.top / f"proc/{pid}/fd/7").unlink()


def test_a_process_of_the_host_that_uses_a_function(host: ModelHost) -> None:
    opens(host, 77, "/dev/snd/controlC0")
    before = host.content()
    with pytest.raises(HostHeld) as caught:
        prepare(host, GTX_1080)
    assert caught.value.held == ("0000:42:00.1 77 pipewire",)
    assert "nothing was changed" in str(caught.value)
    assert host.content() == before
    closes(host, 77)
    prepare(host, GTX_1080)
    assert host.driver("0000:42:00.1") == "vfio-pci"


def test_a_node_of_another_function_is_no_reason(host: ModelHost) -> None:
    opens(host, 77, "/dev/snd/controlC10")
    opens(host, 78, "/dev/vfio/130")
    prepare(host, GTX_1080)
    assert host.driver("0000:42:00.1") == "vfio-pci"


def test_a_vm_keeps_its_card_from_a_rollback_and_from_another_spec(host: ModelHost) -> None:
    prepare(host, GTX_1080)
    host.put("dev/vfio/13", "")
    opens(host, 77, "/dev/vfio/13")
    before = host.content()
    with pytest.raises(HostHeld, match=r"0000:42:00.\d is used by process 77 pipewire"):
        roll_back(host)
    with pytest.raises(HostRefused, match="CARD_HELD"):
        prepare(host, NONE)
    with pytest.raises(HostHeld, match="/dev/vfio/13 is used by process 77 pipewire"):
        refuse_guests(host)
    assert host.content() == before
    closes(host, 77)
    refuse_guests(host)
    roll_back(host)
    assert host.driver("0000:42:00.1") == "snd_hda_intel"


def test_what_is_prepared_already_is_no_reason_to_refuse(host: ModelHost) -> None:
    prepare(host, GTX_1080)
    opens(host, 77, "/dev/vfio/13")
    assert prepare(host, GTX_1080).steps == ()
