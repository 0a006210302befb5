"""What the tests do with two real hosts of a lab: servers that move, and hosts that die."""

import json
import subprocess
import sys

from real_lab import LONGEST, RealHosts

from gpufarm.guest import seen
from gpufarm.lab.virthost import running, store

HOSTS = ONE, TWO = ("real-1", "real-2")
CARDS = ("0000:01:00", "0000:02:00")
"""Two of a kind on each: with one, a move could not leak the other in Placement."""
WRITE = "--allow-database-write"
SOON = ("--older-than", "1.5")
"""Minutes; a nova-compute that was killed takes one to come back."""
NEW_SERVER = ("--flavor", "g1.gpu", "--image", "gpu-console", "--network", "none")
INSTANCES = "/var/lib/nova/instances"
REMOVE_ALL = f"""
for guest in $(virsh list --all --uuid); do
    virsh destroy "$guest" || :
    virsh undefine "$guest"
done
rm -rf {INSTANCES}/*-*-*-*-*
"""


class Pair(RealHosts):
    patience = 400.0

    def there(self, host: str, script: str) -> str:
        return self.run("lab", "host", "ssh", host, "--", script).stdout

    def create(self, name: str) -> tuple[str, str]:
        """(id, host) of a server whose guest has listed its functions."""
        made = self.json("server", "create", name, *NEW_SERVER, "--until", "console")
        return made["id"], made["host"]

    def moving(self, server: str) -> "subprocess.Popen[str]":
        """`gpufarm server migrate`, begun."""
        return subprocess.Popen(
            [sys.executable, "-m", "gpufarm", "server", "migrate", server, WRITE, *SOON],
            env=self.lab.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def moved(self, server: str, move: "subprocess.Popen[str]") -> str:
        """What it said in the end; it is run again where it asks for that."""
        said = move.communicate(timeout=LONGEST)[1]
        for _ in range(3):
            sys.stderr.write(said)
            if "again" not in said.splitlines()[-1]:
                break
            said = self.run("server", "migrate", server, WRITE, *SOON, check=False).stderr
        return said

    def until_task(self, server: str, task: str) -> None:
        self.wait(lambda: self.server(server).get("OS-EXT-STS:task_state") == task, task)

    def kill_when(self, host: str, condition: str) -> None:
        """End that nova-compute at once, as a crash does, when the shell's condition holds."""
        kill = "systemctl kill --signal=KILL nova-compute"
        self.there(host, f"until {condition}; do sleep 0.05; done; {kill}")

    def dies(self, host: str) -> None:
        """Its power is cut; Nova would see that by itself after a minute."""
        running.end(store.folder(self.lab.state, host))
        self.force_down(host, down=True)

    def runs_on(self, server: str, host: str) -> None:
        """It does, its guest sees the card that is claimed for it, and shows so."""
        found = self.server(server)
        assert (found["status"], found["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
        assert found["OS-EXT-SRV-ATTR:host"] == host
        assert self.there(host, "virsh list --uuid").split().count(server) == 1
        self.wait(lambda: self._console(server).whole, "its guest has listed its functions")
        checks = self.json("server", "verify", server)
        assert {row["result"] for row in checks} <= {"ok", "not checked"}
        assert ("functions", "ok") in {(row["check"], row["result"]) for row in checks}

    def _console(self, server: str) -> seen.Seen:
        return seen.parse(self.compute.get_server_console_output(server)["output"] or "")

    def all_is_true(self, **servers: str) -> None:
        """{server: host} are all that there is: by Nova, Placement, libvirt, and on the hosts."""
        for host in HOSTS:
            here = {server for server, at in servers.items() if at == host}
            assert set(self.there(host, "virsh list --all --uuid").split()) == here
            folders = self.there(host, f"cd {INSTANCES} && ls -d *-*-*-*-* 2>/dev/null || :")
            assert set(folders.split()) == here
            drivers = " ".join(f"/sys/bus/pci/devices/{card}.*/driver" for card in CARDS)
            bound = self.there(host, f"basename -a $(readlink -f {drivers})").split()
            assert bound == ["vfio-pci"] * 4
        self.wait(lambda: self._claims() == [], "claims are true")
        free = {row["host"]: row["free"] for row in self.json("capacity")["cards"]}
        used = list(servers.values())
        assert free == {host: len(CARDS) - used.count(host) for host in HOSTS}

    def _claims(self) -> list[str]:
        done = self.run("claims", "check", "--older-than", "0", "-f", "json", check=False)
        return [f"{each['code']} {each['repair']}" for each in json.loads(done.stdout)]

    def mend(self) -> None:
        """As it was: every host runs, and no server is there."""
        self.run("lab", "up")
        for server in list(self.compute.servers(all_projects=True)):
            reset = {"os-resetState": {"state": "active"}}
            self.compute.post(f"/servers/{server.id}/action", json=reset)
            self.compute.delete_server(server.id)
            self.wait(lambda server=server: not self.server(server.id), "deleted")  # type: ignore[misc]
        for host in HOSTS:
            self.there(host, REMOVE_ALL)
            self.run("host", "undrain", host)
            self.force_down(host, down=False)
        self.wait(lambda: self._claims() == [], "claims are true")


def other(host: str) -> str:
    return TWO if host == ONE else ONE
