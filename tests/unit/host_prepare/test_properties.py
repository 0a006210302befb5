"""Whatever a host and its specs are like: a plan ends, and everything can be taken back."""

import string
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from model_host import ModelHost, debian, off, red_hat

from gpufarm.host import orders, ours
from gpufarm.host.apply import prepare, roll_back
from gpufarm.host.ours import Given
from gpufarm.host.plan import plan
from gpufarm.model.errors import HostRefused
from gpufarm.model.facts import (
    Boot,
    BootEntry,
    ConfigFile,
    HostFacts,
    Iommu,
    IommuGroup,
    Kernel,
    Parameter,
    PciFunction,
)
from gpufarm.model.host_change import RunCommand
from gpufarm.model.host_spec import HostSpec

SLOTS = ("0000:42:00", "0000:43:00", "0001:84:00")
MODELS = (
    (("10de:1b80", "030000", "nouveau"), ("10de:10f0", "040300", "snd_hda_intel")),
    (("10de:2330", "030200", "nouveau"),),
    (("1002:73bf", "030000", "amdgpu"), ("1002:ab28", "040300", "snd_hda_intel")),
)

models = st.lists(st.sampled_from(MODELS), min_size=1, max_size=3)
choices = st.one_of(
    st.fixed_dictionaries(
        {"address": st.sampled_from([f"{slot}.0" for slot in SLOTS])},
        optional={"functions": st.sampled_from(["bind", "remove"])},
    ),
    st.sampled_from(
        [
            {"vendor_id": "10de", "product_id": "1b80"},
            {"vendor_id": "10de", "product_id": "2330"},
            {"model": "GeForce GTX 1080"},
        ]
    ),
)
specs = st.fixed_dictionaries(
    {"version": st.just(1), "cards": st.lists(choices, max_size=2)},
    optional={
        "method": st.sampled_from(["vfio-pci", "pci-stub"]),
        "iommu_passthrough": st.booleans(),
    },
).map(lambda content: msgspec.convert(content, HostSpec))


@st.composite
def hosts(draw: st.DrawFn, top: Path) -> ModelHost:
    host = draw(st.sampled_from([debian, red_hat]))(top)
    for group, (slot, model) in enumerate(zip(SLOTS, draw(models), strict=False)):
        for number, (ids, class_id, driver) in enumerate(model):
            loaded = draw(st.booleans())
            host.add_function(
                f"{slot}.{number}",
                ids,
                class_id,
                group=group,
                wanted_by=driver,
                driver=driver if loaded else None,
            )
    if draw(st.booleans()):
        off(host)
    return host


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), first=specs, second=specs)
def test_one_spec_after_the_other_and_back(
    data: st.DataObject, first: HostSpec, second: HostSpec
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = data.draw(hosts(Path(folder) / "one" / "root"))
        before = host.content()
        applied = False
        for spec in (first, second):
            try:
                prepare(host, spec)
            except HostRefused:
                continue
            applied = True
            found = plan(host.facts(), spec)
            assert found.feasible == ()
            assert found.refusals == ()
        assume(applied)
        roll_back(host)
        assert host.content() == before


def test_a_function_that_was_removed_comes_back_to_be_bound(tmp_path: Path) -> None:
    host = debian(tmp_path / "root")
    for number, (ids, class_id, driver) in enumerate(MODELS[0]):
        address = f"{SLOTS[0]}.{number}"
        host.add_function(address, ids, class_id, group=0, wanted_by=driver, driver=driver)
    before = host.content()
    for functions in ("remove", "bind"):
        card = {"address": f"{SLOTS[0]}.0", "functions": functions}
        spec = msgspec.convert({"version": 1, "cards": [card]}, HostSpec)
        prepare(host, spec)
        assert plan(host.facts(), spec).feasible == ()
    drivers = {each.address: each.driver for each in host.facts().functions}
    assert drivers[f"{SLOTS[0]}.1"] == "vfio-pci"
    roll_back(host)
    assert host.content() == before


HOSTILE = "evil; rm -rf / $(reboot) `reboot` ' \" \\ \n\t\x1b[2J \udcff"
hostile = st.one_of(
    st.just(HOSTILE), st.text(max_size=20).map(lambda text: f"evil{text}"), st.just("evil")
)


@st.composite
def hostile_facts(draw: st.DrawFn) -> HostFacts:
    """Facts whose every text is another's, with a mark in it."""
    functions = tuple(
        PciFunction(
            address=f"0000:42:00.{number}",
            vendor_id="10de",
            product_id=product_id,
            class_id=class_id,
            driver=draw(hostile),
            driver_override=draw(hostile),
            modalias=draw(hostile),
            name=draw(hostile),
            iommu_group=1,
        )
        for number, product_id, class_id in ((0, "1b80", "030000"), (1, "10f0", "040300"))
    )
    words = (Parameter(name=draw(hostile), value=draw(hostile)),)
    files = tuple(ConfigFile(path=path, text=draw(hostile)) for path in ours.PATHS)
    tools = frozenset(("update-grub", "update-initramfs", "grubby", "dracut"))
    return HostFacts(
        origin=draw(hostile),
        functions=functions,
        iommu=Iommu(
            active=draw(st.booleans()),
            firmware_tables=("DMAR",),
            groups=(IommuGroup(number=1, addresses=tuple(each.address for each in functions)),),
        ),
        kernel=Kernel(release=draw(hostile), cmdline=words),
        boot=Boot(
            loader=draw(st.sampled_from(["grub", "bls"])),
            initramfs=draw(st.sampled_from(["initramfs-tools", "dracut"])),
            next=BootEntry(path=draw(hostile), cmdline=words),
            files=files,
            tools=tools,
        ),
    )


@settings(max_examples=300, deadline=None)
@given(facts=hostile_facts(), spec=specs)
def test_no_text_of_a_host_reaches_its_agent(facts: HostFacts, spec: HostSpec) -> None:
    encoded = orders.encode(plan(facts, spec).feasible).decode()
    assert "evil" not in encoded
    assert set(encoded) <= set(string.printable)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            Given,
            st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", fullmatch=True),
            st.from_regex(r"[0-9a-f]{4}", fullmatch=True),
            st.from_regex(r"[0-9a-f]{4}", fullmatch=True),
            st.sampled_from(["vfio-pci", "pci-stub", None]),
        ),
        unique=True,
    )
)
def test_the_list_of_functions_says_what_was_written(given_away: list[Given]) -> None:
    found = list(ours.parse_functions(ours.functions_text(given_away)))
    assert len(found) == len(given_away)
    assert set(found) == set(given_away)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_whatever_is_in_our_files_they_can_be_read(text: str) -> None:
    list(ours.parse_functions(text))
    ours.parse_words(text)


@pytest.mark.parametrize("value", ["a\nb", "a\0b"])
def test_a_line_break_is_never_sent_as_two_values(value: str) -> None:
    found: dict[str, Any] = {"reason": "", "alters": (), "undo": ()}
    with pytest.raises(ValueError, match="line break"):
        orders.encode([RunCommand(words=(value,), **found)])
