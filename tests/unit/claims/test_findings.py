"""What is found in the layers: a case each, and what holds for all of them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from claims_layers import NOW, layers
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.claims.codes import CODES
from gpufarm.claims.findings import findings
from gpufarm.model.claims import Layers

CASES = sorted((Path(__file__).parents[2] / "cases" / "claims").glob("*.yaml"))
PATIENCE = 600.0
ADDRESSES = [f"0000:{bus:02x}:00.0" for bus in (5, 6, 7, 8)]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def shown(facts: Layers, patience: float = PATIENCE) -> list[dict[str, Any]]:
    keys = ("code", "host", "address", "holder", "lying", "safe")
    return [{key: getattr(each, key) for key in keys} for each in findings(facts, patience)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = read(path)
    assert shown(layers(case)) == case["found"]


def test_every_code_has_a_case() -> None:
    found = {each["code"] for path in CASES for each in read(path)["found"]}
    assert found == set(CODES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_moved_a_moment_ago_is_left_alone(path: Path) -> None:
    """Only what has no age: hardware, guests of nobody, consumers and hosts that are unknown."""
    ageless = {
        *("CARD_GONE", "NOT_OFFERED", "NOT_BOUND_TO_VFIO", "IN_USE_UNKNOWN", "HOST_GONE"),
        *("CONSUMER_UNKNOWN", "CLAIMED_TWICE"),
    }
    patient = findings(layers(read(path)), NOW)
    assert {each.code for each in patient} <= ageless


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_finding_rests_on_what_was_not_read(path: Path) -> None:
    facts = layers(read(path))
    for without in (
        msgspec.structs.replace(facts, guests={}),
        msgspec.structs.replace(facts, hosts={}),
        msgspec.structs.replace(facts, offered={}),
        msgspec.structs.replace(facts, nova=msgspec.structs.replace(facts.nova, rows=None)),
    ):
        for each in findings(without, PATIENCE):
            if without.nova.rows is None:
                assert each.code != "ROW_LEFT_BEHIND"
            if not without.guests:
                assert each.layers.hypervisor is None
                assert each.code not in {"IN_USE_UNKNOWN", "NOT_IN_GUEST"}
            if not without.offered:
                assert each.code != "NOT_OFFERED"
            if not without.hosts:
                assert each.layers.host is None
                assert each.code not in {"CARD_GONE", "NOT_BOUND_TO_VFIO"}


@st.composite
def matching(draw: st.DrawFn) -> dict[str, Any]:
    """A cloud in which every claim matches; some servers move, are built, wait."""
    hosts: dict[str, Any] = {}
    servers: dict[str, Any] = {}
    migrations: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for name in ("a", "b"):
        cards: dict[str, Any] = {}
        guests: dict[str, list[str]] = {}
        for address in ADDRESSES:
            key = f"{name}-{address}"
            kind = draw(st.sampled_from(("free", "server", "stopped", "waiting", "building")))
            if kind == "free":
                rows.append({"host": name, "address": address})
                continue
            rows.append({"host": name, "address": address, "server": key})
            holder = key
            servers[key] = {"host": name}
            if kind == "stopped":
                servers[key] = {"host": name, "status": "SHUTOFF"}
            elif kind == "waiting":
                other = "b" if name == "a" else "a"
                servers[key] = {"host": other, "status": "VERIFY_RESIZE"}
                holder = f"move-of-{key}"
                migrations[holder] = {
                    "server": key,
                    "status": "finished",
                    "source": name,
                    "target": other,
                }
            elif kind == "building":
                servers[key] = {
                    "host": name,
                    "status": "BUILD",
                    "task": "spawning",
                    "launched": False,
                    "age": draw(st.sampled_from((1, 10000))),
                }
            if kind in {"server", "stopped"}:
                guests[key] = [address]
            cards[address] = {"held": {holder: 1}}
        hosts[name] = {
            "cards": {address: cards.get(address, {}) for address in ADDRESSES},
            "guests": guests,
            "functions": dict.fromkeys(ADDRESSES, "vfio-pci"),
        }
    return {"hosts": hosts, "servers": servers, "migrations": migrations, "rows": rows}


@given(matching())
def test_nothing_is_found_where_everything_matches(facts: dict[str, Any]) -> None:
    assert shown(layers(facts)) == []


@given(matching(), st.data())
def test_an_allocation_of_nobody_is_found_anywhere(
    facts: dict[str, Any], data: st.DataObject
) -> None:
    host = data.draw(st.sampled_from(("a", "b")))
    free = [key for key, card in facts["hosts"][host]["cards"].items() if not card]
    if not free:
        return
    address = data.draw(st.sampled_from(free))
    facts["hosts"][host]["cards"][address] = {"held": {"ghost": 1}}
    (found,) = shown(layers(facts))
    assert (found["code"], found["host"], found["address"]) == ("CONSUMER_UNKNOWN", host, address)
    assert found["safe"]
