"""A farm's Nova settings on a host over SSH: `host plan|apply|verify|rollback --farm`.

Real are the host, its systemd and SSH, the files, the restarts and the kill. A stand-in is the
service: a unit named nova-compute that keeps what it read when it started, and ends where it
dislikes that. The real Nova takes the same texts in tests/unit/nova.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_hosts import VirtualHost, VirtualHosts

from gpufarm.cli.host_work import Settings
from gpufarm.host.target import There
from gpufarm.model import farm as model
from gpufarm.model.errors import HostInterrupted
from gpufarm.nova import rollout
from gpufarm.nova.layouts import files
from gpufarm.system import agent

pytestmark = pytest.mark.virthost

LONGEST = 900
NAME = "gpufarm-settings-host"
READ = "cat /run/nova-compute.read"
RUN = "systemctl show -P InvocationID nova-compute"

SERVICE = rf"""
set -e
hostnamectl hostname {NAME} 2>/dev/null || echo {NAME} >/proc/sys/kernel/hostname
mkdir -p /etc/nova
cat >/etc/nova/nova.conf <<'END'
[DEFAULT]
transport_url = rabbit://a:b@c
[pci]
alias = {{"name": "theirs"}}
END
cat >/usr/local/bin/nova-compute <<'END'
#!/bin/sh
cat /etc/nova/nova.conf.d/*.conf >/run/nova-compute.read 2>/dev/null
! grep -q dislike /run/nova-compute.read || exit 1
exec sleep infinity
END
chmod 755 /usr/local/bin/nova-compute
cat >/etc/systemd/system/nova-compute.service <<'END'
[Service]
ExecStart=/usr/local/bin/nova-compute
Restart=on-failure
RestartSec=1
[Install]
WantedBy=multi-user.target
END
systemctl enable --now nova-compute
"""
STATE = "cd / && find etc/nova var/lib/gpufarm -printf '%p %y %m\n' 2>/dev/null | sort; true"


@pytest.fixture(scope="module")
def compute(virtual_hosts: VirtualHosts) -> Iterator[VirtualHost]:
    found = virtual_hosts.start()
    found.ssh(SERVICE)
    yield found
    virtual_hosts.down(found)


def farm_file(folder: Path, *cards: str) -> Path:
    path = folder / "farm.yaml"
    listed = {card: {"vendor_id": "10de", "product_id": f"{n:04x}"} for n, card in enumerate(cards)}
    listed["own"] = {"vendor_id": "10de", "product_id": "2330", "hosts": [NAME]}
    path.write_text(json.dumps({"version": 1, "name": "f", "release": 34, "cards": listed}))
    return path


def on(host: VirtualHost, *words: str) -> subprocess.CompletedProcess[str]:
    return host.gpufarm("host", *words, "-f", "json", check=False, timeout=LONGEST)


def rows(host: VirtualHost, *words: str) -> list[dict[str, Any]]:
    done = on(host, *words)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_settings_are_put_read_changed_and_taken_back(compute: VirtualHost, tmp_path: Path) -> None:
    farm = farm_file(tmp_path, "k40c")
    words = ("--farm", str(farm))
    before = compute.ssh(STATE).stdout

    planned = rows(compute, "plan", *words)
    assert [step["kind"] for step in planned] == ["file", "command"]
    assert compute.ssh(STATE).stdout == before
    assert on(compute, "verify", *words).returncode == 2

    assert rows(compute, "apply", *words) == planned
    rendered = files(model.read(farm), "plain", (NAME,))
    wanted = rendered[f"compute/{NAME}/nova.conf.d/50-gpufarm.conf"]
    assert compute.ssh(f"cat {rollout.NOVA}").stdout == wanted
    assert compute.ssh(READ).stdout == wanted
    assert rows(compute, "verify", *words) == []

    run = compute.ssh(RUN).stdout
    assert rows(compute, "apply", *words) == []
    assert compute.ssh(RUN).stdout == run

    farm_file(tmp_path, "k40c", "dislike")
    done = on(compute, "apply", *words)
    assert done.returncode == 1
    assert "not up after a restart: nova-compute" in done.stderr

    farm_file(tmp_path, "k40c")
    rows(compute, "apply", *words, "--prune")
    assert compute.ssh(READ).stdout == wanted

    rows(compute, "rollback", *words)
    assert compute.ssh(STATE).stdout == before
    assert compute.ssh(READ).stdout == ""
    compute.ssh("systemctl is-active nova-compute")


def test_killed_before_the_restart_and_gone_on_with(compute: VirtualHost, tmp_path: Path) -> None:
    """Every other moment is in tests/unit/host_prepare."""
    farm = farm_file(tmp_path, "k40c")
    words = ("--farm", str(farm))
    before = compute.ssh(STATE).stdout
    head, _, _ = agent.text().rpartition("main\n")
    script = f'{head}moment() {{ [ "$1" != "carried out 0001" ] || kill -9 $$; }}\nmain\n'
    runner = agent.there(compute.dest, compute.ssh_config, script, "settings")
    with pytest.raises(HostInterrupted):
        Settings(model.read(farm), prune=False).apply(There(compute.dest, runner=runner))

    assert compute.ssh(READ).stdout == ""
    (left,) = rows(compute, "apply", *words)
    assert left["name"] == "systemctl restart nova-compute"
    assert compute.ssh(READ).stdout == compute.ssh(f"cat {rollout.NOVA}").stdout
    rows(compute, "rollback", *words)
    assert compute.ssh(STATE).stdout == before
    assert compute.ssh(READ).stdout == ""
