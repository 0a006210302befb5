"""An apply or a rollback that is killed at any moment: it can be gone on with, and gone back on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from model_host import ModelHost, debian, gtx_1080, off, red_hat

from gpufarm.host.apply import prepare, roll_back
from gpufarm.host.plan import plan
from gpufarm.host.target import Target
from gpufarm.model.errors import HostInterrupted, HostNotChanged
from gpufarm.model.host_spec import HostSpec
from gpufarm.system import journal

GTX_1080 = msgspec.convert(
    {"version": 1, "cards": [{"vendor_id": "10de", "product_id": "1b80"}]}, HostSpec
)
WITHOUT_AUDIO = msgspec.convert(
    {"version": 1, "cards": [{"address": "0000:42:00.0", "functions": "remove"}]}, HostSpec
)
NONE = msgspec.convert({"version": 1, "cards": []}, HostSpec)


Kinds = tuple[str, ...]
"""The kinds of steps that a case is about; none: all."""
Case = tuple[ModelHost, HostSpec, Kinds]


def bound(top: Path) -> Case:
    host = debian(top)
    gtx_1080(host)
    return host, GTX_1080, ()


def audio_removed(top: Path) -> Case:
    host = debian(top)
    gtx_1080(host)
    return host, WITHOUT_AUDIO, ("remove",)


def kernel_words(top: Path) -> Case:
    """RHEL with its IOMMU off: boot entries change, functions wait for the boot."""
    host = red_hat(top)
    gtx_1080(host)
    off(host)
    return host, GTX_1080, ("run",)


def given_back(top: Path) -> Case:
    """What was given away comes back by another spec, on top of the apply that gave it away."""
    host = debian(top)
    gtx_1080(host)
    prepare(host, WITHOUT_AUDIO)
    return host, NONE, ("absent", "release", "restore")


CASES = (bound, audio_removed, kernel_words, given_back)


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made: Callable[[Path], Case] = request.param
    return made(tmp_path / "first" / "root")


def without_journal(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in content.items() if not name.startswith("var/lib/gpufarm")
    }


def stopped(
    host: ModelHost, kinds: Kinds, change: Callable[[Target], Any]
) -> Iterator[tuple[ModelHost, str]]:
    """Copies of `host` on which `change` was killed at one moment each, and the moment's name."""
    whole = host.copy("whole")
    alike = alike_steps(whole, kinds)
    change(whole)
    names = whole.moments()
    alike = alike or alike_steps(whole, kinds)
    for number, name in enumerate(names, 1):
        if name.split()[-1].removeprefix(str(whole.top)) in alike:
            continue
        killed = host.copy(f"killed-{number}")
        killed.stop = number
        with pytest.raises(HostInterrupted):
            change(killed)
        yield killed, f"{number}: {name}"


def alike_steps(host: ModelHost, kinds: Kinds) -> set[str]:
    """Numbers and names of the steps that another one, or another case, stands for.

    Of the many that write a file the first two and the last are enough.
    """
    found = journal.parse("model", host.ask("show"))
    steps = [step for entry in found.entries for step in entry.steps]
    files = [step for step in steps if step.kind == "file"][2:-1]
    others = [step for step in steps if step in files or (kinds and step.kind not in kinds)]
    return {word for step in others for word in (f"{step.number:04d}", step.name)}


def original(host: ModelHost) -> ModelHost:
    """As it was before any apply."""
    taken_back = host.copy("original")
    roll_back(taken_back)
    return taken_back


def test_an_apply_that_is_killed_can_be_taken_back_and_gone_on_with(
    case: Case,
) -> None:
    host, spec, kinds = case
    before = original(host).content()
    wanted = host.copy("wanted")
    prepare(wanted, spec)
    after = without_journal(wanted.content())
    for killed, moment in stopped(host, kinds, lambda target: prepare(target, spec)):
        check_journal(killed, moment)
        other = killed.copy(f"{killed.top.parent.name}-again")
        roll_back(killed)
        assert killed.content() == before, moment
        prepare(other, spec)
        assert without_journal(other.content()) == after, moment
        assert not plan(other.facts(), spec).feasible, moment
        roll_back(other)
        assert other.content() == before, moment


def check_journal(host: ModelHost, moment: str) -> None:
    """It says how far the apply got."""
    found = journal.parse("model", host.ask("show"))
    if "begun" in moment or "carried out" in moment:
        assert found.unfinished, moment
    states = [step.state for step in found.entries[-1].steps] if found.entries else []
    assert states == sorted(states, key=["done", "begun", "waiting"].index), moment
    assert states.count("begun") <= 1, moment


def test_a_rollback_that_is_killed_goes_on(case: Case) -> None:
    host, spec, kinds = case
    before = original(host).content()
    prepare(host, spec)
    for killed, moment in stopped(host, kinds, roll_back):
        roll_back(killed)
        assert killed.content() == before, moment


def test_every_interruption_was_tried() -> None:
    """What the moments are named after: a step that is added brings its own."""
    text = (Path(__file__).parents[3] / "src/gpufarm/system/agent/verbs.sh").read_text()
    for word in ("orders taken", "before-image", "journal written", "begun", "carried out", "done"):
        assert f'moment "{word}' in text


def test_a_command_that_fails_leaves_what_was_done_and_says_what_it_said(tmp_path: Path) -> None:
    host, spec, _ = bound(tmp_path / "first" / "root")
    before = host.content()
    script = host.script
    host.script = lambda: script().replace(
        "update-initramfs | dracut)", "update-initramfs) call fails ;;\n  x)"
    )  # type: ignore[method-assign]
    with pytest.raises(
        HostNotChanged, match="update-initramfs -u -k all ended with status 1"
    ) as caught:
        prepare(host, spec)
    assert caught.value.warnings == ("no room",)
    assert host.driver("0000:42:00.0") == "nouveau"
    roll_back(host)
    assert host.content() == before
