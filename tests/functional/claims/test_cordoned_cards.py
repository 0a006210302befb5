"""Cards closed and opened while Nova runs, and across its restarts."""

from typing import Any

import pytest
from claims_lab import HOSTS, ClaimsLab

pytestmark = [pytest.mark.lab, pytest.mark.split]

ADDRESS = "0000:05:00.0"
ONCE = "0000:08:00.0"


def cards(lab: ClaimsLab, host: str = HOSTS[0]) -> dict[str, Any]:
    return {row["address"]: row for row in lab.json("card", "list", "--host", host)}


def free(lab: ClaimsLab, host: str = HOSTS[0]) -> int:
    shown = lab.json("capacity")["cards"]
    return sum(row["free"] for row in shown if row["host"] == host and row["card"] == "h100")


def cordon(lab: ClaimsLab, address: str = ADDRESS) -> None:
    lab.run("card", "cordon", address, "--host", HOSTS[0], "--reason", "ECC errors, größer")


def uncordon(lab: ClaimsLab, address: str, *more: str, check: bool = True) -> Any:
    return lab.run("card", "uncordon", address, "--host", HOSTS[0], *more, check=check)


def test_a_cordoned_card_is_given_to_nobody_and_says_why(broken: ClaimsLab) -> None:
    cordon(broken)
    row = cards(broken)[ADDRESS]
    assert (row["state"], row["cordoned_by"], row["reason"]) == (
        "cordoned",
        "admin",
        "ECC errors, größer",
    )
    assert free(broken) == 2
    for name in ("one", "two"):
        broken.boot("t.one", name=name)
    assert cards(broken)[ADDRESS]["holders"] == []
    refused = broken.boot("t.one", name="three", wait=False)
    broken.until(refused, "ERROR")
    uncordon(broken, ADDRESS)
    broken.boot("t.one", name="four")
    assert cards(broken)[ADDRESS]["state"] == "used"


def test_a_server_keeps_its_card_and_the_cordon_outlives_nova_compute(broken: ClaimsLab) -> None:
    holder = broken.boot("t.one")
    (address,) = [key for key, row in cards(broken).items() if row["holders"] == [holder]]
    cordon(broken, address)
    assert cards(broken)[address]["state"] == "used"
    broken.kill(HOSTS[0])
    broken.run("lab", "up")
    assert broken.server(holder)["status"] == "ACTIVE"
    broken.delete(holder)
    # nova-compute has reported its inventory since: at its start, and when the server left.
    assert cards(broken)[address]["state"] == "cordoned"
    uncordon(broken, address)
    assert cards(broken)[address]["state"] == "free"


def test_all_cards_of_a_host(broken: ClaimsLab) -> None:
    broken.run("host", "cordon", HOSTS[0], "--reason", "new firmware")
    assert {row["state"] for row in cards(broken).values()} == {"cordoned"}
    assert {row["state"] for row in cards(broken, HOSTS[1]).values()} == {"free"}
    broken.run("host", "cordon", HOSTS[0], "--reason", "again")
    assert {row["reason"] for row in cards(broken).values()} == {"new firmware"}
    broken.run("host", "uncordon", HOSTS[0])
    assert {row["state"] for row in cards(broken).values()} == {"free"}


def test_a_one_time_use_card_waits_to_be_cleaned_and_is_no_cordon(broken: ClaimsLab) -> None:
    broken.delete(broken.boot("t.once"))
    row = cards(broken)[ONCE]
    assert (row["state"], row["reason"]) == ("cleaning", None)
    done = uncordon(broken, ONCE, check=False)
    assert done.returncode == 1
    assert "--cleaned" in done.stderr
    cordon(broken, ONCE)
    assert cards(broken)[ONCE]["state"] == "cordoned"
    assert "waiting to be cleaned" in uncordon(broken, ONCE).stderr
    assert cards(broken)[ONCE]["state"] == "cleaning"
    uncordon(broken, ONCE, "--cleaned")
    assert cards(broken)[ONCE]["state"] == "free"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("card", "cordon", "0000:99:00.0", "--host", HOSTS[0], "--reason", "x"), 1, "no card"),
        (("card", "cordon", ADDRESS, "--host", "nowhere", "--reason", "x"), 1, "nowhere"),
        (("card", "cordon", "half", "--host", HOSTS[0], "--reason", "x"), 1, "no PCI address"),
        (("card", "cordon", ADDRESS, "--host", HOSTS[0], "--reason", " "), 64, "--reason"),
        (("card", "cordon", ADDRESS, "--host", HOSTS[0]), 64, "--reason"),
        (("card", "uncordon", ADDRESS, "--host", HOSTS[0]), 1, "is not cordoned"),
        (("card", "cordon", ADDRESS, "--host", HOSTS[0], "--reason", "x" * 300), 1, "shorter"),
    ],
)
def test_what_cannot_be_done_is_said(
    split_lab: ClaimsLab, words: tuple[str, ...], status: int, said: str
) -> None:
    done = split_lab.run(*words, check=False)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert split_lab.json("card", "list", "--host", HOSTS[0])[0]["state"] == "free"
