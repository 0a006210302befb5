"""bind.sh, which runs at boot, under every shell that an initramfs may have."""

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from gpufarm.host import ours
from gpufarm.host.ours import Given

SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]]
BIND = (files("gpufarm.host") / "data" / "bind.sh").read_text()


@pytest.fixture(params=SHELLS, ids=" ".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if shutil.which(words[0]) is None:
        pytest.fail(f"{words[0]} is not installed: .ci/run installs what the tests need")
    return words


def boot(shell: list[str], top: Path, given: list[Given]) -> None:
    """Source it as dracut does, with `top` for / and without modprobe."""
    (top / "functions").write_text(ours.functions_text(given))
    (top / "bin").mkdir()
    (top / "bin/modprobe").write_text(f"#!/bin/sh\necho $1 >>{top}/modprobed\n")
    (top / "bin/modprobe").chmod(0o755)
    text = BIND.replace("/sys/bus/pci", str(top / "pci"))
    text = text.replace("/etc/gpufarm/functions", str(top / "functions"))
    # Busybox has a modprobe inside and prefers it.
    text = text.replace("|| modprobe", f"|| {top}/bin/modprobe")
    (top / "bind.sh").write_text(text)
    words = [*shell, "-c", f"set -e; . {top}/bind.sh; echo went on"]
    environment = {"PATH": f"{top}/bin:/usr/bin:/bin"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("went on\n", "")


def function(top: Path, address: str, ids: str, driver: str | None = None) -> Path:
    folder = top / "pci/devices" / address
    folder.mkdir(parents=True)
    vendor, product = ids.split(":")
    (folder / "vendor").write_text(f"0x{vendor}\n")
    (folder / "device").write_text(f"0x{product}\n")
    for name in ("driver_override", "remove"):
        (folder / name).write_text("")
    if driver:
        (top / "pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(f"../../drivers/{driver}")
        (top / "pci/drivers" / driver / address).touch()
    return folder


def test_each_function_goes_where_the_list_says(shell: list[str], tmp_path: Path) -> None:
    graphics = function(tmp_path, "0000:42:00.0", "10de:1b80")
    audio = function(tmp_path, "0000:42:00.1", "10de:10f0")
    usb = function(tmp_path, "0000:42:00.2", "10de:1ad6", "xhci_hcd")
    given = [
        Given("0000:42:00.0", "10de", "1b80", "vfio-pci"),
        Given("0000:42:00.1", "10de", "10f0", None),
        Given("0000:42:00.2", "10de", "1ad6", "vfio-pci"),
    ]
    boot(shell, tmp_path, given)
    assert (graphics / "driver_override").read_text() == "vfio-pci\n"
    assert (audio / "remove").read_text() == "1\n"
    assert (tmp_path / "modprobed").read_text().split() == ["vfio-pci"] * 2
    # Part of the kernel, so that it was there first.
    assert (tmp_path / "pci/drivers/xhci_hcd/unbind").read_text() == "0000:42:00.2\n"
    assert (tmp_path / "pci/drivers_probe").read_text() == "0000:42:00.2\n"
    assert (usb / "driver_override").read_text() == "vfio-pci\n"


def test_another_device_at_that_address_is_left_alone(shell: list[str], tmp_path: Path) -> None:
    disk = function(tmp_path, "0000:42:00.0", "144d:a808", "nvme")
    given = [
        Given("0000:42:00.0", "10de", "1b80", "vfio-pci"),
        Given("0000:42:00.1", "10de", "10f0", None),
    ]
    boot(shell, tmp_path, given)
    assert (disk / "driver_override").read_text() == ""
    assert not (tmp_path / "pci/drivers/nvme/unbind").exists()
    assert not (tmp_path / "modprobed").exists()


def test_what_is_bound_already_is_not_touched(shell: list[str], tmp_path: Path) -> None:
    function(tmp_path, "0000:42:00.0", "10de:1b80", "vfio-pci")
    boot(shell, tmp_path, [Given("0000:42:00.0", "10de", "1b80", "vfio-pci")])
    assert not (tmp_path / "pci/drivers/vfio-pci/unbind").exists()
    assert not (tmp_path / "pci/drivers_probe").exists()
