"""Cards closed and opened: states, records, the order of the steps, and what is left by a fault."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.claims import cards, cordon
from gpufarm.claims.cards import LONGEST, Card, Cordon, decode, encode
from gpufarm.model.cloud import ComputeHost, Inventory, Provider
from gpufarm.model.errors import CloudConflict, CordonError, NotInCloud

ADDRESS = "0000:3b:00.0"
ONE = f"node.example_{ADDRESS}"
TWO = "node.example_0000:5E:00.0"


class ModelCloud:
    """Placement's reservations and the records, each write of which may fail."""

    def __init__(self) -> None:
        self.reserved = {ONE: False, TWO: False}
        self.held = {ONE: "", TWO: ""}
        self.records: dict[str, str] = {}
        self.one_time_use = False
        self.fails_at = -1
        self.writes: list[tuple[str, str]] = []

    def write(self, kind: str, name: str) -> None:
        if len(self.writes) == self.fails_at:
            raise CloudConflict("somebody else")
        self.writes.append((kind, name))

    def read(self) -> tuple[Card, ...]:
        devices = [
            provider(name, reserved=int(self.reserved[name]), holder=self.held[name])
            for name in (ONE, TWO)
        ]
        everything = frozenset(each.uuid for each in devices) if self.one_time_use else frozenset()
        hosts = [
            ComputeHost(name="node", hypervisor_hostname="node.example", up=True, enabled=True)
        ]
        return cards.cards([provider("node.example"), *devices], hosts, self.records, everything)


def provider(name: str, *, reserved: int = 0, holder: str = "") -> Provider:
    device = "_" in name
    stock = {"CUSTOM_H": Inventory(total=1, reserved=reserved, used=int(bool(holder)))}
    return Provider(
        uuid=f"uuid-of-{name}",
        name=name,
        root_uuid="uuid-of-node.example",
        generation=1,
        inventories=stock if device else {"VCPU": Inventory(total=8, reserved=0, used=0)},
        allocations={holder: {"CUSTOM_H": 1}} if holder else {},
    )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> ModelCloud:
    model = ModelCloud()

    def put_record(_: object, name: str, record: str | None) -> None:
        model.write("record", name)
        if record is None:
            model.records.pop(name, None)
        else:
            model.records[name] = record

    def reserve(_: object, uuid: str, *, closed: bool) -> None:
        model.write("reserve", uuid)
        model.reserved[uuid.removeprefix("uuid-of-")] = closed

    monkeypatch.setattr(cordon, "read", lambda _, host: model.read() if host == "node" else ())
    monkeypatch.setattr(cordon.cordons, "put_record", put_record)
    monkeypatch.setattr(cordon.cordons, "user_name", lambda _: "alice")
    monkeypatch.setattr(cordon.placement, "reserve", reserve)
    return model


def close(why: str = "why") -> None:
    cordon.close(None, cordon.chosen(None, "node", None), why, lambda _: None)  # type: ignore[arg-type]


def open_again(address: str | None = None, **how: Any) -> tuple[Card, ...]:
    found = cordon.chosen(None, "node", address)  # type: ignore[arg-type]
    return cordon.open_again(None, found, lambda _: None, **how)  # type: ignore[arg-type]


def test_closed_and_open_again(cloud: ModelCloud) -> None:
    close("new firmware")
    assert [card.state for card in cloud.read()] == ["cordoned", "cordoned"]
    kept = cloud.read()[0].cordon
    assert kept is not None
    assert (kept.by, kept.why, kept.dirty) == ("alice", "new firmware", False)
    assert open_again() == ()
    assert [card.state for card in cloud.read()] == ["free", "free"]
    assert cloud.records == {}


def test_a_card_in_use_stays_in_use(cloud: ModelCloud) -> None:
    cloud.held[ONE] = "server"
    close()
    card = cloud.read()[0]
    assert (card.state, card.closed, card.holders) == ("used", True, ("server",))


@pytest.mark.parametrize("fails_at", range(4))
@pytest.mark.parametrize("opening", [False, True])
def test_what_failed_is_finished_by_the_same_command(
    cloud: ModelCloud, fails_at: int, opening: bool
) -> None:
    if opening:
        close()
        cloud.writes.clear()
    command = open_again if opening else close
    cloud.fails_at = fails_at
    with pytest.raises(CloudConflict):
        command()
    # A card that is closed and that nobody remembers closing would never be opened again.
    assert all(card.state != "reserved" for card in cloud.read())
    cloud.fails_at = -1
    command()
    wanted = "free" if opening else "cordoned"
    assert [card.state for card in cloud.read()] == [wanted, wanted]
    assert len(cloud.records) == (0 if opening else 2)


def test_cordoned_again_keeps_the_first_reason_and_closes(cloud: ModelCloud) -> None:
    close("first")
    cloud.reserved[ONE] = False
    assert not cloud.read()[0].in_force
    close("second")
    assert cloud.reserved[ONE]
    assert {decode(record).why for record in cloud.records.values()} == {"first"}


def test_a_one_time_use_card_is_not_opened_before_it_is_cleaned(cloud: ModelCloud) -> None:
    cloud.one_time_use = True
    cloud.reserved[ONE] = True
    assert cloud.read()[0].state == "cleaning"
    with pytest.raises(CordonError, match="--cleaned"):
        open_again(ADDRESS)
    close()
    assert [card.address for card in open_again()] == [ADDRESS]
    assert [card.state for card in cloud.read()] == ["cleaning", "free"]
    assert open_again(cleaned=True) == ()
    assert [card.state for card in cloud.read()] == ["free", "free"]


def test_a_one_time_use_card_in_use_stays_closed_even_if_said_to_be_clean(
    cloud: ModelCloud,
) -> None:
    cloud.one_time_use = True
    cloud.reserved[ONE], cloud.held[ONE] = True, "server"
    close()
    open_again(cleaned=True)
    assert cloud.reserved == {ONE: True, TWO: False}


def test_one_that_is_not_cordoned_is_said(cloud: ModelCloud) -> None:
    with pytest.raises(CordonError, match="is not cordoned"):
        open_again(ADDRESS)
    cloud.reserved[ONE] = True
    with pytest.raises(CordonError, match="left no record"):
        open_again(ADDRESS)
    with pytest.raises(NotInCloud):
        open_again("0000:99:00.0")
    assert cloud.writes == []


@given(why=st.text(max_size=400), by=st.text(max_size=30), dirty=st.booleans())
def test_a_record_fits_or_is_refused(why: str, by: str, dirty: bool) -> None:
    made = Cordon(by=by, at="2026-11-21T03:15:31Z", why=why, dirty=dirty)
    try:
        text = encode(made)
    except CordonError:
        assert len(msgspec.json.encode(made).decode()) > LONGEST
    else:
        assert len(text) <= LONGEST
        assert decode(text) == made


@given(st.text())
def test_what_is_no_record_is_a_reason(text: str) -> None:
    assert isinstance(decode(text), Cordon)


@pytest.mark.parametrize("typed", ["3B:00.0", "0000:3b:00.0", " 0000:3B:00.0 "])
def test_addresses_as_they_are_typed(typed: str) -> None:
    assert cards.address(typed) == ADDRESS


@pytest.mark.parametrize("typed", ["", "3b", "0000:3b:00.8", "0000:3b:00.0;x", "gg:00.0"])
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(CordonError, match="no PCI address"):
        cards.address(typed)
