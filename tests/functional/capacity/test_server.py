"""`gpufarm server create`: asked first, followed, explained (SC-6)."""

import json
import subprocess
import sys

import pytest
from gpu_farm import Create, create_words, delete_servers
from running_lab import RunningLab

from gpufarm.capacity import admission, boot
from gpufarm.model.errors import NotAdmitted, ServerFailed
from gpufarm.model.server import Order

pytestmark = pytest.mark.lab

ALL_IN_USE = (
    "error: flavor t.1080: all 2 of 2 t1080 cards (CUSTOM_PCI_10DE_1B80) are in use on 1 host; it "
    "needs 1: delete a server that holds one, or add cards"
)


def test_until_the_cards_are_gone(farm: RunningLab, create: Create) -> None:
    """SC-6: an error that says that all are in use; after one is deleted the next one starts."""
    first, second = create("t-1", "t.1080"), create("t-2", "t.1080")
    assert first["status"] == second["status"] == "ACTIVE"
    assert first["host"] == second["host"] == "gtx1080-01"
    assert len(first["cards"] + second["cards"]) == len({*first["cards"], *second["cards"]}) == 2

    refused = farm.run(*create_words("t-3", "t.1080"), check=False)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1] == ALL_IN_USE
    assert farm.connection.compute.find_server("t-3") is None

    delete_servers(farm, "t-1")
    third = create("t-3", "t.1080")
    assert third["cards"] == first["cards"]


def test_up_is_what_was_asked_for(farm: RunningLab, create: Create) -> None:
    """A simulated guest prints nothing and has no address: that is said (SC-4)."""
    made = create("t-1", "t.k40c", "--until", "active")
    words = [*create_words("t-1", "t.k40c"), "--or-show", "--timeout", "1"]
    for sign, said in (
        ("ssh", "it is ACTIVE and has no address"),
        ("console", "'login:' or 'guest: ready' on its console did not come within 1 seconds"),
    ):
        done = farm.run(*words, "--until", sign, check=False)
        assert done.returncode == 1
        assert said in done.stderr
    shown = json.loads(farm.run("server", "verify", made["id"], "-f", "json").stdout)
    results = {row["check"]: row["result"] for row in shown}
    assert results.pop("KVM hidden") == "ok"
    assert set(results.values()) == {"not checked"}


def test_an_ordinary_server(create: Create) -> None:
    made = create("t-plain", "t.plain")
    assert made["status"] == "ACTIVE"
    assert made["cards"] == []
    assert made["image"] == "t.image"


def test_the_same_again(farm: RunningLab, create: Create) -> None:
    first = create("t-1", "t.k40c", "--or-show")
    assert create("t-1", "t.k40c", "--or-show") == first
    assert len(list(farm.connection.compute.servers())) == 1


def test_free_cards_on_a_host_that_is_too_small(farm: RunningLab) -> None:
    refused = farm.run(*create_words("t-1", "t.k40c-large"), check=False)
    assert refused.returncode == 2
    assert "1 tk40c (CUSTOM_PCI_10DE_1024) free on k40c-01" in refused.stderr
    assert "MB of memory" in refused.stderr


def test_another_shell_takes_the_last_card(
    farm: RunningLab, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova fails after admission said yes: the cards are named all the same."""
    create("t-1", "t.k40c")
    real, first = admission.refusal, iter([True])
    monkeypatch.setattr(
        admission, "refusal", lambda *given: None if next(first, None) else real(*given)
    )
    order = Order(name="t-2", flavor="t.k40c", image="t.image", network="none")
    with pytest.raises(ServerFailed, match="all 1 of 1 tk40c cards") as failed:
        boot.boot(farm.connection, order, lambda _: None, lambda _: None)
    assert "openstack server delete" in str(failed.value)
    with pytest.raises(ServerFailed, match="all 1 of 1 tk40c cards"):
        boot.existing(farm.connection, order, lambda _: None, lambda _: None)
    with pytest.raises(NotAdmitted):
        boot.boot(farm.connection, order, lambda _: None, lambda _: None)


def test_two_at_once(farm: RunningLab) -> None:
    """Of two that want the last card one gets it; the other is told about cards either way."""
    words = [sys.executable, "-m", "gpufarm"]
    running = [
        subprocess.Popen(
            [*words, *create_words(name, "t.k40c")],
            env=farm.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("t-1", "t-2")
    ]
    said = [each.communicate(timeout=120)[1] for each in running]
    statuses = [each.returncode for each in running]
    assert statuses.count(0) == 1, said
    loser = said[1 - statuses.index(0)]
    assert "1 of 1 tk40c cards (CUSTOM_PCI_10DE_1024) are in use" in loser


def test_a_host_that_fails(farm: RunningLab) -> None:
    farm.run("lab", "fault", "k40c-01", "spawn", "--fail", "the card is on fire")
    try:
        failed = farm.run(*create_words("t-1", "t.k40c"), check=False)
    finally:
        farm.run("lab", "fault", "k40c-01", "spawn", "--clear")
    assert failed.returncode == 1
    assert "server t-1: Nova could not start it" in failed.stderr
    assert "nova-compute" in failed.stderr


def test_a_host_that_is_slow(farm: RunningLab) -> None:
    farm.run("lab", "fault", "k40c-01", "spawn", "--delay", "5")
    try:
        left = farm.run(*create_words("t-1", "t.k40c"), "--timeout", "1.5", check=False)
    finally:
        farm.run("lab", "fault", "k40c-01", "spawn", "--clear")
    assert left.returncode == 1
    assert "still BUILD" in left.stderr
    shown = farm.run(*create_words("t-1", "t.k40c"), "--or-show", "-f", "value", "-c", "status")
    assert shown.stdout == "ACTIVE\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--flavor", "t.none", "no flavor 't.none': there are: "),
        ("--image", "t.none", "no image 't.none'"),
        ("--network", "t.none", "no network 't.none'"),
    ],
)
def test_what_is_not_there(farm: RunningLab, option: str, value: str, said: str) -> None:
    done = farm.run(*create_words("t-1", "t.plain"), option, value, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert list(farm.connection.compute.servers()) == []
