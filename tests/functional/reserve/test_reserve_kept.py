"""CPU and memory for free cards on the real Nova: kept from ordinary servers, whatever these do."""

import time

import pytest
from reserve_lab import GPU, PATIENCE, ReserveLab

from gpufarm.capacity import asking
from gpufarm.capacity.explain import Explanation
from gpufarm.capacity.facts import Question
from gpufarm.capacity.scheduler import from_settings
from gpufarm.cli import scheduler_source
from gpufarm.lab import farm as lab_farm
from gpufarm.lab import state as lab_state
from gpufarm_nova.lesson import Lesson, Request

pytestmark = [pytest.mark.lab, pytest.mark.split]

FREE = 4
HOST = "mixed-2"
KEPT = {"none": {"r.large": 8, "r.memory": 4}} | {
    mode: {"r.large": 6, "r.memory": 2} for mode in ("dynamic", "hard")
}
"""How many servers of a flavor start on empty hosts until one is refused."""

TWELVES = Lesson((Request((("rk40c", 1),), 2, 4096, 5), Request((), 12, 512, 20)))
"""Of what is left beside the cards, only multiples of 12 vCPU are of use."""


def keep(mixed: ReserveLab, mode: str) -> None:
    mixed.keep({"mode": "hard", "cpu_ratio": 4} if mode == "hard" else mode)


def explained(mixed: ReserveLab, flavor: str) -> Explanation:
    lab = lab_state.load(mixed.lab.state)
    found = from_settings(lab_farm.scheduler_settings(lab), "the lab")
    known = Question(scheduler=scheduler_source.with_lesson(found, ()))
    wish = asking.Wish(subject=flavor, image="r.image", known=known)
    return asking.answer(mixed.lab.connection, wish)[0]


def full(mixed: ReserveLab, host: str) -> list[str]:
    """Ordinary servers on `host` that leave what its two cards need, and nothing else."""
    made = [mixed.start(flavor, host=host) for flavor in (*["r.large"] * 3, "r.20")]
    assert all(made)
    return [each for each in made if each]


def test_placement_keeps_it_from_forced_servers_too(mixed: ReserveLab) -> None:
    keep(mixed, "hard")
    full(mixed, HOST)
    assert not mixed.start("r.1", availability_zone=f"nova:{HOST}")


@pytest.mark.parametrize("mode", ["hard", "none", "dynamic"])
def test_every_free_gpu_still_starts_where_room_is_kept_and_is_stranded_where_not(
    mixed: ReserveLab, mode: str
) -> None:
    keep(mixed, mode)
    for flavor, number in KEPT[mode].items():
        assert explained(mixed, flavor).can_start == number
        assert mixed.fill(flavor) == number
        refused = explained(mixed, flavor)
        assert not refused.admitted
        codes = {reason.code for reason in refused.reasons}
        assert ("RESERVED_FOR_GPU" in codes) == (mode != "none")
        with_cards = [mixed.start(GPU) for _ in range(FREE)]
        assert [bool(each) for each in with_cards] == [mode != "none"] * FREE
        mixed.clear()


@pytest.fixture
def dynamic(mixed: ReserveLab) -> ReserveLab:
    keep(mixed, "dynamic")
    return mixed


def test_the_scheduler_keeps_it_through_a_restart(dynamic: ReserveLab) -> None:
    for _ in range(3):
        assert dynamic.start("r.large")
    dynamic.end_schedulers()
    assert dynamic.fill("r.large") == 3
    assert all(dynamic.start(GPU) for _ in range(FREE))


def test_moves_of_ordinary_servers_leave_it(dynamic: ReserveLab) -> None:
    *_, last = full(dynamic, HOST)
    server = dynamic.start("r.1", host="mixed-1")
    assert server
    moves = ({"migrate": {"host": None}}, {"resize": {"flavorRef": dynamic.flavor("r.2")}})
    for move in moves:
        dynamic.act(server, **move)
        found = dynamic.settled(server)
        assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "mixed-1")
    dynamic.delete(last)
    for move in moves:
        assert dynamic.act(server, **move)
        found = dynamic.settled(server)
        assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", HOST)
        assert dynamic.act(server, revertResize=None)
        assert dynamic.settled(server)["status"] == "ACTIVE"


def test_a_shelved_server_that_comes_back_leaves_it(dynamic: ReserveLab) -> None:
    *_, last = full(dynamic, HOST)
    assert dynamic.act(last, shelve=None)
    assert dynamic.settled(last)["status"] == "SHELVED_OFFLOADED"
    other = dynamic.start("r.20", host=HOST)
    assert other
    dynamic.act(last, unshelve={"host": HOST})
    assert dynamic.settled(last)["status"] == "SHELVED_OFFLOADED"
    dynamic.delete(other)
    assert dynamic.act(last, unshelve={"host": HOST})
    assert dynamic.settled(last)["status"] == "ACTIVE"


def test_a_forced_host_is_taken_past_every_filter_as_nova_has_it(dynamic: ReserveLab) -> None:
    full(dynamic, HOST)
    assert not dynamic.start("r.1", host=HOST)
    assert dynamic.start("r.1", availability_zone=f"nova:{HOST}")


@pytest.mark.parametrize("lesson", [None, TWELVES], ids=["flavors alone", "learned"])
def test_nova_takes_the_host_that_explain_names_first(
    dynamic: ReserveLab, lesson: Lesson | None
) -> None:
    """Nova's own weighers would spread the servers, and decide between hosts that lose the same."""
    if lesson:
        dynamic.teach(lesson)
    taken: list[str] = []
    decided = 0
    for flavor in (GPU, GPU, "r.5", "r.5", "r.12", GPU, "r.16", "r.20", GPU, "r.12"):
        hosts = explained(dynamic, flavor).preferred
        best = [each.host for each in hosts if each.loss == hosts[0].loss]
        server = dynamic.start(flavor)
        assert server, flavor
        taken.append(dynamic.server(server)["OS-EXT-SRV-ATTR:host"])
        assert taken[-1] in best, (flavor, hosts)
        decided += len(best) < len(hosts)
    assert decided >= 5
    # With the second of r.5, 82 vCPU would be left of the first one's host: ten of no use.
    assert (taken[2] == taken[3]) == (lesson is None)


def test_a_card_that_is_cordoned_keeps_nothing(dynamic: ReserveLab) -> None:
    full(dynamic, HOST)
    assert not dynamic.start("r.2", host=HOST)
    card = ("0000:86:00.0", "--host", HOST)
    dynamic.lab.run("card", "cordon", *card, "--reason", "a test")
    try:
        deadline = time.monotonic() + PATIENCE
        # What the scheduler knows of cordons is as old as refresh_seconds says.
        while not dynamic.start("r.2", host=HOST):
            assert time.monotonic() < deadline
        assert not dynamic.start("r.1", host=HOST)
    finally:
        dynamic.lab.run("card", "uncordon", *card)
