"""Real hosts of a lab: started, told of its services, stopped; and what Nova says of them.

A real host outlives `lab down` with its disk and its servers, as a simulated one does; it boots
then. What it runs with of a farm lies on the host only: a drop-in that it reads beside nova.conf.
"""

import contextlib
import datetime as dt
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import msgspec

from gpufarm.lab import config, farm_settings, services, state
from gpufarm.lab.identity import compute_id
from gpufarm.lab.real import launcher, network, nova_disk, saved, settings
from gpufarm.lab.services import Service
from gpufarm.lab.state import Lab
from gpufarm.lab.status import ServiceStatus
from gpufarm.lab.virthost import guest as guests
from gpufarm.lab.virthost import host as virthost
from gpufarm.lab.virthost import machine as machines
from gpufarm.lab.virthost import store
from gpufarm.lab.virthost.building import Note
from gpufarm.lab.virthost.cards import Card
from gpufarm.lab.virthost.guest import Guest
from gpufarm.lab.virthost.machine import Machine
from gpufarm.model.errors import LabError, VirtualHostFailed
from gpufarm.model.host import HostFile, HostFunction

DEFAULT_CARD = "gtx1080"
FARM_FILES = {
    farm_settings.COMPUTE_ROLE: "/etc/nova/nova.conf.d/50-gpufarm.conf",
    farm_settings.PROVIDERS_ROLE: "/etc/nova/provider_config/50-gpufarm.yaml",
}
"""{kind of role: the file that `gpufarm host apply --farm` puts there too (nova/rollout.py)}"""

JOIN_LIMIT = 300.0
UP_LIMIT = 900.0
"""A host that boots imports Nova first; on a machine that is busy with other things for minutes."""
DOWN_SECONDS = 60
"""Nova's own `service_down_time`: a service that has not reported for so long is down."""

Prepare = Callable[[Guest, Machine], bool]
"""Makes a host ready to give its cards to servers, as far as it can be without a reboot; whether
one is needed."""

PUT = """\
(
set -e
umask 077
mkdir -p "$(dirname {path})"
cat > {path}.new <<'END-OF-FILE'
{text}END-OF-FILE
cmp --quiet {path}.new {path} && {{ rm {path}.new; exit 0; }}
chmod {rights:o} {path}.new
mv {path}.new {path}
echo {path}
) || exit 1
"""
REMOVE = """\
[ ! -e {path} ] || {{ rm {path}; echo {path}; }}
"""
WAIT = """\
until [ -e {file} ]; do
    systemctl --quiet is-active {unit} || exit 1
    sleep 0.2
done
"""
START = f"""\
set -e
systemctl --quiet is-active {saved.UNIT} || {{
    rm -f {launcher.IMPORTED}
    systemctl start {saved.UNIT}
}}
{WAIT.format(file=launcher.IMPORTED, unit=saved.UNIT)}
rm -f {launcher.STARTED}
systemctl reload {saved.UNIT}
{WAIT.format(file=launcher.STARTED, unit=saved.UNIT)}
"""
"""Ends once the nova-compute from before has ended: none of its reports comes any more. One
that was killed has left its mark of being imported: the next would get SIGHUP too early."""


class Wanted(msgspec.Struct, frozen=True):
    """A real host as it was asked for."""

    name: str
    cards: tuple[Card, ...]


def named(count: int, cards: tuple[Card, ...]) -> tuple[Wanted, ...]:
    """The first `count` real hosts, each with those cards; ValueError for what no host can have."""
    if count > network.MOST:
        raise ValueError(f"{count} real hosts: {network.MOST} is the most")
    found = tuple(Wanted(network.name(number), cards) for number in range(1, count + 1))
    for each in found:
        machines.check(Machine(name=each.name, cards=cards))
    return found


def wanted(lab: Lab, asked: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Those that the lab has, and those asked for."""
    had = {
        name: Wanted(name, store.load(lab.state, name).machine.cards)
        for name in lab.real
        if name in store.names(lab.state)
    }
    return tuple({**had, **{each.name: each for each in asked}}.values())


@contextlib.contextmanager
def coming_up(
    lab: Lab, asked: Iterable[Wanted], prepare: Prepare | None, note: Note
) -> Iterator[Callable[[], None]]:
    """Start those hosts, where they do not run, beside the rest of the lab.

    What it yields is to be called once the lab's services serve: it has the hosts join, and returns
    when Nova has all of them. It raises LabError, and what `prepare` raises.
    """
    found = tuple(asked)
    if not found:
        yield lambda: None
        return
    image, disk = saved.get(note), nova_disk.get(note)
    reaches = settings.reaches(lab)

    since = dict.fromkeys((each.name for each in found), time.time())
    # Two for each: it is prepared while it joins.
    with ThreadPoolExecutor(2 * len(found)) as pool:

        def start(each: Wanted) -> tuple[Guest, Future[bool]]:
            machine = saved.machine(each.name, each.cards, disk)
            machine = msgspec.structs.replace(
                machine, reaches=reaches, peers=network.peers(each.name)
            )
            ran = store.running(store.folder(lab.state, each.name)) is not None
            reached = virthost.keep(lab.state, machine, image, note)
            wanted = None if ran else prepare
            return reached, pool.submit(_prepare, reached, machine, wanted, note)

        started = [pool.submit(start, each) for each in found]

        def join() -> None:
            reached = [each.result() for each in started]
            keys = {each.name: guests.pinned(store.folder(lab.state, each.name)) for each in found}
            list(pool.map(lambda each: _join(lab, each[0], keys), reached))
            for host, prepared in reached:
                if prepared.result():
                    virthost.reboot(lab.state, host.name)
                    since[host.name] = time.time()
            _wait(lab, since, note)

        yield join


def _prepare(reached: Guest, machine: Machine, prepare: Prepare | None, note: Note) -> bool:
    if prepare is None:
        return False
    began = time.monotonic()
    needs_reboot = prepare(reached, machine)
    note(f"{reached.name} is prepared: {time.monotonic() - began:.1f} s")
    return needs_reboot


def stop(lab: Lab) -> None:
    """Power all of them off; they keep their disks."""
    if lab.real:
        with ThreadPoolExecutor(len(lab.real)) as pool:
            list(pool.map(lambda name: virthost.stop(lab.state, name), lab.real))


def running(lab: Lab) -> tuple[Guest, ...]:
    """Those that run, for commands."""
    found = (name for name in lab.real if store.running(store.folder(lab.state, name)))
    return tuple(virthost.reach(lab.state, name) for name in found)


def has_role(lab: Lab, role: str) -> bool:
    """Whether a file of a farm with that role is one of a real host."""
    return role.partition("/")[2] in lab.real


def farm_files(lab: Lab, names: Iterable[str]) -> dict[str, str]:
    """{role: text} of the files that a farm has on these hosts; an empty text where it has none.

    NoVirtualHost for a host that does not run.
    """
    return {
        kind + name: virthost.reach(lab.state, name).ask(f"cat {path} 2>/dev/null || :")
        for name in names
        for kind, path in FARM_FILES.items()
    }


def put_farm_files(lab: Lab, texts: Mapping[str, str], note: Note) -> None:
    """Put these files, by role, start the nova-computes anew that read one, and wait for them."""
    since = {}
    for name in dict.fromkeys(role.partition("/")[2] for role in texts):
        reached = virthost.reach(lab.state, name)
        own = {kind: texts[kind + name] for kind in FARM_FILES if kind + name in texts}
        changed = [reached.ask(_put(FARM_FILES[kind], text)) for kind, text in own.items()]
        if any(changed):
            note(f"starting nova-compute on {name} anew")
            reached.ask(START, JOIN_LIMIT)
            since[name] = time.time()
    _wait(lab, since, note)


def _put(path: str, text: str, rights: int = 0o600) -> str:
    """The script that makes the file so, and prints its path where that changed it."""
    if not text:
        return REMOVE.format(path=path)
    return PUT.format(path=path, text=text, rights=rights)


def hardware(lab: Lab) -> tuple[HostFile, ...]:
    """What they have, as the file of a simulated host would say it."""
    found = [store.load(lab.state, name).machine for name in lab.real]
    return tuple(_hardware(machine) for machine in found)


def _hardware(machine: Machine) -> HostFile:
    functions = sorted(machines.plugged(machine), key=lambda each: each.address)
    return HostFile(
        version=1,
        name=machine.name,
        vcpus=machine.cpus,
        memory_mb=machine.memory_mb,
        disk_gb=1,
        pci_functions=tuple(
            HostFunction(
                address=each.address,
                vendor_id=each.function.vendor_id,
                product_id=each.function.product_id,
                class_id=each.function.class_id,
            )
            for each in functions
        ),
    )


def status(lab: Lab) -> tuple[ServiceStatus, ...]:
    """A row for each: healthy is one that runs, and whose nova-compute reports to Nova."""
    return tuple(_status(lab, name) for name in lab.real)


def _status(lab: Lab, name: str) -> ServiceStatus:
    known = name in store.names(lab.state)
    found = virthost.status_of(lab.state, name) if known else None
    runs = found is not None and found.pid is not None
    return ServiceStatus(
        service=services.COMPUTE,
        host=name,
        healthy=runs and _reports(lab, name, time.time() - DOWN_SECONDS),
        address=f"ssh {name}" if runs else None,
        memory_mb=found.memory_mb if found else 0.0,
        age_seconds=found.age_seconds if found else None,
    )


def _join(lab: Lab, reached: Guest, keys: Mapping[str, str]) -> None:
    """Tell it of the other real hosts, by {name: host key}, and its Nova of the lab; start that
    where it was told something else, or not at all."""
    if network.NETWORKD in reached.ask(_network(lab, reached.name, keys)):
        reached.ask("networkctl reload")
    text = settings.nova_conf(lab, state.lab_secrets(lab.state), reached.name)
    identity = f"{settings.STATE}/compute_id"
    changed = reached.ask(
        f"[ -e {identity} ] || echo {compute_id(reached.name)} > {identity}\n"
        + _put(settings.CONFIG, text)
    )
    if changed or reached.run(f"systemctl --quiet is-active {saved.UNIT}").status:
        reached.ask(START, JOIN_LIMIT)


def _network(lab: Lab, name: str, keys: Mapping[str, str]) -> str:
    """The script that puts what is its of the network between them, and prints what it changed."""
    own = guests.own_key(lab.state, network.KEY)
    found = network.files(name, own.read_text(), guests.public_half(own), keys)
    return "".join(_put(path, *each) for path, each in found.items())


def _wait(lab: Lab, since: Mapping[str, float], note: Note) -> None:
    """Return once each of these hosts has reported since that time, with its hardware.

    A nova-compute reports only after it has told Nova and Placement of its devices
    (nova/service.py: `pre_start_hook` comes before the service group is joined).
    """
    waiting, deadline = list(since), time.monotonic() + UP_LIMIT
    while waiting:
        for name in [each for each in waiting if _reports(lab, each, since[each])]:
            waiting.remove(name)
            note(f"{Service(services.COMPUTE, name).key} serves")
        for name in waiting:
            virthost.check(lab.state, name)
        if waiting and time.monotonic() > deadline:
            raise _not_up(lab, waiting[0])
        time.sleep(0.2)


def _not_up(lab: Lab, name: str) -> LabError:
    reached = virthost.reach(lab.state, name)
    lines = reached.ask(f"tail -n 12 {settings.LOG} 2>/dev/null || :").splitlines()
    problem = f"its nova-compute did not report within {UP_LIMIT:.0f} s; the end of its log:"
    shown = tuple(re.sub(r"[^\x20-\x7e]", "?", line) for line in lines)
    return VirtualHostFailed(name, problem, str(store.folder(lab.state, name)), shown)


def _reports(lab: Lab, name: str, since: float) -> bool:
    """Whether its nova-compute has reported since then, and its node is known.

    `last_seen_up` is written by the conductor, by this machine's clock (nova/db/main/api.py,
    service_update).
    """
    path = lab.path("db", f"{config.NOVA_CELL_DATABASE}.sqlite")
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        row = connection.execute(
            "SELECT services.last_seen_up FROM services JOIN compute_nodes "
            "ON compute_nodes.host = services.host AND compute_nodes.deleted = 0 "
            "WHERE services.deleted = 0 AND services.host = ? AND services.binary = ?",
            (name, services.COMPUTE),
        ).fetchone()
    if row is None or row[0] is None:
        return False
    seen = dt.datetime.fromisoformat(row[0]).replace(tzinfo=dt.UTC)
    return seen.timestamp() >= since
