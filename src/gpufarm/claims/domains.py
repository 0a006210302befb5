"""Guests out of libvirt's domain XML, as `virsh dumpxml` prints it.

What is decided here: the guest's uuid, its name, whether it runs, and the PCI host devices that it
has (https://libvirt.org/formatdomain.html, hostdev; only one that runs has an `id`). A text may
hold several domains one after another, and those of /run/libvirt/qemu, which wrap one in
<domstatus>.
"""

import re
from xml.etree import ElementTree as ET

from gpufarm.model.claims import Guest
from gpufarm.model.errors import DomainInvalid

MOST_CHARACTERS = 64 * 1024 * 1024
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


def parse(text: str, origin: str) -> tuple[Guest, ...]:
    """Every guest, by uuid; those without host devices too. Raises DomainInvalid."""
    if len(text) > MOST_CHARACTERS:
        raise DomainInvalid(origin, f"more than {MOST_CHARACTERS} characters")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # libvirt writes neither; both are ways to make a small text large or to read other files.
        raise DomainInvalid(origin, "it has a DOCTYPE, which libvirt never writes")
    try:
        tree = ET.fromstring(f"<all>{_DECLARATION.sub('', text)}</all>")  # noqa: S314  (see above)
    except ET.ParseError as error:
        raise DomainInvalid(origin, f"no XML: {error}") from error
    found = [_guest(domain, origin) for domain in tree.iter("domain")]
    if len({guest.id for guest in found}) < len(found):
        raise DomainInvalid(origin, "two domains have the same uuid")
    return tuple(sorted(found, key=lambda guest: guest.id))


def _guest(domain: ET.Element, origin: str) -> Guest:
    uuid, name = domain.findtext("uuid"), domain.findtext("name")
    if not uuid or not name:
        raise DomainInvalid(origin, "a domain without uuid or name")
    devices = domain.iterfind("./devices/hostdev[@type='pci']/source/address")
    return Guest(
        id=uuid.strip().lower(),
        name=name.strip(),
        devices=frozenset(_address(found, origin) for found in devices),
        runs="id" in domain.attrib,
    )


def _address(found: ET.Element, origin: str) -> str:
    """libvirt writes each part as 0x.., or without a domain where that is 0."""
    try:
        parts = [int(found.get(name) or "0", 0) for name in ("domain", "bus", "slot", "function")]
    except ValueError as error:
        raise DomainInvalid(origin, f"an address that is none: {found.attrib}") from error
    domain, bus, slot, function = parts
    if min(parts) < 0 or bus > 0xFF or slot > 0x1F or function > 7:  # noqa: PLR2004
        raise DomainInvalid(origin, f"an address that is none: {found.attrib}")
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"
