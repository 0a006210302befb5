"""What the log of a nova-compute says of a card, in the words of libvirt, QEMU and the kernel."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.capacity import faults

CASES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[2] / "cases" / "compute_logs").glob("*.yaml"))
}
LOGS = [case["log"] for case in CASES.values()]


@pytest.mark.parametrize("name", CASES)
def test_a_cause_names_host_card_and_meaning_once(name: str) -> None:
    log, says = CASES[name]["log"], CASES[name]["says"]
    (reason,) = faults.in_log("real-1", log + log)
    assert (reason.host, reason.message, reason.blocks) == ("real-1", says, False)


def test_every_cause_has_a_case() -> None:
    """What each pattern says that is not filled in stands in a case."""
    said = "\n".join(case["says"] for case in CASES.values())
    for _, meaning in faults._IN_LOGS:
        assert max(meaning.replace("}", "{").split("{"), key=len) in said


def test_a_log_that_names_no_card_says_nothing() -> None:
    assert faults.in_log("real-1", "INFO nova.compute.manager Took 9 seconds to spawn\n") == ()


@given(st.text() | st.sampled_from(LOGS).flatmap(lambda x: st.text().map(lambda y: y + x + y)))
def test_no_log_moves_the_terminal(log: str) -> None:
    for reason in faults.in_log("real-1", log):
        assert reason.message.isprintable()
