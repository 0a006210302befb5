"""No false alarms: what is found while everything moves is what an oracle agrees with.

Afterwards, when nothing moves, what is found is exactly what a look of the test's own into
Placement and into Nova's table finds; and what guests are said to lack, they lack.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from churn import Oracle, Worker
from claims_lab import HOSTS, ClaimsLab

from gpufarm.claims import reading
from gpufarm.claims.codes import NOT_IN_GUEST
from gpufarm.claims.findings import Finding
from gpufarm.claims.reading import Sources
from gpufarm.cloud import compute, nova_database, placement
from gpufarm.lab import claims, state

pytestmark = [pytest.mark.lab, pytest.mark.split]

HANDS = 3
SECONDS = 60.0
PATIENCE = 20.0
"""More than a step of an operation takes on a busy machine."""
RESTART_SECONDS = 25.0


def sources(lab: ClaimsLab) -> Sources:
    found = state.load(lab.lab.state)
    return Sources(
        databases=claims.databases(found),
        guests=lambda: claims.guests(found),
        hosts=lambda: claims.hosts(found),
    )


def owner(lab: ClaimsLab, finding: Finding) -> str | None:
    """The server whose claim it is, also where a migration holds it, or one of a deleted server."""
    if finding.holder is None:
        return None
    return lab.migrations().get(finding.holder, finding.holder)


def restart(lab: ClaimsLab, host: str) -> None:
    """As an operator does: it ends what it does, and is started again."""
    run = state.run_of(lab.lab.state, f"nova-compute@{host}")
    assert run is not None
    os.kill(run.process.pid, signal.SIGTERM)
    lab.wait(lambda: not state.running(lab.lab.state, f"nova-compute@{host}"), "ended")
    lab.run("lab", "up")


def test_churn(
    broken: ClaimsLab,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    wanted: int | None = request.config.getoption("--churn")
    oracle, began = Oracle(), time.monotonic()

    def more() -> bool:
        if wanted is not None:
            return oracle.operations < wanted
        return time.monotonic() - began < SECONDS

    hands = [Worker(broken.lab, oracle, seed, more) for seed in range(HANDS)]
    looks, alarms, restarted = 0, set(), time.monotonic()
    with ThreadPoolExecutor(HANDS) as pool:
        work = [pool.submit(hand.run) for hand in hands]
        while not all(each.done() for each in work):
            if time.monotonic() - restarted > RESTART_SECONDS and more():
                oracle.kills.append(time.time())
                restart(broken, HOSTS[looks % 2])
                restarted = time.monotonic()
            alarms |= look(broken, oracle)
            looks += 1
        for each in work:
            each.result()
    record_property("operations", oracle.operations)
    record_property("looks", looks)
    assert not alarms
    assert looks > 3
    assert oracle.operations >= (wanted or 10)
    time.sleep(PATIENCE + 1)
    assert by_findings(broken) == by_hand(broken)


def look(lab: ClaimsLab, oracle: Oracle) -> set[str]:
    """False alarms of one check."""
    since = time.time()
    found = reading.check(lab.lab.connection, sources(lab), PATIENCE)
    judged = [(each, oracle.disagrees(each, owner(lab, each), since)) for each in found]
    return {
        f"{each.code} {each.host} {each.address} {each.holder}: {reason}"
        for each, reason in judged
        if reason
    }


def by_findings(lab: ClaimsLab) -> set[tuple[str, str, str]]:
    found = reading.check(lab.lab.connection, sources(lab), PATIENCE)
    held = {
        (host, guest.id, device)
        for host, guests in sources(lab).guests().items()
        for guest in guests
        for device in guest.devices
    }
    lacking = [each for each in found if each.code == NOT_IN_GUEST]
    assert not {(each.host, each.holder, each.address) for each in lacking} & held
    return {
        (each.host, str(each.address), str(each.holder)) for each in found if each not in lacking
    }


def by_hand(lab: ClaimsLab) -> set[tuple[str, str, str]]:
    """Every card for which Placement and Nova's table do not name the same server."""
    connection: Any = lab.lab.connection
    rows = {
        (row.hypervisor, row.address): row.server
        for row in nova_database.rows(sources(lab).databases or ())
    }
    known = {server.id for server in compute.server_states(connection)}
    waiting = {move.uuid: move.server for move in compute.migrations(connection)}
    wrong = set()
    for provider in placement.providers(connection):
        host, _, address = provider.name.rpartition("_")
        if not host:
            continue
        given = rows.get((host, address.lower()))
        holders = {waiting.get(each, each): each for each in provider.allocations}
        for server, holder in holders.items():
            if server != given:
                wrong.add((host, address.lower(), holder))
        if given is not None and given not in holders:
            wrong.add((host, address.lower(), given))
        wrong |= {
            (host, address.lower(), each)
            for each in holders.values()
            if each not in known | set(waiting)
        }
    return wrong
