"""Which resource class an alias asks for, and what a card is called.

Nova keeps [pci]alias in its configuration and shows it in no API, so that gpufarm writes it into
the flavor's extra spec gpufarm:cards. Where no flavor says it, a card is called by its resource
class, and what a flavor with an unknown alias asks for cannot be said.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpufarm.model.cloud import CloudFlavor
from gpufarm.model.farm import CARDS_MARK

if TYPE_CHECKING:
    from gpufarm.capacity.snapshot import Snapshot

ALIAS_SPEC = "pci_passthrough:alias"

_BY_ID = re.compile(r"^CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})$")


def classes(flavors: Iterable[CloudFlavor]) -> dict[str, str]:
    """{alias: resource class}, from every flavor that says so."""
    return {
        alias.strip(): resource_class.strip()
        for flavor in sorted(flavors, key=lambda flavor: flavor.name)
        for alias, equals, resource_class in (
            part.partition("=") for part in flavor.properties.get(CARDS_MARK, "").split(",")
        )
        if equals and alias.strip() and resource_class.strip()
    }


def known(snapshot: "Snapshot") -> dict[str, str]:
    """{alias: resource class}, from the flavors, and from Nova's settings where they are shown."""
    configured = {name: alias.resource_class for name, alias in snapshot.scheduler.aliases.items()}
    return classes(snapshot.flavors) | configured


def card_name(resource_class: str, aliases: dict[str, str]) -> str:
    """The alias, the first by name where several ask for the class; otherwise `10de:2330`.

    A class that was named by hand and that no alias is known for is its own name.
    """
    names = [alias for alias, asked in aliases.items() if asked == resource_class]
    if names:
        return min(names)
    by_id = _BY_ID.match(resource_class)
    return f"{by_id[1]}:{by_id[2]}".lower() if by_id else resource_class


def asked(flavor: CloudFlavor) -> dict[str, int]:
    """{alias: cards}, from the flavor's `a100:2,k40c:1` (nova/pci/request.py); {} without one."""
    wanted: dict[str, int] = {}
    for part in flavor.properties.get(ALIAS_SPEC, "").split(","):
        alias, colon, count = part.strip().partition(":")
        if alias and colon and count.strip().isdigit() and int(count):
            wanted[alias.strip()] = wanted.get(alias.strip(), 0) + int(count)
    return wanted
