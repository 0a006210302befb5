"""Each card of the cloud by itself: its state, who holds it, and its cordon.

What is decided here: which state a card is in, and what a cordon's record says. A card is closed
where Placement has all of it reserved: by an operator (there is a record: *cordoned*), by Nova
because it may be used once only (*cleaning*), or by somebody who left no record (*reserved*).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gpufarm.model.cloud import ComputeHost, Provider, services
from gpufarm.model.errors import CordonError

State = Literal["free", "used", "cordoned", "cleaning", "reserved"]

LONGEST = 255
"""Characters of a value of an aggregate's metadata (nova/db/api/models.py)."""

_ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$")


class Cordon(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`at` is UTC, ISO 8601. `dirty`: a one-time-use card that was closed before, by Nova."""

    by: str
    at: str
    why: str
    dirty: bool = False


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A PCI provider: a card, or a PF with all its VFs (`total` above 1).

    `provider` is the name of it, `holders` are consumers of allocations. `cordon` may be there
    without the card being closed: where a cordon was interrupted, or its inventory made anew.
    """

    provider: str
    uuid: str
    host: str
    address: str
    resource_class: str
    total: int
    used: int
    closed: bool
    one_time_use: bool
    holders: tuple[str, ...]
    cordon: Cordon | None

    @property
    def state(self) -> State:
        if self.closed and self.used < self.total:
            if self.cordon:
                return "cordoned"
            return "cleaning" if self.one_time_use else "reserved"
        return "used" if self.used >= self.total else "free"

    @property
    def in_force(self) -> bool:
        """Whether the cordon, if there is one, keeps new servers away."""
        return self.cordon is None or self.closed


def encode(cordon: Cordon) -> str:
    """The record. Raises CordonError where the reason is too long for it."""
    text = msgspec.json.encode(cordon).decode()
    if len(text) > LONGEST:
        room = len(cordon.why) - (len(text) - LONGEST)
        raise CordonError(
            f"the reason has {len(cordon.why)} characters, and there is room for {max(0, room)}: "
            "say it shorter"
        )
    return text


def decode(text: str) -> Cordon:
    """What a record says; one that gpufarm did not write is a reason of its own."""
    try:
        return msgspec.json.decode(text, type=Cordon)
    except msgspec.MsgspecError:
        return Cordon(by="", at="", why=text)


def cards(
    providers: Iterable[Provider],
    hosts: Iterable[ComputeHost],
    records: Mapping[str, str],
    one_time_use: frozenset[str],
) -> tuple[Card, ...]:
    """Every card, by host and address."""
    listed = tuple(providers)
    names = services(hosts)
    roots = {each.uuid: each.name for each in listed if each.uuid == each.root_uuid}
    found = [
        _card(each, names.get(root, root), resource_class, records, one_time_use)
        for each in listed
        if each.uuid != each.root_uuid
        for root in [roots.get(each.root_uuid, each.name.rpartition("_")[0])]
        for resource_class in sorted(each.inventories)
    ]
    return tuple(sorted(found, key=lambda card: (card.host, card.address)))


def _card(
    provider: Provider,
    host: str,
    resource_class: str,
    records: Mapping[str, str],
    one_time_use: frozenset[str],
) -> Card:
    stock = provider.inventories[resource_class]
    record = records.get(provider.name)
    return Card(
        provider=provider.name,
        uuid=provider.uuid,
        host=host,
        address=address_of(provider.name),
        resource_class=resource_class,
        total=stock.total,
        used=stock.used,
        closed=stock.reserved >= stock.total,
        one_time_use=provider.uuid in one_time_use,
        holders=tuple(sorted(provider.allocations)),
        cordon=None if record is None else decode(record),
    )


def address_of(provider: str) -> str:
    """Nova names a device's provider <hypervisor_hostname>_<ADDRESS>
    (nova/compute/pci_placement_translator.py, _get_rp_name_for_address)."""
    return provider.rpartition("_")[2].lower()


def address(text: str) -> str:
    """A PCI address as it was typed, in the form that the cards have. Raises CordonError."""
    found = text.strip().lower()
    if re.match(r"^[0-9a-f]{2}:", found):
        found = f"0000:{found}"
    if not _ADDRESS.match(found):
        raise CordonError(f"{text!r} is no PCI address: one looks like 0000:3b:00.0")
    return found
