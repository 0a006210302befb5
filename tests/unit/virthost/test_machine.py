"""Hardware of a virtual host: where cards appear, what cannot be, QEMU's command line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.lab.virthost import image, machine, qemu
from gpufarm.lab.virthost.cards import parse
from gpufarm.lab.virthost.machine import IOMMUS, Machine

CASES = Path(__file__).parents[2] / "cases" / "qemu"
MACHINES = {
    "nothing": Machine(name="h"),
    "no-iommu": Machine(name="h", iommu="none", cards=(parse("gtx1080"),)),
    "amd-at-addresses": Machine(
        name="h", iommu="amd", cards=(parse("k4200,address=84:00"), parse("k4200,address=88:00"))
    ),
    "shared": Machine(
        name="h", cards=(parse("gtx1080"), parse("k4200,group=shared"), parse("h100"))
    ),
    "large": Machine(
        name="h", memory_mb=4096, cpus=4, disks=(Path("/var/x,y.img"),), cards=(parse("a100"),)
    ),
}


def host(*cards: str) -> Machine:
    return Machine(name="h", cards=tuple(map(parse, cards)))


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_command_line(name: str, regenerate: bool) -> None:
    path = CASES / f"{name}.txt"
    lines = "".join(f"{word}\n" for word in qemu.arguments(MACHINES[name]))
    if regenerate:
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    assert lines == path.read_text()


def test_a_resumed_host_has_the_same_board_and_no_cards_yet() -> None:
    wanted = MACHINES["shared"]
    state = Path("/cache/state")
    resumed = qemu.arguments(wanted, incoming=state)
    assert resumed[-2:] == ("-incoming", "file:/cache/state")
    saved = qemu.arguments(Machine(name="h"))
    assert resumed[:-2] == saved
    booted = qemu.arguments(wanted)
    assert booted[: len(saved)] == saved
    plugs = [json.loads(word) for word in booted[len(saved) + 1 :: 2]]
    assert plugs == list(qemu.plugs(wanted))


def test_nothing_but_loopback_and_no_network() -> None:
    for each in MACHINES.values():
        words = qemu.arguments(each)
        networks = [words[n + 1] for n, word in enumerate(words) if word == "-netdev"]
        assert networks == ["user,id=n0,restrict=on"]
        assert "0.0.0.0" not in " ".join(words)  # noqa: S104


def test_each_card_is_where_it_is_said_to_be() -> None:
    wanted = host(
        "gtx1080", "k4200,group=shared", "h100,address=42:00", "k40c", "h100,group=shared"
    )
    slots = machine.slots(wanted)
    assert slots == ("0000:01:00", "0000:0c:00", "0000:42:00", "0000:02:00", "0000:0d:00")
    assert machine.disk_address(wanted) == "0000:0b:00.0"
    assert machine.disk_address(host("gtx1080")) is None
    assert machine.addressed_buses(wanted) == (0x42,)


def test_function_0_is_plugged_in_last() -> None:
    found = machine.plugged(host("rtx2080ti"))
    assert [each.number for each in found] == [3, 2, 1, 0]
    assert {each.port for each in found} == {"own1"}
    assert len({each.socket for each in found}) == 4


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        (["k40c"] * 9, "8 is the most"),
        (["k40c,group=shared"] * 4, "3 is the most"),
        (["k40c,address=42:01"], "only device 00"),
        (["k40c,address=0b:00"], "the board's own"),
        (["k40c,address=42:00", "k40c,address=42:00"], "needs its bus and that before"),
        (["k40c,address=42:00", "k40c,address=43:00"], "needs its bus and that before"),
        (["k40c,address=42:00,group=shared"], "exclude each other"),
    ],
)
def test_what_cannot_be(cards: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        machine.check(host(*cards))


@pytest.mark.parametrize(
    "name",
    [
        *("", "-", "a-", "-a", "A", "1", "ä", "a b", "a/b", "..", ".", "a.b", "a\n", "a" * 33),
        *("evil; rm -rf /", "$(reboot)", "a\0b", "a'b", 'a"b', "a,b", "--help", "*"),
    ],
)
def test_hostile_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        machine.check(Machine(name=name))


@given(st.from_regex(machine.NAME, fullmatch=True), st.sampled_from(IOMMUS))
def test_a_name_is_one_word_everywhere(name: str, iommu: machine.Iommu) -> None:
    machine.check(Machine(name=name, iommu=iommu))
    assert name.isascii()
    assert not set(name) & set(" ,;/'\"\n.$")


def test_little_memory() -> None:
    with pytest.raises(ValueError, match="512 is the least"):
        machine.check(Machine(name="h", memory_mb=100))


def test_what_resumes_and_what_boots() -> None:
    assert image.resumes(host("gtx1080", "k4200,group=shared"))
    assert not image.resumes(MACHINES["no-iommu"])
    assert not image.resumes(MACHINES["amd-at-addresses"])
    assert not image.resumes(MACHINES["large"])
    assert not image.resumes(host("gtx1080,address=42:00"))
