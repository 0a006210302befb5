"""Machines from short descriptions: a folder that looks as their / would, sysfs and all.

A description is a YAML file (tests/hosts, tests/cases/findings). What it does not say is as on the
machine `BASE`: prepared, with a management controller, an NVMe disk and one two-function card.
"""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HOSTS = Path(__file__).parents[2] / "hosts"

FUNCTION = {
    "class": "0",
    "subsystem": "10de:119e",
    "driver": None,
    "override": None,
    "group": None,
    "numa": 0,
    "bars": [],
    "link": None,
    "reset": ["bus"],
    "boot_vga": None,
    "vfs": None,
    "pf": None,
    "parent": None,
    "mdev": {},
    "dead": False,
    "vfio_device": None,
}

GRUB = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="intel_iommu=on"\n'

BASE: dict[str, Any] = {
    "functions": {
        "0000:00:03.0": {
            "ids": "8086:6f08",
            "class": "060400",
            "driver": "pcieport",
            "group": 20,
            "link": [8.0, 16, 8.0, 16],
        },
        "0000:01:00.0": {
            "ids": "144d:a808",
            "class": "010802",
            "driver": "nvme",
            "group": 21,
            "reset": ["flr"],
        },
        "0000:0a:00.0": {
            "ids": "102b:0534",
            "class": "030000",
            "driver": "mgag200",
            "group": 22,
            "boot_vga": 1,
        },
        "0000:42:00.0": {
            "ids": "10de:1b80",
            "class": "030000",
            "driver": "vfio-pci",
            "group": 30,
            "parent": "0000:00:03.0",
            "link": [8.0, 16, 8.0, 16],
            "bars": ["16M", "256M p", None, "32M p"],
            "boot_vga": 0,
        },
        "0000:42:00.1": {
            "ids": "10de:10f0",
            "class": "040300",
            "driver": "vfio-pci",
            "group": 30,
            "parent": "0000:00:03.0",
            "bars": ["16K"],
        },
    },
    "groups": {},
    "units": ["dmar0"],
    "ecap": "f0105f",
    "acpi": ["APIC", "DMAR"],
    "release": "6.1.0-18-amd64",
    "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro intel_iommu=on quiet",
    "modules": ["kvm", "kvm_intel", "vfio", "vfio_iommu_type1", "vfio_pci"],
    "installed": [
        "drivers/vfio/vfio.ko",
        "drivers/vfio/vfio_iommu_type1.ko",
        "drivers/vfio/vfio_virqfd.ko",
        "drivers/vfio/pci/vfio-pci.ko",
        "drivers/pci/pci-stub.ko",
        "arch/x86/kvm/kvm-intel.ko.xz",
    ],
    "builtin": [],
    "config": ["CONFIG_INTEL_IOMMU=y", "CONFIG_AMD_IOMMU=y", "CONFIG_VFIO_PCI=m"],
    "cpu": {
        "vendor_id": "GenuineIntel",
        "model name": "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz",
        "flags": "fpu vmx lm",
        "address sizes": "46 bits physical, 48 bits virtual",
    },
    "numa_nodes": 2,
    "kvm": True,
    "vfio": [30],
    "slots": {},
    "processes": {},
    "parameters": {},
    "files": {
        "/etc/default/grub": GRUB,
        "/etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1b80,10de:10f0\n",
        "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "/proc/sys/kernel/hostname": "gpu18\n",
    },
    "links": {},
}

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
UNSET = 0x20000000


def describe(changes: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """`BASE` with changes: functions, files and the like are merged, None takes one away."""
    machine = copy.deepcopy(BASE if base is None else base)
    for key, value in changes.items():
        if key not in BASE:
            raise KeyError(key)
        if isinstance(machine.get(key), dict) and isinstance(value, dict):
            for name, inner in value.items():
                if inner is None:
                    machine[key].pop(name, None)
                elif isinstance(inner, dict) and isinstance(machine[key].get(name), dict):
                    machine[key][name] |= inner
                else:
                    machine[key][name] = inner
        else:
            machine[key] = value
    return machine


def load(path: Path) -> dict[str, Any]:
    """The machine of a file of tests/hosts, which is described from nothing."""
    document = yaml.safe_load(path.read_text())
    empty = {key: type(value)() for key, value in BASE.items()}
    empty |= {key: BASE[key] for key in ("release", "ecap", "installed", "config", "cpu")}
    return describe(document["machine"], {**empty, "kvm": True, "numa_nodes": 1})


def build(top: Path, machine: dict[str, Any]) -> Path:
    """Write the machine below `top`."""
    for path, text in _files(machine):
        target = top / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    for path, link in _links(machine):
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(link)
    for folder in _folders(machine):
        (top / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return top


def _home(machine: dict[str, Any], address: str) -> str:
    """The folder of a function below /sys/devices: inside of that of the bridge above."""
    function = {**FUNCTION, **machine["functions"][address]}
    if function["parent"] in machine["functions"]:
        return f"{_home(machine, function['parent'])}/{address}"
    return f"/sys/devices/pci{address[:-5]}/{address}"


def _files(machine: dict[str, Any]) -> Iterator[tuple[str, str | bytes]]:
    for address, given in machine["functions"].items():
        yield from _function_files(_home(machine, address), address, {**FUNCTION, **given})
    for name in machine["acpi"]:
        yield f"/sys/firmware/acpi/tables/{name}", name
    for unit in machine["units"]:
        if unit.startswith("dmar"):
            yield f"/sys/class/iommu/{unit}/intel-iommu/ecap", machine["ecap"] + "\n"
    yield from _kernel_files(machine)
    for name, value in machine["parameters"].items():
        module, parameter = name.split(".")
        yield f"/sys/module/{module}/parameters/{parameter}", f"{value}\n"
    for address, name in machine["slots"].items():
        yield f"/sys/bus/pci/slots/{name}/address", f"{address}\n"
    if machine["kvm"]:
        yield "/dev/kvm", ""
    for group in ("vfio", *machine["vfio"]):
        yield f"/dev/vfio/{group}", ""
    yield from machine["files"].items()


def _kernel_files(machine: dict[str, Any]) -> Iterator[tuple[str, str | bytes]]:
    for pid, process in machine["processes"].items():
        yield f"/proc/{pid}/comm", f"{process['comm']}\n"
        yield f"/proc/{pid}/cmdline", "\0".join(process["words"]) + "\0"
    yield "/proc/sys/kernel/osrelease", machine["release"] + "\n"
    yield "/proc/cmdline", machine["cmdline"] + "\n"
    if machine["modules"] is not None:
        lines = (f"{name} 16384 0 - Live 0x0\n" for name in machine["modules"])
        yield "/proc/modules", "".join(lines)
    block = "".join(f"{key}\t: {value}\n" for key, value in machine["cpu"].items())
    yield "/proc/cpuinfo", f"processor\t: 0\n{block}\nprocessor\t: 1\n{block}\n"
    modules = f"/lib/modules/{machine['release']}"
    yield f"{modules}/modules.builtin", "".join(f"kernel/{path}\n" for path in machine["builtin"])
    for path in machine["installed"] or ():
        yield f"{modules}/kernel/{path}", ""
    yield f"/boot/config-{machine['release']}", "".join(f"{line}\n" for line in machine["config"])


def _function_files(
    home: str, address: str, function: dict[str, Any]
) -> Iterator[tuple[str, str | bytes]]:
    vendor, product = function["ids"].split(":")
    event = [
        *([f"DRIVER={function['driver']}"] if function["driver"] else []),
        f"PCI_CLASS={function['class'].lstrip('0').upper()}",
        f"PCI_ID={function['ids'].upper()}",
        f"PCI_SUBSYS_ID={function['subsystem'].upper()}",
        f"PCI_SLOT_NAME={address}",
        f"MODALIAS=pci:v0000{vendor.upper()}d0000{product.upper()}",
    ]
    texts = {
        "uevent": "\n".join(event),
        "vendor": f"0x{vendor}",
        "device": f"0x{product}",
        "class": f"0x{function['class']}",
        "driver_override": function["override"] or "(null)",
        "numa_node": function["numa"],
        "resource": "\n".join(_resources(function["bars"])),
    }
    if function["reset"]:
        texts |= {"reset": "", "reset_method": " ".join(function["reset"])}
    if function["boot_vga"] is not None:
        texts["boot_vga"] = function["boot_vga"]
    if function["link"]:
        speed, width, max_speed, max_width = function["link"]
        texts |= {"current_link_speed": f"{speed} GT/s PCIe", "current_link_width": width}
        texts |= {"max_link_speed": f"{max_speed} GT/s PCIe", "max_link_width": max_width}
    if function["vfs"]:
        texts |= {"sriov_numvfs": function["vfs"][0], "sriov_totalvfs": function["vfs"][1]}
    for name, (title, available) in function["mdev"].items():
        folder = f"mdev_supported_types/{name}"
        texts |= {f"{folder}/name": title, f"{folder}/available_instances": available}
    for name, text in texts.items():
        yield f"{home}/{name}", f"{text}\n"
    yield f"{home}/config", b"\xff" * 64 if function["dead"] else _header(function)
    if function["vfio_device"]:
        yield f"{home}/vfio-dev/{function['vfio_device']}/dev", "511:0\n"


def _resources(bars: list[str | None]) -> Iterator[str]:
    """`16M`, `16G p` (prefetchable), `16G p unset`, `reset` (forgotten by the kernel), `128 io`."""
    start = 0x100000000
    for bar in [*bars, *[None] * (13 - len(bars))]:
        words = bar.split() if bar else []
        if not words or words[0] == "reset":
            yield f"0x{0:016x} 0x{0:016x} 0x{0:016x}"
            continue
        flags = 0x101 if "io" in words else 0x40200
        flags |= 0x10200C if "p" in words else 0
        size = _size(words[0])
        begin = 0 if "unset" in words else start
        flags |= UNSET if "unset" in words else 0
        yield f"0x{begin:016x} 0x{begin + size - 1:016x} 0x{flags:016x}"
        start += 1 << 40


def _size(text: str) -> int:
    return int(text.rstrip("KMG")) * UNITS.get(text[-1], 1)


def _header(function: dict[str, Any]) -> bytes:
    """The first 64 bytes of configuration space, as far as anything reads them."""
    vendor, product = (int(part, 16) for part in function["ids"].split(":"))
    header = bytearray(64)
    header[0:4] = vendor.to_bytes(2, "little") + product.to_bytes(2, "little")
    for index, bar in enumerate(function["bars"][:6]):
        if bar:
            words = bar.split()
            header[16 + 4 * index] = 0x1 if "io" in words else 0xC if "p" in words else 0
    return bytes(header)


def _links(machine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for address, given in machine["functions"].items():
        function = {**FUNCTION, **given}
        home = _home(machine, address)
        yield f"/sys/bus/pci/devices/{address}", os.path.relpath(home, "/sys/bus/pci/devices")
        for name, target in (
            ("driver", function["driver"] and f"/sys/bus/pci/drivers/{function['driver']}"),
            ("physfn", function["pf"] and _home(machine, function["pf"])),
            (
                "iommu_group",
                function["group"] is not None and f"/sys/kernel/iommu_groups/{function['group']}",
            ),
        ):
            if target:
                yield f"{home}/{name}", os.path.relpath(target, home)
        if function["group"] is not None:
            folder = f"/sys/kernel/iommu_groups/{function['group']}/devices"
            yield f"{folder}/{address}", os.path.relpath(home, folder)
    for pid, process in machine["processes"].items():
        for number, path in enumerate(process["open"], 10):
            yield f"/proc/{pid}/fd/{number}", path
    yield from machine["links"].items()


def _folders(machine: dict[str, Any]) -> Iterator[str]:
    yield "/sys/kernel/iommu_groups"
    yield "/sys/firmware/acpi/tables"
    for number in machine["groups"]:
        yield f"/sys/kernel/iommu_groups/{number}/devices"
    for number in range(machine["numa_nodes"]):
        yield f"/sys/devices/system/node/node{number}"
    for name in {each.get("driver") for each in machine["functions"].values()} - {None}:
        yield f"/sys/bus/pci/drivers/{name}"
