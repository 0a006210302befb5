"""How often a virtual host panics: it boots again and again, each time with a guest and its card.

A round is a reboot through GRUB until all units run and Nova is imported, as on a real host of the
lab, and then a guest of libvirt with a GTX 1080 until it has listed its functions. A host that
panicked or hung is started anew. What its kernel says of it is read from its serial console.
Appends a JSON line for each round to --out, prints them as a table and, last, how many went wrong.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from gpufarm.cli import lab_real
from gpufarm.lab.real import launcher, nova_disk, saved
from gpufarm.lab.virthost import cards, host, store
from gpufarm.lab.virthost.guest import Guest
from gpufarm.model.errors import GpufarmError

NAME = "boots"
BROKEN = re.compile(r"Kernel panic|BUG: |Oops|soft lockup|general protection|stack guard page")
LIMIT = 600.0

IMPORTED = f"until [ -e {launcher.IMPORTED} ]; do sleep 1; done"
GUEST = """\
set -e
rm -f /root/guest.log
cat > /root/guest.xml <<'END'
<domain type="kvm">
  <name>guest</name>
  <memory unit="MiB">192</memory>
  <cpu mode="host-passthrough"/>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>/vmlinuz</kernel>
    <initrd>/var/lib/libvirt/images/guest.img</initrd>
    <cmdline>console=ttyS0 quiet stay</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <serial type="file"><source path="/root/guest.log"/></serial>
    <hostdev mode="subsystem" type="pci" managed="yes">
      <source><address domain="0x0000" bus="0x01" slot="0x00" function="0x0"/></source>
    </hostdev>
  </devices>
</domain>
END
virsh --quiet create /root/guest.xml
until grep -q "guest: ready" /root/guest.log; do sleep 1; done
grep -q 10de:1b80 /root/guest.log
virsh --quiet destroy guest
"""


def start(state: Path) -> Guest:
    """The host, prepared; as it was left, where there is one."""
    image, disk = saved.get(note), nova_disk.get(note)
    wanted = saved.machine(NAME, (cards.parse("gtx1080"),), disk)
    fresh = NAME not in store.names(state)
    reached = host.keep(state, wanted, image, note)
    if fresh:
        lab_real.prepare(reached, wanted)
    return reached


def one(state: Path, reached: Guest) -> dict[str, Any]:
    """A round; `broken` is what its console said of it, or what did not come."""
    console = store.folder(state, NAME) / "serial.log"
    said, load = console.stat().st_size, os.getloadavg()[0]
    found: dict[str, Any] = {"load": round(load, 2), "broken": None}
    began = time.monotonic()
    try:
        host.reboot(state, NAME)
        reached.ask(IMPORTED, LIMIT)
        found["boot"] = round(time.monotonic() - began, 1)
        began = time.monotonic()
        reached.ask(GUEST, LIMIT)
        found["guest"] = round(time.monotonic() - began, 1)
    except GpufarmError as error:
        found["broken"] = str(error)
    text = console.read_bytes()[said:].decode(errors="replace")
    match = BROKEN.search(text)
    if match:
        found["broken"] = text[match.start() :].splitlines()[0]
    return found


def note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "boots.jsonl")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boots-") as folder:
        state = Path(folder)
        try:
            reached = start(state)
            for _ in range(given.rounds):
                found = {**machine(), **one(state, reached)}
                with given.out.open("a") as out:
                    out.write(json.dumps(found) + "\n")
                times = (found.get("boot", "-"), found.get("guest", "-"))
                print(f"boot {times[0]} s, guest {times[1]} s, load {found['load']}", flush=True)
                if found["broken"]:
                    print(f"  {found['broken']}", flush=True)
                    host.stop(state, NAME)
                    reached = start(state)
        finally:
            host.down_all(state)
    rounds = [json.loads(line) for line in given.out.read_text().splitlines()]
    broken = sum(each["broken"] is not None for each in rounds)
    print(f"{broken} of {len(rounds)} went wrong: {given.out}")


if __name__ == "__main__":
    main()
