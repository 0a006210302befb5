"""What lspci prints: the machines of the source articles, a real one in all forms, and nonsense."""

import re
from typing import Any

import pytest
from host_machines import HOSTS
from hypothesis import example, given
from hypothesis import strategies as st

from gpufarm.host import facts, lspci, report
from gpufarm.host.classes import is_bridge
from gpufarm.host.ids import Names
from gpufarm.model.facts import HostFacts, PciFunction
from gpufarm.system.capture import open_root

PCI_IDS = b"""\
# A pci.ids as small as can be
10de  NVIDIA Corporation
\t0e0a  GK104 HDMI Audio Controller
\t1024  GK180GL [Tesla K40c]
\t10f0  GP104 High Definition Audio Controller
\t11b4  GK104GL [Quadro K4200]
\t1b80  GP104 [GeForce GTX 1080]
\t\t10de 1b80  a subsystem
\t\t1458 3702  another
1102  Creative Labs
\t1b80  not this one
C 03  Display controller
\t00  VGA compatible controller
\t\t00  VGA controller
\t02  3D controller
C 04  Multimedia controller
\t03  Audio device
"""
REAL = HOSTS / "debian12-intel-bound-by-hand.json"
ANY_NAMES = pytest.mark.parametrize("names", [Names(PCI_IDS), Names()], ids=["pci.ids", "none"])

SV = """\
42:00.0 VGA compatible controller: NVIDIA Corporation Device 1b80 (rev a1)
42:00.1 Audio device: NVIDIA Corporation Device 10f0 (rev a1)
"""
OH = """\
84:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:11b4] (rev a1)
84:00.1 Audio device [0403]: NVIDIA Corporation GK104 HDMI Audio Controller [10de:0e0a] (rev a1)
88:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:11b4] (rev a1)
88:00.1 Audio device [0403]: NVIDIA Corporation GK104 HDMI Audio Controller [10de:0e0a] (rev a1)
"""
BR = "86:00.0 3D controller [0302]: NVIDIA Corporation GK110BGL [Tesla K40c] [10de:1024] (rev a1)\n"
SC = "07:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:11bf] (rev a1)\n"

CARDS = {
    "SV": (SV, [("0000:42:00.0", "10de", "1b80", "030000", 2)]),
    "OH": (
        OH,
        [
            ("0000:84:00.0", "10de", "11b4", "030000", 2),
            ("0000:88:00.0", "10de", "11b4", "030000", 2),
        ],
    ),
    "BR": (BR, [("0000:86:00.0", "10de", "1024", "030200", 1)]),
    "SC": (SC, [("0000:07:00.0", "10de", "11bf", "030000", 1)]),
}


def with_domains(text: str) -> str:
    return "".join(f"0000:{line}\n" for line in text.splitlines())


@pytest.mark.parametrize("shape", [str, with_domains, lambda text: text.replace("\n", "\r\n")])
@pytest.mark.parametrize("source", CARDS)
@ANY_NAMES
def test_the_source_machines(source: str, shape: Any, names: Names) -> None:
    text, expected = CARDS[source]
    read = lspci.parse(shape(text), names)
    assert read.gaps == ()
    rows = report.scan(read, names)
    found = [
        (row.address, row.vendor_id, row.product_id, row.class_id, len(row.functions))
        for row in rows
    ]
    assert found == expected
    assert {row.kind for row in rows} == {"gpu"}


def test_names() -> None:
    """Of pci.ids, else of the text, else of the catalogue, else none."""
    both = SV + BR + "90:00.0 3D controller [0302]: NVIDIA Corporation Device [10de:ffff]\n"
    with_ids = [row.name for row in report.scan(lspci.parse(both, Names(PCI_IDS)), Names(PCI_IDS))]
    assert with_ids == ["GP104 [GeForce GTX 1080]", "GK180GL [Tesla K40c]", None]
    without = [row.name for row in report.scan(lspci.parse(both, Names()), Names())]
    assert without == ["GeForce GTX 1080", "GK110BGL [Tesla K40c]", None]


def test_a_name_stands_for_its_id() -> None:
    """Plain lspci names a known card; its chip is called otherwise in another release."""
    text = "86:00.0 3D controller: NVIDIA Corporation GK110BGL [Tesla K40c] (rev a1)\n"
    assert lspci.parse(text, Names(PCI_IDS)).functions[0].product_id == "1024"
    without = lspci.parse(text, Names())
    assert without.functions == ()
    assert "-nn" in without.gaps[0].problem


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0000:42:00.0 0300: 10de:1b80 (rev a1)", ("0000:42:00.0", "10de", "1b80", "030000")),
        ("10000:e1:00.0 0108: 8086:0a54", ("10000:e1:00.0", "8086", "0a54", "010800")),
        (
            "42:00.0 VGA compatible controller [0300]: A [B] [C:D] [10de:1b80] (prog-if 00 [VGA])",
            ("0000:42:00.0", "10de", "1b80", "030000"),
        ),
        ("01:00.0 Class [ff00]: Device [1af4:1045] (rev 01)", ("0000:01:00.0", "1af4", "1045")),
        ("01:00.0 USB controller [0c03]: X [10de:1ada] (prog-if 30 [XHCI])", ("0c0330",)),
        ("42:00.0 VGA compatible controller: Device 1234:5678", ("1234", "5678", "030000")),
        ("\x1b[35m42:00.0\x1b[m\x1b[K 3D controller [0302]: N [10de:1024]", ("10de", "1024")),
    ],
)
def test_lines(line: str, expected: tuple[str, ...]) -> None:
    read = lspci.parse(line, Names())
    assert read.gaps == ()
    function = read.functions[0]
    found = (function.address, function.vendor_id, function.product_id, function.class_id)
    assert set(expected) <= set(found)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "42:00.0",
        "42:00.9 3D controller [0302]: X [10de:1024]",
        "42:20.0 3D controller [0302]: X [10de:1024]",
        "42:00.0 3D controller [0302]: X [10de:102]",
        "42:00.0 3D controller: Nobody Knows",
        "x42:00.0 3D controller [0302]: X [10de:1024]",
    ],
)
def test_what_is_not_understood_is_a_gap(line: str) -> None:
    read = lspci.parse(line, Names())
    assert read.functions == ()
    assert len(read.gaps) == 1


def test_twice_the_same_address() -> None:
    read = lspci.parse(BR + BR, Names())
    assert len(read.functions) == 1
    assert "there before" in read.gaps[0].problem


def test_a_dead_card() -> None:
    text = (
        "42:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:1b80] "
        "(rev ff) (prog-if ff)\n\t!!! Unknown header type 7f\n"
    )
    function = lspci.parse(text, Names()).functions[0]
    assert not function.answers
    assert function.class_id == "030000"


def real() -> dict[str, PciFunction]:
    return {each.address: each for each in facts.read(open_root(REAL)).functions}


def printed(form: str, names: Names) -> HostFacts:
    return lspci.parse(REAL.with_suffix(f".{form}.txt").read_text(), names)


@ANY_NAMES
def test_verbose_says_what_sysfs_says(names: Names) -> None:
    """The same machine, read both ways at one moment."""
    read = printed("vvnnk", names)
    known = real()
    assert read.gaps == ()
    assert [each.address for each in read.functions] == list(known)
    for each in read.functions:
        other = known[each.address]
        for field in (
            "vendor_id",
            "product_id",
            "class_id",
            "driver",
            "iommu_group",
            "numa_node",
            "parent",
            "answers",
        ):
            assert getattr(each, field) == getattr(other, field), (each.address, field)
        if other.subsystem_id not in ("0000", None):
            assert each.subsystem_id == other.subsystem_id
        if not is_bridge(each.class_id):  # of which lspci prints no FLReset
            assert ("flr" in (each.reset_methods or ())) == ("flr" in (other.reset_methods or ()))
        placed = {(bar.index, bar.kind, bar.start, bar.size) for bar in other.bars if bar.start}
        assert {
            (bar.index, bar.kind, bar.start, bar.size) for bar in each.bars if bar.start
        } == placed


def test_verbose_finds_what_sysfs_finds() -> None:
    """But for what lspci does not show: the console, who has it open, a BAR that is forgotten."""
    rows = report.scan(printed("vvnnk", Names()), Names())
    others = report.scan(facts.read(open_root(REAL)), Names())
    assert [row.address for row in rows] == [row.address for row in others]
    for row, other in zip(rows, others, strict=True):
        hidden = {"BOOT_VGA", "CARD_IN_USE", "BAR_UNASSIGNED"}
        assert set(row.blockers) == set(other.blockers) - hidden
        assert row.group_peers == other.group_peers


def test_with_drivers_only() -> None:
    read = printed("nnk", Names())
    known = real()
    assert {each.address: each.driver for each in read.functions} == {
        address: each.driver for address, each in known.items()
    }
    assert read.iommu.active is None


def test_plain_with_domains() -> None:
    read = printed("plain", Names(_needed_names()))
    known = real()
    found = {each.address: (each.vendor_id, each.product_id) for each in read.functions}
    assert found == {address: (each.vendor_id, each.product_id) for address, each in known.items()}


def _needed_names() -> bytes:
    """A pci.ids with just the names that the text has, from what -nnk prints of them."""
    vendors: dict[str, list[str]] = {}
    pattern = re.compile(r"^\S+ .*?\]: (.*) \[([0-9a-f]{4}):([0-9a-f]{4})\]", re.MULTILINE)
    names = {"8086": "Intel Corporation", "1af4": "Red Hat, Inc.", "1b36": "Red Hat, Inc."}
    names |= {"10de": "NVIDIA Corporation", "104c": "Texas Instruments"}
    names |= {"1002": "Advanced Micro Devices, Inc. [AMD/ATI]"}
    for text, vendor, product in pattern.findall(REAL.with_suffix(".nnk.txt").read_text()):
        line = f"\t{product}  {text.removeprefix(names[vendor]).strip()}\n"
        vendors.setdefault(vendor, []).append(line)
    return "".join(
        f"{vendor}  {names[vendor]}\n{''.join(sorted(set(lines)))}"
        for vendor, lines in sorted(vendors.items())
    ).encode()


VIRTUAL = """\
41:00.0 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)
\tCapabilities: [bcc v1] Single Root I/O Virtualization (SR-IOV)
\t\tInitial VFs: 32, Total VFs: 32, Number of VFs: 2, Function Dependency Link: 00
\t\tVF offset: 4, stride: 1, Device ID: 2235
41:00.4 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)
41:00.5 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)
41:00.6 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)
"""


def test_virtual_functions_are_cards_of_their_own() -> None:
    rows = report.scan(lspci.parse(VIRTUAL, Names()), Names())
    assert [(row.address, row.sriov, len(row.functions)) for row in rows] == [
        ("0000:41:00.0", "pf", 2),
        ("0000:41:00.4", "vf", 1),
        ("0000:41:00.5", "vf", 1),
    ]


def test_details_that_contradict_do_no_harm() -> None:
    text = (
        "00:01.0 PCI bridge [0604]: X [8086:0001]\n"
        "\tBus: primary=00, secondary=00, subordinate=ff, sec-latency=0\n"
        "00:02.0 3D controller [0302]: X [10de:1024]\n"
        "\tRegion 9: Memory at 0 (64-bit) [size=16M]\n"
        "\tRegion 1: Memory at ffffffffffffffffffffffff (64-bit) [size=99999999999999999G]\n"
        "\tRegion 1: Memory at <unassigned> (64-bit, prefetchable)\n"
        "\tLnkSta: Speed 99999GT/s, Width x999999\n"
        "\t\tInitial VFs: 1, Total VFs: 2, Number of VFs: 99999, Function Dependency Link: 00\n"
        "\t\tVF offset: 65535, stride: 65535, Device ID: 2235\n"
        "\tNUMA node: 99999999999\n\tIOMMU group: -1\n"
    )
    report.scan(lspci.parse(text, Names()), Names())


LINES = st.sampled_from(
    [
        *f"{SV}{OH}{BR}{VIRTUAL}".splitlines(),
        *REAL.with_suffix(".vvnnk.txt").read_text().splitlines(),
    ]
)


@given(st.lists(st.one_of(LINES, st.text(max_size=80)), max_size=30).map("\n".join))
@example("\x00")
@example("\n\t\n \n")
def test_any_text_is_read(text: str) -> None:
    """Nothing is raised, addresses are addresses, and what is shown is printable."""
    for names in (Names(), Names(PCI_IDS)):
        read = lspci.parse(text, names)
        for each in read.functions:
            assert re.fullmatch(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", each.address)
            assert re.fullmatch(r"[0-9a-f]{6}", each.class_id)
            assert re.fullmatch(r"[0-9a-f]{4}", each.vendor_id + "")
            for shown in (each.name, each.driver):
                assert shown is None or shown.isprintable()
        for gap in read.gaps:
            assert gap.problem.isprintable()
        report.scan(read, names)


@given(st.permutations(SV.splitlines() + OH.splitlines() + BR.splitlines()))
def test_order_of_lines_does_not_matter(lines: list[str]) -> None:
    ordered = lspci.parse(SV + OH + BR, Names()).functions
    assert lspci.parse("\n".join(lines), Names()).functions == ordered
