"""How quickly hosts are read: one large tree, against lspci, and many captures.

`facts`: all facts of a folder with 300 PCI functions, in process, a new root each time. `lspci`:
`lspci -vvnnk` on the same folder (its option -O sysfs.path), a process each time, as there is no
other way to run it. `scan`: the same facts with cards, names and findings. `captures`: 500 of them
opened, scanned and checked one after the other. `plan 1`, `plan N` (with --hosts N): the command
`gpufarm host plan` on one and on N virtual hosts over SSH, in turn, on connections that are there
already and on new ones. Prints a table and, last, the name of a JSON file with the same numbers.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import machine

from gpufarm.host import facts, names, report
from gpufarm.host.cards import cards
from gpufarm.host.findings import check
from gpufarm.host.ids import Names
from gpufarm.lab.virthost import host as virtual
from gpufarm.lab.virthost.cards import parse
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine as VirtualMachine
from gpufarm.system import capture
from gpufarm.system.capture import open_root
from gpufarm.system.machine import Machine
from gpufarm.system.root import Folder

FUNCTIONS = 300
CAPTURES = 500
REACH = {"facts": 0.030, "captures": 10.0}
MOST_TIMES_ONE = 1.5
"""What N hosts may take, in terms of one."""
AT_ONCE = 2
HEADER = 64
SPACE = 4096


def tree(top: Path, functions: int) -> Path:
    """A host: bridges with a card of two functions, a NIC with VFs and a disk below each."""
    group = 0
    for bus in range(1, 255):
        bridge = f"0000:{bus >> 4:02x}:{bus & 0xF:02x}.0"
        group += 1
        below: list[Function] = [(bridge, "8086", "2030", "060400", "pcieport", group, None)]
        kinds = [
            ("10de", "2330", "030200", "vfio-pci"),
            ("10de", "22ba", "040300", "vfio-pci"),
            ("15b3", "101e", "020000", "mlx5_core"),
            ("144d", "a80a", "010802", "nvme"),
        ]
        for number, (vendor, product, class_id, driver) in enumerate(kinds):
            address = f"0000:{bus + 16:02x}:{number // 2:02x}.{number % 2}"
            own = group + 1 if number < 2 else group + number
            below.append((address, vendor, product, class_id, driver, own, bridge))
        group += 4
        for each in below:
            if functions == 0:
                return top
            add(top, each)
            functions -= 1
    return top


Function = tuple[str, str, str, str, str, int, str | None]
"""Address, vendor, product, class, driver, group, the bridge above."""


def add(top: Path, function: Function) -> None:
    """One function as Linux 6.1 shows it."""
    address, vendor, product, class_id, driver, group, above = function
    inner = f"{above}/{address}" if above else address
    home = top / "sys/devices/pci0000:00" / inner
    home.mkdir(parents=True)
    texts = {
        "uevent": f"DRIVER={driver}\nPCI_CLASS={class_id.lstrip('0')}\n"
        f"PCI_ID={vendor.upper()}:{product.upper()}\nPCI_SUBSYS_ID=10DE:16C1\n"
        f"PCI_SLOT_NAME={address}\nMODALIAS=pci:v0000{vendor}d0000{product}sv000010DEsd000016C1",
        "vendor": f"0x{vendor}",
        "device": f"0x{product}",
        "class": f"0x{class_id}",
        "subsystem_vendor": "0x10de",
        "subsystem_device": "0x16c1",
        "revision": "0xa1",
        "irq": "16",
        "driver_override": "(null)",
        "numa_node": "0",
        "resource": "\n".join(
            ["0x00000000c5000000 0x00000000c5ffffff 0x0000000000040200"] * 2
            + ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 11
        ),
        "reset": "",
        "reset_method": "flr bus",
        "current_link_speed": "16.0 GT/s PCIe",
        "current_link_width": "16",
        "max_link_speed": "16.0 GT/s PCIe",
        "max_link_width": "16",
        "modalias": "pci:v",
        "enable": "1",
        "power_state": "D0",
        "local_cpulist": "0-63",
    }
    if class_id.startswith("02"):
        texts |= {"sriov_numvfs": "0", "sriov_totalvfs": "16"}
    for name, text in texts.items():
        (home / name).write_text(text + "\n")
    (home / "config").write_bytes(header(vendor, product, class_id))
    for name, target in (("driver", f"bus/pci/drivers/{driver}"), ("iommu_group", f"g/{group}")):
        place = top / "sys" / target.replace("g/", "kernel/iommu_groups/")
        place.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(os.path.relpath(place, home))
    devices = top / "sys/bus/pci/devices"
    devices.mkdir(parents=True, exist_ok=True)
    (devices / address).symlink_to(os.path.relpath(home, devices))


def header(vendor: str, product: str, class_id: str) -> bytes:
    """Configuration space with a PCI Express capability, for lspci to look through."""
    space = bytearray(SPACE)
    space[0:2] = int(vendor, 16).to_bytes(2, "little")
    space[2:4] = int(product, 16).to_bytes(2, "little")
    space[6] = 0x10  # has capabilities
    space[9:12] = int(class_id, 16).to_bytes(3, "little")
    space[0x0E] = 1 if class_id.startswith("0604") else 0
    space[0x34] = HEADER
    space[HEADER] = 0x10  # PCI Express
    space[HEADER + 2] = 0x42 if class_id.startswith("0604") else 0x02
    return bytes(space)


def timed(action: Callable[[], Any], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return taken


def lspci(top: Path) -> None:
    subprocess.run(
        ["lspci", "-O", f"sysfs.path={top}/sys/bus/pci", "-vvnnk"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def many(files: list[Path], known: Names) -> None:
    for file in files:
        found = facts.read(open_root(file))
        report.scan(found, known)
        check(found, cards(found))


def rounds(folder: Path, repeat: int) -> dict[str, list[float]]:
    top = tree(folder / "tree", FUNCTIONS)
    known = names.load(Machine())
    assert len(facts.read(Folder(top)).functions) == FUNCTIONS
    found = {"facts": timed(lambda: facts.read(Folder(top)), repeat)}
    found["scan"] = timed(lambda: report.scan(facts.read(Folder(top)), known), repeat)
    if shutil.which("lspci"):
        found["lspci"] = timed(lambda: lspci(top), repeat)
    sizes = [8, 40, 80, 150]
    files = []
    for number, size in enumerate(sizes):
        host = tree(folder / f"host-{number}", size)
        data = capture.encode(facts.capture(Folder(host)))
        for copy in range(CAPTURES // len(sizes)):
            files.append(folder / f"{number}-{copy}.json.gz")
            files[-1].write_bytes(data)
    found["captures"] = timed(lambda: many(files, known), max(1, repeat // 10))
    return found


def over_ssh(folder: Path, count: int, repeat: int) -> dict[str, list[float]]:
    """Plans of one host and of all of them; hosts are started for it and ended."""

    def start(number: int) -> Guest:
        wanted = VirtualMachine(name=f"host{number}", cards=(parse("gtx1080"),))
        return virtual.up(folder, wanted, lambda text: print(text, file=sys.stderr))

    folder.mkdir()
    spec = folder / "cards.yaml"
    spec.write_text('{version: 1, cards: [{address: "0000:01:00.0"}]}')
    found: dict[str, list[float]] = {}
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            hosts = list(pool.map(start, range(count)))
        for wanted in (hosts[:1], hosts) * repeat:
            for each in hosts:
                each.part()
            for way in ("new", "kept"):
                label = f"plan {len(wanted)} {way}"
                found.setdefault(label, []).extend(timed(lambda at=wanted: plan(spec, at), 1))
    finally:
        virtual.down_all(folder)
    return found


def plan(spec: Path, hosts: list[Guest]) -> None:
    names = [word for each in hosts for word in ("--ssh", each.name)]
    words = ["host", "plan", "--spec", str(spec), "--ssh-config", str(hosts[0].config), *names]
    subprocess.run(
        [sys.executable, "-m", "gpufarm", *words, "-f", "json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def show_ratios(found: dict[str, list[float]], count: int) -> None:
    for way in ("new", "kept"):
        one, every = (statistics.median(found[f"plan {number} {way}"]) for number in (1, count))
        print(
            f"{count} hosts, {way} connections: {every / one:.2f} times one "
            f"(reach {MOST_TIMES_ONE}; the hosts are emulated by this machine's {os.cpu_count()} "
            "cores)"
        )


def show(found: dict[str, list[float]]) -> None:
    print(
        f"{'round':<12}{'runs':>6}{'median ms':>12}{'best ms':>10}{'worst ms':>10}{'reach ms':>10}"
    )
    for name, taken in found.items():
        reach = f"{REACH[name] * 1000:.0f}" if name in REACH else ""
        print(
            f"{name:<12}{len(taken):>6}{statistics.median(taken) * 1000:>12.1f}"
            f"{min(taken) * 1000:>10.1f}{max(taken) * 1000:>10.1f}{reach:>10}"
        )
    print(
        f"(facts, scan, lspci: {FUNCTIONS} functions; captures: {CAPTURES} of 8 to 150 functions)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=20, help="runs of each round (20)")
    parser.add_argument("--hosts", type=int, default=0, help="virtual hosts to plan over SSH (0)")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parsed = parser.parse_args()
    on = machine()
    print(", ".join(f"{key}: {value}" for key, value in on.items()))
    with tempfile.TemporaryDirectory(prefix="gpufarm-bench-") as folder:
        found = rounds(Path(folder), parsed.repeat)
        if parsed.hosts > 1:
            found |= over_ssh(Path(folder) / "lab", parsed.hosts, max(3, parsed.repeat // 4))
    show(found)
    if parsed.hosts > 1:
        show_ratios(found, parsed.hosts)
    if "lspci" not in found:
        print("lspci is not installed (package pciutils): not compared with it")
    output = parsed.output or Path(tempfile.gettempdir()) / "gpufarm-bench-host.json"
    output.write_text(json.dumps({"machine": on, "rounds": found}, indent=1))
    print(output)


if __name__ == "__main__":
    main()
