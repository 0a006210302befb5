"""Where the servers of a host go, all of them together."""

from typing import Any

from capacity_snapshots import flavor, snapshot
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.capacity import elsewhere, emptying
from gpufarm.capacity.elsewhere import Traveller
from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.server import Server

CLASS = "CUSTOM_PCI_10DE_2330"
AWAY = "away"


def gpu(number: int, memory_mb: int = 1024) -> CloudFlavor:
    alias = {"pci_passthrough:alias": f"h100:{number}", "gpufarm:cards": f"h100={CLASS}"}
    return flavor(f"g{number}", 1, memory_mb, 1, alias if number else {})


def traveller(name: str, cards: int, memory_mb: int = 1024) -> Traveller:
    server = Server(id=f"id-of-{name}", name=name, status="ACTIVE", host=AWAY)
    return Traveller(server, gpu(cards, memory_mb))


def host(free: int, held: int = 0, memory_mb: int = 65536) -> dict[str, Any]:
    cards = [{} for _ in range(free)] + [{"held": {f"x{n}": 1}} for n in range(held)]
    return {
        "stock": {
            "VCPU": {"total": 64},
            "MEMORY_MB": {"total": memory_mb},
            "DISK_GB": {"total": 1000},
        },
        "devices": {f"0000:{n:02x}:00.0": {CLASS: card} for n, card in enumerate(cards, 5)},
    }


def seats(hosts: dict[str, Any], *found: Traveller) -> dict[str, str | None]:
    facts = snapshot({"hosts": {AWAY: host(8), **hosts}})
    facts = type(facts)(
        providers=facts.providers, hosts=facts.hosts, flavors=tuple(each.flavor for each in found)
    )
    made = emptying.seats(facts, AWAY, found)
    assert all((seat.host is None) == (seat.reason is not None) for seat in made)
    return {seat.traveller.server.name: seat.host for seat in made}


def test_servers_of_many_cards_go_first() -> None:
    """One after another by name, the small ones would take a card here and one there."""
    hosts = {"a": host(2), "b": host(2)}
    small = [traveller(f"a{number}", 1) for number in range(2)]
    found = seats(hosts, *small, traveller("z", 2))
    assert None not in found.values()
    assert len({found["a0"], found["a1"]}) == 1
    assert list(found) == ["z", "a0", "a1"]


def test_the_host_that_is_filled_best_is_taken() -> None:
    assert seats({"a": host(4), "b": host(1, held=3)}, traveller("s", 1)) == {"s": "b"}


def test_ordinary_servers_leave_hosts_with_free_cards_alone() -> None:
    assert seats({"a": host(4), "b": host(0, held=4)}, traveller("s", 0)) == {"s": "b"}


def test_what_finds_no_room_says_why() -> None:
    facts = snapshot({"hosts": {AWAY: host(8), "a": host(1)}})
    found = [traveller("s", 1), traveller("t", 1), traveller("u", 2)]
    facts = type(facts)(
        providers=facts.providers, hosts=facts.hosts, flavors=tuple(each.flavor for each in found)
    )
    reasons = {
        seat.traveller.server.name: seat.reason for seat in emptying.seats(facts, AWAY, found)
    }
    assert reasons["s"] is None
    assert "taken by the other servers" in str(reasons["t"])
    assert "needs 2 h100 cards" in str(reasons["u"])


def test_the_host_that_it_leaves_does_not_count() -> None:
    facts = snapshot({"hosts": {AWAY: host(8), "a": host(0, held=2)}})
    facts = type(facts)(providers=facts.providers, hosts=facts.hosts, flavors=(gpu(1),))
    refused = elsewhere.refusal(facts, traveller("s", 1), AWAY)
    assert str(refused).startswith("hosts other than away: all 2 of 2 h100 cards")
    assert elsewhere.refusal(facts, traveller("s", 1), "a") is None
    assert str(elsewhere.refusal(facts, traveller("s", 1), AWAY, "a")).startswith("host a: all 2")


@given(st.lists(st.integers(0, 4), max_size=4), st.lists(st.integers(0, 3), max_size=6))
def test_no_host_is_given_more_than_it_has(free: list[int], asked: list[int]) -> None:
    hosts = {f"h{number}": host(cards) for number, cards in enumerate(free)}
    found = seats(hosts, *(traveller(f"s{n}", cards) for n, cards in enumerate(asked)))
    for name, room in zip(hosts, free, strict=True):
        taken = sum(cards for n, cards in enumerate(asked) if found[f"s{n}"] == name)
        assert taken <= room
    assert AWAY not in found.values()
