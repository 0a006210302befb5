"""libvirt's domain XML: as it is printed, and as nobody should send it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.claims.domains import parse
from gpufarm.model.errors import DomainInvalid

GUEST = """
<domain type='kvm' id='3'>
  <name>instance-0000000a</name>
  <uuid>6A5C1F3E-0000-4000-8000-000000000001</uuid>
  <devices>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <driver name='vfio'/>
      <source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source>
      <alias name='hostdev0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address bus='0x3b' slot='0x00' function='0x1'/></source>
    </hostdev>
    <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>
  </devices>
</domain>
"""
ID = "6a5c1f3e-0000-4000-8000-000000000001"


def test_host_devices_and_not_where_the_guest_sees_them() -> None:
    (guest,) = parse(GUEST, "x")
    assert (guest.id, guest.name) == (ID, "instance-0000000a")
    assert guest.devices == {"0000:3b:00.0", "0000:3b:00.1"}
    assert guest.runs


def test_one_that_is_off_has_no_number() -> None:
    (guest,) = parse(GUEST.replace(" id='3'", ""), "x")
    assert (guest.id, guest.runs) == (ID, False)
    assert guest.devices


def test_several_one_after_another_and_as_libvirt_keeps_them() -> None:
    plain = "<domain><name>b</name><uuid>b</uuid></domain>"
    text = f"<?xml version='1.0'?>{GUEST}<domstatus state='running' pid='1'>{plain}</domstatus>"
    assert [guest.id for guest in parse(text, "x")] == [ID, "b"]
    assert parse("", "x") == ()


@pytest.mark.parametrize(
    "text",
    [
        "<domain>",
        "no XML & nothing",
        "<domain><uuid>a</uuid></domain>",
        GUEST + GUEST,
        GUEST.replace("0x3b", "0x1ff"),
        GUEST.replace("0x3b", "far away"),
        GUEST.replace("0x3b", "-1"),
        '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><domain><name>&b;</name></domain>',
        '<!DOCTYPE d SYSTEM "file:///etc/passwd"><domain/>',
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(DomainInvalid, match=r"^x: "):
        parse(text, "x")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DomainInvalid):
        parse(text, "x")


@given(
    domain=st.integers(0, 0xFFFF),
    bus=st.integers(0, 0xFF),
    slot=st.integers(0, 0x1F),
    function=st.integers(0, 7),
)
def test_addresses(domain: int, bus: int, slot: int, function: int) -> None:
    written = f"domain='{domain:#06x}' bus='{bus:#04x}' slot='{slot:#04x}' function='{function:#x}'"
    text = GUEST.replace("domain='0x0000' bus='0x3b' slot='0x00' function='0x0'", written, 1)
    (guest,) = parse(text, "x")
    assert f"{domain:04x}:{bus:02x}:{slot:02x}.{function}" in guest.devices
