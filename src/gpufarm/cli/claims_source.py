"""From where `gpufarm claims` reads the layers that no API shows: database, guests, hosts."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.cli import databases, hosts_over_ssh
from gpufarm.cli.base import UsageError
from gpufarm.cli.farm_target import find_lab
from gpufarm.model.errors import DomainInvalid
from gpufarm.model.printable import decoded, printable

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.claims.reading import Sources
    from gpufarm.model.claims import Guest, HostCard
    from gpufarm.model.facts import HostFacts

MINUTE = 60.0
PATIENCE_MINUTES = 10.0

DOMAINS = b"""\
command -v virsh >/dev/null || exit 3
ids=$(virsh --quiet list --all --uuid) || exit 1
for id in $ids; do virsh --quiet dumpxml "$id" 2>/dev/null; done
exit 0
"""
"""Every domain of libvirt on a host; one that goes meanwhile is left out."""
NO_VIRSH = 3


def add(parser: argparse.ArgumentParser, *, farm: bool = True) -> None:
    """The options; without --farm where the command has it already."""
    parser.add_argument(
        "--older-than",
        metavar="MINUTES",
        type=float,
        default=PATIENCE_MINUTES,
        help="leave alone what moved since; more than any build or move of a server takes "
        "(default: 10)",
    )
    parser.add_argument(
        "--database",
        metavar="FILE",
        type=Path,
        help="a file with rights 0600 that holds the URL of Nova's database, mysql+pymysql://"
        "USER:PASSWORD@HOST/nova, one a line for each cell "
        f"(env: {databases.NOVA}, the URLs themselves)",
    )
    databases.add_placement(parser)
    for option, value, help_ in (
        ("--domains", "FILE", "its guests, as `virsh dumpxml` prints them"),
        ("--capture", "FILE", "its functions, from `gpufarm host capture`"),
    ):
        parser.add_argument(
            option,
            metavar=f"HOST={value}",
            action="append",
            default=[],
            type=hosts_over_ssh.pair,
            help=f"of a compute host: {help_}; may be given several times",
        )
    if farm:
        parser.add_argument(
            "--farm",
            metavar="FARM.yaml",
            type=Path,
            help="the farm file that the settings of all hosts are made from: which cards they "
            "offer",
        )
    hosts_over_ssh.add(parser, "its functions, and its guests where it has virsh")


def patience(parsed: argparse.Namespace) -> float:
    """In seconds."""
    if not 0 <= parsed.older_than < float("inf"):
        raise UsageError("--older-than: 0 minutes or more are needed")
    return float(parsed.older_than) * MINUTE


def sources(parsed: argparse.Namespace, connection: "Connection") -> "Sources":
    """What the options name, and all of the lab where that is the cloud. Raises DatabaseError."""
    from gpufarm.claims.reading import Sources

    lab = find_lab(connection)

    def guests() -> dict[str, tuple["Guest", ...]]:
        files = {host: _domains(file) for host, file in parsed.domains}
        return {**_lab(lab, "guests"), **_guests(hosts_over_ssh.reached(parsed, lab)), **files}

    def hosts() -> dict[str, dict[str, "HostCard"]]:
        return {**_lab(lab, "hosts"), **_hosts(parsed, hosts_over_ssh.reached(parsed, lab))}

    return Sources(
        databases=_databases(parsed, lab),
        placement=databases.placement(parsed),
        guests=guests,
        hosts=hosts,
        offered=_offered(parsed, lab),
    )


def unread(parsed: argparse.Namespace, connection: "Connection") -> list[str]:
    """Which layers were left out."""
    if find_lab(connection) is not None:
        return []
    found = []
    if not parsed.database and databases.NOVA not in os.environ:
        found.append("not read: Nova's table pci_devices (--database)")
    if not parsed.domains and not parsed.ssh:
        found.append("not read: guests of the hypervisors (--domains, --ssh)")
    if not parsed.farm:
        found.append("not read: which cards the settings of the hosts offer (--farm)")
    if not parsed.capture and not parsed.ssh:
        found.append("not read: the hosts (--capture, --ssh)")
    return found


def _lab(lab: Any, layer: str) -> dict[str, Any]:
    if lab is None:
        return {}
    from gpufarm.lab import claims

    found: dict[str, Any] = getattr(claims, layer)(lab)
    return found


def _databases(parsed: argparse.Namespace, lab: Any) -> tuple[str, ...] | None:
    named = databases.read(parsed.database, databases.NOVA)
    if named or lab is None:
        return named
    from gpufarm.lab import claims

    return claims.databases(lab)


def _offered(parsed: argparse.Namespace, lab: Any) -> Callable[[str], frozenset[str] | None]:
    """By the farm file, or else by the lab's own settings where a farm file has made any."""
    from gpufarm.model import farm, settings
    from gpufarm.nova.settings import compute, offered

    if parsed.farm:
        wanted = farm.read(parsed.farm)
        return lambda host: offered(compute(wanted, host))
    texts: dict[str, str] = {}
    if lab is not None:
        from gpufarm.lab import farm as lab_farm

        texts = lab_farm.settings_now(lab, of_running=True)

    def of_lab(host: str) -> frozenset[str] | None:
        text = texts.get(f"compute/{host}")
        return offered(settings.parse(text)) if text else None

    return of_lab


def _domains(file: str) -> tuple["Guest", ...]:
    from gpufarm.claims import domains

    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DomainInvalid(file, f"cannot be read: {error}") from error
    return domains.parse(text, file)


def _guests(reached: list[hosts_over_ssh.Reached]) -> dict[str, tuple["Guest", ...]]:
    """Of hosts without virsh nothing is said: theirs may run in a container."""
    from gpufarm.claims import domains
    from gpufarm.system import ssh

    found = {}
    for host, to, config in reached:
        done = ssh.run_there(to, "sh -s", stdin=DOMAINS, timeout=ssh.READ_SECONDS, config=config)
        if done.status == NO_VIRSH:
            continue
        if done.status:
            said = printable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else b"")
            raise DomainInvalid(to, f"virsh ended with status {done.status}: {said}")
        found[host] = domains.parse(decoded(done.stdout), to)
    return found


def _hosts(
    parsed: argparse.Namespace, reached: list[hosts_over_ssh.Reached]
) -> dict[str, dict[str, "HostCard"]]:
    from gpufarm.host import facts
    from gpufarm.system import ssh
    from gpufarm.system.capture import Captured, open_root

    captured = {host: open_root(Path(file)) for host, file in parsed.capture}
    read = {host: Captured(ssh.read(to, config), to) for host, to, config in reached}
    return {host: functions(facts.read(root)) for host, root in {**captured, **read}.items()}


def functions(facts: "HostFacts") -> dict[str, "HostCard"]:
    """A host's PCI functions, each with whoever has its VFIO device or its group open."""
    from gpufarm.model.claims import HostCard

    opened = {
        path: holder.guest or f"{holder.command} ({holder.pid})"
        for holder in facts.holders or ()
        for path in holder.paths
    }
    found = {}
    for each in facts.functions:
        paths = (f"/dev/vfio/{each.iommu_group}", f"/dev/vfio/devices/{each.vfio_device}")
        holder = next((opened[path] for path in paths if path in opened), None)
        found[each.address] = HostCard(driver=each.driver, holder=holder)
    return found
