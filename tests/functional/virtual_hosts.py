"""Virtual Linux hosts, as the tests see them: real kernels with an emulated IOMMU and cards."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lasting
import pytest

from gpufarm.lab.virthost import host, image, machine, store
from gpufarm.lab.virthost.cards import parse
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Iommu, Machine
from gpufarm.lab.virthost.qmp import Qmp

SSH_TIMEOUT = 300
MOST_SHARED = 3
"""Hosts that live on for later tests, one of each IOMMU: each takes half a gigabyte."""

BOARD = (
    "gtx1080",
    "gtx1080",
    "h100",
    "10de:1eb8/030200/10de:12a2/16M:256Mp,flr,link=8",
    "k4200,group=shared",
)
"""The host of most tests: two equal cards of two functions, two with function-level reset, one of
them on half its lanes, and one that shares its group with an NVMe disk."""
GTX, GTX_TOO, H100, T4, K4200 = (
    *("0000:01:00", "0000:02:00", "0000:03:00", "0000:04:00", "0000:0c:00"),
)
NVME = "0000:0b:00.0"
AMD = ("gtx1080,address=84:00", "k4200,address=88:00")
NONE = ("gtx1080",)


@dataclass
class VirtualHost:
    """A host that runs. `dest` with the file `ssh_config` is how SSH reaches it."""

    state: Path
    machine: Machine
    guest: Guest

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def dest(self) -> str:
        return self.guest.name

    @property
    def ssh_config(self) -> Path:
        return self.guest.config

    @property
    def folder(self) -> Path:
        """Its logs: serial.log, qemu.log, cards.log (each reset of a card)."""
        return store.folder(self.state, self.name)

    @property
    def slots(self) -> tuple[str, ...]:
        """The address of each card without its function, in the order of the cards."""
        return machine.slots(self.machine)

    def ssh(
        self, command: str, *, check: bool = True, timeout: float = SSH_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in the host's shell."""
        done = subprocess.run(
            self.guest.command(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{self.name}: {command}: exit {done.returncode}\n{done.stderr}")
        return done

    def gpufarm(
        self, *words: str, check: bool = True, timeout: float = SSH_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run `gpufarm WORDS --ssh DEST --ssh-config FILE` on this machine."""
        command = [sys.executable, "-m", "gpufarm", *words]
        done = subprocess.run(
            [*command, "--ssh", self.dest, "--ssh-config", str(self.ssh_config)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        return done

    def reboot(self) -> None:
        """Through GRUB and back, until all its units run and its cards are there."""
        host.reboot(self.state, self.name)

    @property
    def qmp(self) -> Qmp:
        """A connection to QEMU's monitor, which serves one at a time: close it."""
        return Qmp(self.folder / "qmp")

    def resets(self) -> list[str]:
        """`PORT.FUNCTION KIND COUNT` of each reset that the cards have seen."""
        lines = (self.folder / "cards.log").read_text().splitlines()
        words = (line.split(maxsplit=1)[1] for line in lines)
        return [word for word in words if "RESET" in word or "FLR" in word]


def runs_on_hosts(item: pytest.Item) -> bool:
    return item.get_closest_marker("virthost") is not None


@dataclass
class VirtualHosts:
    """Starts hosts, and ends all of them with the test session; shared ones with the last test of
    a row of tests on virtual hosts."""

    state: Path
    shared: dict[Machine, VirtualHost] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(
        self, *cards: str, iommu: Iommu = "intel", memory_mb: int = machine.MEMORY_MB
    ) -> VirtualHost:
        """A new host with these cards (`gtx1080`, `k4200,group=shared`, `10de:1b80+10de:10f0`)."""
        wanted = Machine(
            name=f"host{next(self.numbers)}",
            cards=tuple(map(parse, cards)),
            iommu=iommu,
            memory_mb=memory_mb,
        )
        guest = host.up(self.state, wanted, lambda text: sys.stderr.write(f"{text}\n"))
        return VirtualHost(self.state, wanted, guest)

    def board(self) -> VirtualHost:
        return self.reuse(*BOARD)

    def amd(self) -> VirtualHost:
        return self.reuse(*AMD, iommu="amd")

    def none(self) -> VirtualHost:
        return self.reuse(*NONE, iommu="none")

    def reuse(self, *cards: str, iommu: Iommu = "intel") -> VirtualHost:
        """A host with these cards that other tests have used: leave it as you found it."""
        key = Machine(name="any", cards=tuple(map(parse, cards)), iommu=iommu)
        found = self.shared.pop(key, None)
        if found is None:
            while len(self.shared) >= MOST_SHARED:
                self.down(self.shared.pop(next(iter(self.shared))))
            if not self.shared:
                lasting.end_after(runs_on_hosts, self.end_shared)
            found = self.start(*cards, iommu=iommu)
        self.shared[key] = found
        return found

    def down(self, found: VirtualHost) -> None:
        host.down(self.state, found.name)

    def end_shared(self) -> None:
        while self.shared:
            self.down(self.shared.popitem()[1])

    def discard(self, found: VirtualHost) -> None:
        """End a shared host that a test did not leave as it found it."""
        self.shared = {key: each for key, each in self.shared.items() if each is not found}
        self.down(found)


@pytest.fixture(scope="session")
def virtual_hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualHosts]:
    """`virtual_hosts.board()` is a host that tests share. The image's build is told of at once."""
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():
        image.get(lambda text: sys.stderr.write(f"{text}\n"))
    found = VirtualHosts(tmp_path_factory.mktemp("virthosts"))
    yield found
    host.down_all(found.state)


@pytest.fixture
def virtual_host(virtual_hosts: VirtualHosts) -> Iterator["Starter"]:
    """`virtual_host("gtx1080", iommu="amd")` is a host of the test's own, ended with it."""
    starter = Starter(virtual_hosts)
    yield starter
    for each in starter.started:
        host.down(virtual_hosts.state, each.name)


@dataclass
class Starter:
    hosts: VirtualHosts
    started: list[VirtualHost] = field(default_factory=list)

    def __call__(
        self, *cards: str, iommu: Iommu = "intel", memory_mb: int = machine.MEMORY_MB
    ) -> VirtualHost:
        found = self.hosts.start(*cards, iommu=iommu, memory_mb=memory_mb)
        self.started.append(found)
        return found
