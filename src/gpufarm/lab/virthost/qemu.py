"""QEMU's command line for a virtual host: a pure function of its hardware.

Paths are relative to the host's folder, which is QEMU's working directory: the path of a UNIX
socket has 107 bytes at most (unix(7)), and a state folder may be deep.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpufarm.lab.ports import LOOPBACK
from gpufarm.lab.virthost.machine import (
    OWN_PORTS,
    SHARED_PORTS,
    Machine,
    Peer,
    Plugged,
    Reach,
    addressed_buses,
    disk_address,
    plugged,
)

DISK, QMP, SERIAL, KEY, SOCKETS = "disk.qcow2", "qmp", "serial.log", "key.pub", "vfu"
KEY_ITEM = "opt/org.gpufarm/ssh-key"
"""The firmware configuration item in which the host finds whom to let in by SSH."""

GUEST_ADDRESS = "10.0.2.15"
SSH_PORT = 22
NETWORK = "n0"

SERVICES_ADDRESS = "10.0.2.100"
"""Where a host finds the services of this machine that it may use."""
RELAY = "busybox"
"""In the host's folder: it takes each connection to such a service on to 127.0.0.1."""
PORT_FILE = "port"
"""In the host's folder: the port of 127.0.0.1 that leads to its SSH; another at each start."""

WINDOW_32, WINDOW_64 = "32M", "32G"
"""What a root port keeps free for a card that is plugged in later; SeaBIOS keeps 2 MB otherwise."""
SWITCH_WINDOW_32 = "128M"

MESSAGE_TIMEOUT_MS = 60000
"""QEMU waits 5 s for an answer of a vfio-user server otherwise: too little on a busy machine."""

CPU = "max,la57=off"
"""It calls itself AMD's and has SVM, so that the host has /dev/kvm; five levels of page tables
would only make each miss dearer."""

FIRST_OWN_SLOT = 4
SWITCH_SLOT = FIRST_OWN_SLOT + OWN_PORTS
FIRST_DISK_SLOT = 0x10
FIRST_BRIDGE_SLOT = 0x14


def arguments(machine: Machine, *, incoming: Path | None = None) -> tuple[str, ...]:
    """What follows QEMU's name; it waits, with no card plugged in, where a state is `incoming`."""
    return (
        *("-nodefaults", "-no-user-config", "-display", "none", "-name", machine.name),
        *("-serial", f"file:{SERIAL}", "-qmp", f"unix:{QMP},server=on,wait=off"),
        *("-M", "q35,kernel-irqchip=off", "-accel", "tcg,thread=multi", "-cpu", CPU),
        *("-smp", str(machine.cpus), "-m", str(machine.memory_mb)),
        *_iommu(machine),
        *_board(machine),
        *_ports(machine),
        *(("-incoming", f"file:{incoming}") if incoming else _cards(machine)),
    )


def plugs(machine: Machine) -> tuple[dict[str, Any], ...]:
    """The devices of the cards, in order, as `device_add` and `-device` take them."""
    disk = {"driver": "nvme", "id": "disk", "drive": "nvme", "serial": "gpufarm", "bus": "shared0"}
    cards = tuple(_card_device(each) for each in plugged(machine))
    return (disk, *cards) if disk_address(machine) else cards


def _cards(machine: Machine) -> tuple[str, ...]:
    return tuple(word for plug in plugs(machine) for word in ("-device", json.dumps(plug)))


def _card_device(each: Plugged) -> dict[str, Any]:
    """Function 1 needs `multifunction` too, or it comes back from a rescan in another group."""
    return {
        "driver": "vfio-user-pci",
        "id": each.socket,
        "socket": {"type": "unix", "path": f"{SOCKETS}/{each.socket}"},
        "bus": each.port,
        "addr": f"0.{each.number}",
        "multifunction": True,
        "rombar": 0,
        "x-msg-timeout": MESSAGE_TIMEOUT_MS,
    }


def _iommu(machine: Machine) -> tuple[str, ...]:
    devices: dict[str, tuple[str, ...]] = {
        "intel": ("intel-iommu,intremap=on,caching-mode=on,aw-bits=48",),
        "amd": (
            "AMDVI-PCI,id=amdvi,addr=1d.0",
            "amd-iommu,pci-id=amdvi,intremap=on,xtsup=on,dma-remap=on",
        ),
        "none": (),
    }
    return tuple(word for device in devices[machine.iommu] for word in ("-device", device))


def _board(machine: Machine) -> tuple[str, ...]:
    """What every server has: a VGA of the board's own, a disk, a network card, randomness.

    The VGA makes no card the boot VGA. `vmgenid` tells a resumed kernel to reseed its randomness.
    """
    forwards = (*map(_forward, machine.reaches), *map(_forward_peer, machine.peers))
    network = ",".join((f"user,id={NETWORK},restrict=on", *forwards))
    disks = (
        word
        for number, path in enumerate(machine.disks)
        for word in _disk(f"extra{number}", FIRST_DISK_SLOT + number, str(path), "raw,readonly=on")
    )
    return (
        *("-device", "VGA,addr=1.0", "-device", "vmgenid"),
        *_disk("root", 2, DISK, "qcow2,discard=unmap", ",bootindex=1"),
        *("-netdev", network, "-device", f"virtio-net-pci,netdev={NETWORK},addr=3.0,romfile="),
        *("-object", "rng-random,id=random,filename=/dev/urandom"),
        *("-device", "virtio-rng-pci,rng=random,addr=1e.0"),
        *("-fw_cfg", f"name={KEY_ITEM},file={KEY}"),
        *disks,
    )


def _forward(reach: Reach) -> str:
    target = f"tcp:{SERVICES_ADDRESS}:{reach.port}"
    return f"guestfwd={target}-cmd:./{RELAY} nc {LOOPBACK} {reach.here}"


def _forward_peer(peer: Peer) -> str:
    """Its port is looked up with each connection: it may start later, or anew.

    The name is one of `machine.NAME`: it needs no quotes.
    """
    line = f'exec ./{RELAY} nc {LOOPBACK} "$(cat ../{peer.name}/{PORT_FILE})"'
    return f"guestfwd=tcp:{peer.address}:{SSH_PORT}-cmd:./{RELAY} sh -c '{line}'"


def _disk(name: str, slot: int, path: str, form: str, more: str = "") -> tuple[str, ...]:
    """A crash of this machine may cost a virtual host its disk, hence the unsafe cache."""
    escaped = path.replace(",", ",,")
    drive = f"if=none,id={name},file={escaped},format={form},cache=unsafe"
    return ("-drive", drive, "-device", f"virtio-blk-pci,drive={name},addr={slot:x}.0{more}")


def _ports(machine: Machine) -> tuple[str, ...]:
    own = [
        _root_port(f"own{number}", number, f"addr={FIRST_OWN_SLOT + number - 1:x}.0")
        for number in range(1, OWN_PORTS + 1)
    ]
    devices = (*own, *_switch(), *_bridges(machine))
    drive = ("-drive", "if=none,id=nvme,driver=null-co,size=1G,read-zeroes=on")
    return (*(word for device in devices for word in ("-device", device)), *drive)


def _switch() -> tuple[str, ...]:
    chassis = OWN_PORTS + 1
    ports = (
        f"xio3130-downstream,id=shared{number},bus=upstream,chassis={chassis + 1 + number},"
        f"slot={chassis + 1 + number},addr=0.{number},multifunction=on"
        for number in range(SHARED_PORTS + 1)
    )
    return (
        _root_port("switch", chassis, f"addr={SWITCH_SLOT:x}.0", SWITCH_WINDOW_32),
        "x3130-upstream,id=upstream,bus=switch",
        *ports,
    )


def _bridges(machine: Machine) -> Iterator[str]:
    """A root port's bus is the one after its bridge's: SeaBIOS numbers them so."""
    first_chassis = OWN_PORTS + SHARED_PORTS + 3
    for number, bus in enumerate(addressed_buses(machine)):
        bridge = f"bridge{bus:02x}"
        slot = FIRST_BRIDGE_SLOT + number
        yield f"pxb-pcie,id={bridge},bus=pcie.0,bus_nr={bus - 1},addr={slot:x}.0"
        yield _root_port(f"at{bus:02x}", first_chassis + number, f"bus={bridge}")


def _root_port(name: str, chassis: int, place: str, window: str = WINDOW_32) -> str:
    windows = f"mem-reserve={window},pref64-reserve={WINDOW_64}"
    return f"pcie-root-port,id={name},chassis={chassis},slot={chassis},{place},{windows}"
