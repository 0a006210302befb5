"""What a guest prints, read; and compared with what was claimed for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.guest.checks import Check, Claimed, checks
from gpufarm.guest.seen import Function, parse
from gpufarm.lab.virthost.rootfs import GUEST_INIT

CONSOLE = """\
SeaBIOS (version 1.16.2)
[    0.81] guest: 0000:00:00.0 8086:29c0 060000
guest: 0000:00:01.0 1234:1111 030000
guest: 0000:05:00.0 10de:1b80 030000
guest: 0000:05:00.1 10de:10f0 040300\r
guest: clocks tsc acpi_pm
guest: ready
"""
GTX = Claimed({"CUSTOM_PCI_10DE_1B80": 1, "CUSTOM_PCI_10DE_10F0": 1})


def lines(script: str) -> list[str]:
    return [line.strip() for line in script.splitlines()]


def results(found: tuple[Check, ...]) -> dict[str, str]:
    return {each.check: each.result for each in found}


def test_the_console_of_our_guest() -> None:
    seen = parse(CONSOLE)
    assert seen.whole
    assert len(seen.functions) == 4
    assert seen.functions[2] == Function("0000:05:00.0", "10de", "1b80", "030000")
    assert seen.kvm is False
    assert {'echo "guest: ready"', 'echo "guest: clocks $clocks"'} <= set(lines(GUEST_INIT))


def test_a_guest_that_was_started_again() -> None:
    again = "guest: 0000:05:00.0 10de:2330 030200\nguest: ready\n"
    assert [each.product_id for each in parse(CONSOLE + again).functions] == ["2330"]


def test_over_ssh_with_drivers_and_cuda() -> None:
    text = (
        "guest: 0000:05:00.0 0x10de:0x1b80 0x030000 nvidia\n"
        "guest: 0000:05:00.1 0x10de:0x10f0 0x040300 snd_hda_intel\n"
        "guest: nvidia-smi\nGPU 0: NVIDIA GTX 1080 (UUID: GPU-1)\nguest: ready\n"
    )
    assert results(checks(GTX, parse(text), None, ssh=True)) == {
        "functions": "ok",
        "one model": "ok",
        "KVM hidden": "ok",
        "driver": "ok",
        "CUDA": "ok",
    }
    no_driver = text.replace("nvidia\n", "none\n", 1).replace("GPU 0: NVIDIA", "No devices")
    found = results(checks(GTX, parse(no_driver), None, ssh=True))
    assert (found["driver"], found["CUDA"]) == ("wrong", "wrong")


def test_a_function_that_is_missing() -> None:
    without = CONSOLE.replace("guest: 0000:05:00.1", "lost: 0000:05:00.1")
    found = checks(GTX, parse(without), None, ssh=False)
    assert results(found)["functions"] == "wrong"
    assert "0 of 1 10de:10f0" in found[0].said


def test_two_models() -> None:
    two = CONSOLE.replace("10de:10f0 040300", "10de:2330 030200")
    assert results(checks(GTX, parse(two), None, ssh=False))["one model"] == "wrong"


def test_what_nobody_shows_is_not_checked() -> None:
    hidden = Claimed(GTX.cards, hidden=True)
    assert set(results(checks(hidden, parse("FAKE CONSOLE"), None, ssh=False)).values()) == {
        "not checked"
    }


HIDES = "<features><kvm>\n <hidden state='on'/></kvm></features>"
SHOWS = "<features><kvm><hidden state='off'/></kvm></features>"
FINDS = CONSOLE.replace("clocks tsc", "clocks kvm-clock tsc")


@pytest.mark.parametrize(
    ("console", "domain", "result"),
    [
        (CONSOLE, HIDES, "ok"),
        (CONSOLE, None, "ok"),
        (CONSOLE, SHOWS, "wrong"),
        (CONSOLE, "", "wrong"),
        (FINDS, HIDES, "wrong"),
        (FINDS, None, "wrong"),
        ("FAKE CONSOLE", HIDES, "ok"),
    ],
)
def test_kvm(console: str, domain: str | None, result: str) -> None:
    hidden = Claimed(GTX.cards, hidden=True)
    assert results(checks(hidden, parse(console), domain, ssh=False))["KVM hidden"] == result
    assert results(checks(GTX, parse(console), domain, ssh=False))["KVM hidden"] == "ok"


@given(st.text())
def test_any_console_is_read(text: str) -> None:
    seen = parse(text)
    assert checks(GTX, seen, text, ssh=True)


HEX4 = st.integers(0, 0xFFFF).map(lambda number: f"{number:04x}")
FUNCTIONS = st.builds(
    Function,
    address=st.builds(
        lambda bus, slot, function: f"0000:{bus:02x}:{slot:02x}.{function}",
        st.integers(0, 255),
        st.integers(0, 31),
        st.integers(0, 7),
    ),
    vendor_id=HEX4,
    product_id=HEX4,
    class_id=st.integers(0, 0xFFFFFF).map(lambda number: f"{number:06x}"),
)


@given(st.lists(FUNCTIONS, unique_by=lambda each: each.address), st.text("abc[]0. ", max_size=20))
def test_what_was_printed_is_read(functions: list[Function], noise: str) -> None:
    lines = [
        f"{noise}guest: {each.address} {each.vendor_id}:{each.product_id} {each.class_id}"
        for each in functions
    ]
    text = "\n".join([noise, *lines, "guest: ready"])
    assert parse(text).functions == tuple(functions)
