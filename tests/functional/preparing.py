"""Preparing virtual hosts, as several test modules do it."""

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from virtual_hosts import GTX, VirtualHost, VirtualHosts

from gpufarm.host.target import There
from gpufarm.model.host_change import DEVICES, Step, shown
from gpufarm.system import agent

LONGEST = 1800
"""Seconds. An initramfs and two reboots take one minute and a half on a machine that is idle."""

STATE = r"""
cd /
find etc boot usr/lib/dracut var/lib/gpufarm -printf '%p %y %m %U:%G %l\n' 2>/dev/null | sort
find etc boot -type f -exec sha256sum {} + | sort -k 2
"""
"""Every name, its rights and its bytes, where a prepared host differs from one that is not."""

DRIVERS = r"""
for each in /sys/bus/pci/devices/*; do
  driver=$(readlink "$each/driver")
  echo "${each##*/} ${driver##*/} $(cat "$each/driver_override")"
done
"""

QUICK = r"""
cat >/usr/local/sbin/update-initramfs <<'END'
#!/bin/sh
for image in /boot/initrd.img-*; do
  cat "$image" /etc/gpufarm/functions >"$image.new" 2>/dev/null
  mv "$image.new" "$image"
done
END
chmod 755 /usr/local/sbin/update-initramfs
"""
"""Makes another image as quickly as that; the real one takes half a minute. It does not boot."""


def spec_file(folder: Path, **content: Any) -> Path:
    path = folder / "cards.yaml"
    path.write_text(json.dumps({"version": 1, **content}))
    return path


def one_of_two(folder: Path, **more: Any) -> Path:
    """One of two equal cards by its address, and the other model by its ids."""
    cards = [{"address": f"{GTX}.0"}, {"vendor_id": "10de", "product_id": "2330"}]
    return spec_file(folder, cards=cards, **more)


def drivers(host: VirtualHost) -> dict[str, str]:
    """{address: `driver override`} of every function."""
    lines = host.ssh(DRIVERS).stdout.splitlines()
    return {address: rest for address, _, rest in (line.partition(" ") for line in lines)}


def rows(host: VirtualHost, *words: str) -> list[dict[str, Any]]:
    done = host.gpufarm(*words, "-f", "json", timeout=LONGEST)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def sysfs(slot: str) -> str:
    return f"/sys/bus/pci/devices/{slot}"


def target(host: VirtualHost, stop: Step | None = None) -> There:
    """`host`; with `stop` its agent ends by SIGKILL right after it has done that step."""
    script = agent.text()
    if stop:
        head, _, _ = script.rpartition("main\n")
        script = f"{head}{KILLED.format(shlex.quote(journal_name(stop)))}\nmain\n"
    runner = agent.there(host.dest, host.ssh_config, script)
    return There(host.dest, host.ssh_config, runner=runner)


KILLED = """
moment() {{
  case $1 in
  carried\\ out\\ *) [ "$(line_of "$step/name")" != {0} ] || kill -9 $$ ;;
  esac
}}
"""


def journal_name(step: Step) -> str:
    return shown(step).name.removeprefix(f"{DEVICES}/")


@contextlib.contextmanager
def unprepared(hosts: VirtualHosts, host: VirtualHost) -> Iterator[VirtualHost]:
    """The host with an initramfs that is made in no time; discarded where a test left changes."""
    host.ssh(QUICK)
    yield host
    left = host.ssh("rm /usr/local/sbin/update-initramfs; test ! -e /var/lib/gpufarm", check=False)
    if left.returncode:
        hosts.discard(host)


@pytest.fixture
def quick(virtual_hosts: VirtualHosts) -> Iterator[VirtualHost]:
    """The board, for tests without a reboot."""
    with unprepared(virtual_hosts, virtual_hosts.board()) as host:
        yield host
