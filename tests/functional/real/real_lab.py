"""What the tests do with a real host of a lab: servers on it, its drivers, its slots, its Nova."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from running_lab import RunningLab

from gpufarm.cloud import servers
from gpufarm.guest import seen
from gpufarm.guest.seen import Seen
from gpufarm.lab.virthost import host, qemu, store
from gpufarm.lab.virthost.qmp import Qmp

HOST = "real-1"
CARDS = (
    "gtx1080",
    "10de:2330/030200/10de:16c1/16M:256Mp,flr",
    *("10de:1eb8/030200/10de:12a2/16M:256Mp,flr",) * 2,
)
"""Beside the GTX 1080 an H100 and two T4, none of them with its BAR of 16 GB: with one, a
guest had not listed its functions after five minutes."""
GTX, GTX_AUDIO, H100, T4, T4_TOO = (
    *("0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"),
)
FARM = Path(__file__).with_name("farm.yaml")
LONGEST = 1200
"""Seconds. The lab starts within a minute and a half on two idle cores, once all is built."""
NEW_SERVER = ("--image", "gpu-console", "--network", "none")
NOW = ("--older-than", "0")


def start(lab: RunningLab) -> None:
    """Have the lab run with its real host, and the farm applied."""
    cards = [word for card in CARDS for word in ("--card", card)]
    lab.run("lab", "up", "--real-hosts", "1", *cards, timeout=LONGEST)
    lab.run("farm", "apply", str(FARM), timeout=LONGEST)


@dataclass
class RealHosts:
    """Commands in a lab with real hosts, and waiting for what they bring about."""

    lab: RunningLab
    patience: ClassVar[float] = 300.0

    @property
    def compute(self) -> Any:
        return self.lab.connection.compute

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.lab.run(*args, check=check, timeout=LONGEST)

    def json(self, *args: str, status: int = 0) -> Any:
        done = self.run(*args, "-f", "json", check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)

    def server(self, server_id: str) -> dict[str, Any]:
        answer = self.compute.get(f"/servers/{server_id}")
        return dict(answer.json()["server"]) if answer.ok else {}

    def wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not done():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {self.patience:g} s: {what}")
            time.sleep(0.5)

    def service(self, host: str) -> dict[str, Any]:
        """Its nova-compute, as Nova's API has it."""
        path = f"/os-services?binary=nova-compute&host={host}"
        return dict(self.compute.get(path).json()["services"][0])

    def force_down(self, host: str, *, down: bool) -> None:
        path = f"/os-services/{self.service(host)['id']}"
        assert self.compute.put(path, json={"forced_down": down}).ok


class RealLab(RealHosts):
    def there(self, script: str, *, check: bool = True) -> str:
        """What the script prints on the host."""
        return self.run("lab", "host", "ssh", HOST, "--", script, check=check).stdout

    def create(self, name: str, flavor: str) -> dict[str, Any]:
        """A server whose guest has listed its functions."""
        words = (name, "--flavor", flavor, *NEW_SERVER, "--until", "console")
        return dict(self.json("server", "create", *words))

    def ask(self, name: str, flavor: str) -> str:
        """The id of a server that is being built."""
        made = self.compute.create_server(
            name=name,
            flavor_id=self.compute.find_flavor(flavor).id,
            image_id=self.lab.connection.image.find_image("gpu-console").id,
            networks="none",
        )
        return str(made.id)

    def until(self, server_id: str, status: str) -> None:
        self.wait(lambda: self.server(server_id).get("status") == status, status)

    def delete(self, server_id: str) -> None:
        """Returns once it is gone, and Placement has its cards as free."""
        found, had = self.server(server_id), set()
        if found:
            had = set(servers.cards(self.lab.connection, servers.value(found)))
            self.compute.delete_server(server_id)
        self.wait(lambda: not self.server(server_id), "deleted")
        self.wait(lambda: had <= self.free(), "free")

    def free(self) -> set[str]:
        """The addresses of free cards."""
        found = self.json("card", "list")
        return {each["address"] for each in found if each["state"] == "free"}

    def verify(self, name: str, status: int = 0) -> dict[str, tuple[str, str]]:
        """{check: (result, what was said)}."""
        rows = self.json("server", "verify", name, status=status)
        return {row["check"]: (row["result"], row["said"]) for row in rows}

    def console(self, server_id: str) -> Seen:
        shown = self.compute.get_server_console_output(server_id)["output"] or ""
        return seen.parse(shown)

    def causes(self, name: str) -> list[dict[str, Any]]:
        """What `explain` says of a server from the logs of the hosts."""
        said = json.loads(self.run("explain", name, "-f", "json", check=False).stdout)
        return [each for each in said["reasons"] if each["source"] == "hypervisor"]

    def why(self, flavor: str) -> list[dict[str, Any]]:
        """The causes of a server that ends in ERROR; it is deleted."""
        name = f"real-{flavor.replace('.', '-')}-fails"
        done = self.run("server", "create", name, "--flavor", flavor, *NEW_SERVER, check=False)
        assert done.returncode == 1, done.stderr
        server = self.compute.find_server(name)
        assert "Exhausted all hosts" in self.compute.get_server(server.id).fault["message"]
        found = self.causes(name)
        self.compute.delete_server(server.id)
        self.wait(lambda: not self.server(server.id), "deleted")
        return found

    def claims(self) -> list[tuple[str, str | None]]:
        """(code, address) of each finding."""
        done = self.run("claims", "check", *NOW, "-f", "json", check=False)
        found = [(each["code"], each["address"]) for each in json.loads(done.stdout)]
        assert done.returncode == (2 if found else 0), done.stderr
        return found

    def guests(self) -> list[str]:
        return self.there("virsh list --name").split()

    def drivers(self, *addresses: str) -> list[str]:
        asked = " ".join(f"/sys/bus/pci/devices/{address}/driver" for address in addresses)
        return self.there(f"basename -a $(readlink -f {asked})").split()

    def rebind(self, address: str, override: str) -> None:
        """Let it be taken by `override`, or by whichever driver of the host wants it."""
        device = f"/sys/bus/pci/devices/{address}"
        self.there(
            f"echo {address} > {device}/driver/unbind; echo {override} > {device}/driver_override; "
            f"echo {address} > /sys/bus/pci/drivers_probe"
        )

    @contextmanager
    def bound(self, address: str, override: str, driver: str) -> Iterator[None]:
        """That function has this driver meanwhile, as where nobody prepared the host."""
        self.there(f"modprobe {driver}")
        self.rebind(address, override)
        assert self.drivers(address) == [driver]
        try:
            yield
        finally:
            self.rebind(address, "vfio-pci")
            assert self.drivers(address) == ["vfio-pci"]

    @contextmanager
    def silent(self, address: str) -> Iterator[None]:
        """Every read from that card is all ones meanwhile, as after a reset that it did not come
        back from: its port leads nowhere."""
        port = f"$(basename $(dirname $(readlink -f /sys/bus/pci/devices/{address})))"
        set_bus = f"setpci -s {port} SECONDARY_BUS="
        self.there(f"{set_bus}00")
        try:
            yield
        finally:
            self.there(f"{set_bus}{address[5:7]}")

    @contextmanager
    def monitor(self) -> Iterator[Qmp]:
        with Qmp(store.folder(self.lab.state, HOST) / "qmp") as found:
            yield found

    def has(self, address: str) -> bool:
        return self.there(f"ls /sys/bus/pci/devices/{address} || :") != ""

    def unplug(self, address: str) -> None:
        """Press the button of its slot; it goes once its driver lets go of it."""
        device = self._device(address)["id"]
        with self.monitor() as monitor:
            monitor.execute("device_del", {"id": device})
        self.wait(lambda: not self.has(address), f"{address} is gone")

    def plug(self, address: str) -> None:
        """Put it back: it has lost power meanwhile."""
        with self.monitor() as monitor:
            monitor.execute("device_add", self._device(address))
        self.wait(lambda: self.has(address), f"{address} is there")
        self.rebind(address, "vfio-pci")

    def _device(self, address: str) -> dict[str, Any]:
        machine = store.load(self.lab.state, HOST).machine
        port = f"own{int(address[5:7], 16)}.{address[-1]}"
        (found,) = (each for each in qemu.plugs(machine) if each["id"] == port)
        return found

    def reboot(self, by: str) -> None:
        host.reboot(self.lab.state, HOST, by)

    def kill(self) -> None:
        """End its nova-compute at once, as a crash does."""
        self.there("systemctl kill --signal=KILL nova-compute")

    def start(self) -> None:
        """Start what does not run, and nova-compute in any case anew."""
        self.run("lab", "up")

    def mend(self) -> None:
        """As it was: nova-compute runs, no server, no guest, every card free and with vfio-pci."""
        self.start()
        for server in list(self.compute.servers(all_projects=True)):
            self.delete(server.id)
        for guest in self.guests():
            self.there(f"virsh destroy {guest}")
        for address in (GTX, GTX_AUDIO, H100, T4, T4_TOO):
            if not self.has(address):
                self.plug(address)
            if self.drivers(address) != ["vfio-pci"]:
                self.rebind(address, "vfio-pci")
