"""Settings by role and release, and what the real Nova reads in them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import iniparser

from gpufarm.model import consistency, release
from gpufarm.model import farm as model
from gpufarm.model import settings as values
from gpufarm.model.errors import FeatureMissing
from gpufarm.model.farm import Farm, flavor_properties
from gpufarm.model.reserve import Machine
from gpufarm.nova import plan, settings

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/farm.yaml"))
READ_WITH_NOVA = Path(__file__).with_name("read_with_nova.py")


def a_farm(**parts: Any) -> Farm:
    document = {"version": 1, "name": "ours", "release": 34, **parts}
    farm = msgspec.convert(document, Farm)
    consistency.check(farm)
    return farm


def a_card(**parts: Any) -> dict[str, Any]:
    return {"k40c": {"vendor_id": "10de", "product_id": "1024", **parts}}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_what_a_host_offers_is_read_back_from_its_settings(path: Path) -> None:
    farm = model.read(path)
    for host in (None, *model.named_hosts(farm)):
        written = values.parse(values.render(settings.compute(farm, host)))
        assert settings.offered(written) == {
            card.placement_class
            for card in farm.cards.values()
            if settings.offers(farm, card, host)
        }


EVERY_FIELD = {
    "device_type": "type-PF",
    "numa_policy": "socket",
    "resource_class": "CUSTOM_GPU",
    "traits": ["CUSTOM_A", "CUSTOM_B"],
    "managed": False,
    "live_migratable": True,
    "one_time_use": True,
}


def both_roles(farm: Farm) -> values.Settings:
    host = min(model.named_hosts(farm), default=None)
    return values.merge(settings.controller(farm), settings.compute(farm, host))


@pytest.fixture(scope="module")
def nova_reads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real Nova reads, by name of the example or of the case."""
    folder = tmp_path_factory.mktemp("nova")
    farms = {path.parent.name: model.read(path) for path in EXAMPLES}
    farms["every field"] = a_farm(cards=a_card(**EVERY_FIELD))
    orders: dict[str, dict[str, Any]] = {}
    for name, farm in farms.items():
        file = folder / f"{name}.conf"
        file.write_text(values.render(both_roles(farm), "read by the real Nova"))
        flavors = [flavor_properties(farm, flavor) for flavor in farm.flavors.values()]
        specs = {key: value for flavor in flavors for key, value in flavor.items()}
        orders[name] = {"files": [str(file)], "extra_specs": specs}
    orders["two files"] = {"files": [], "extra_specs": {}}
    for part in (settings.controller, lambda farm: settings.compute(farm, None)):
        file = folder / f"two-{len(orders['two files']['files'])}.conf"
        file.write_text(values.render(part(farms["every field"])))
        orders["two files"]["files"].append(str(file))
    done = subprocess.run(
        [sys.executable, str(READ_WITH_NOVA)],
        input=json.dumps(list(orders.values())),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(orders, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_real_nova_takes_what_the_examples_say(path: Path, nova_reads: dict[str, Any]) -> None:
    farm = model.read(path)
    read = nova_reads[path.parent.name]
    assert "error" not in read, read
    assert set(read["aliases"]) == set(farm.cards)
    assert {(spec["vendor_id"], spec["product_id"]) for spec in read["device_specs"]} <= {
        (card.vendor_id, card.product_id) for card in farm.cards.values()
    }
    assert read["device_specs"]
    assert read["report_in_placement"] is True
    assert read["pci_in_placement"] is True
    assert read["enabled_filters"][:5] == list(release.DEFAULT_FILTERS)
    assert read["spice"] is (farm.console == "spice")
    assert read["vnc"] is (farm.console != "spice")


def test_the_real_nova_takes_every_field_of_a_card(nova_reads: dict[str, Any]) -> None:
    read = nova_reads["every field"]
    policy, (spec,) = read["aliases"]["k40c"]
    assert policy == "socket"
    assert spec == {
        "vendor_id": "10de",
        "product_id": "1024",
        "dev_type": "type-PF",
        "resource_class": "CUSTOM_GPU",
        "traits": "CUSTOM_A,CUSTOM_B",
        "live_migratable": "true",
    }
    assert read["device_specs"] == [
        {
            "vendor_id": "10de",
            "product_id": "1024",
            "resource_class": "CUSTOM_GPU",
            "traits": "CUSTOM_A,CUSTOM_B",
            "managed": "false",
            "live_migratable": "true",
            "one_time_use": "true",
        }
    ]


def test_nova_itself_refuses_an_alias_in_two_files(nova_reads: dict[str, Any]) -> None:
    """Why an all-in-one machine gets one merged file."""
    assert "have multiple specs" in nova_reads["two files"]["error"]


def test_a_host_offers_its_own_cards_only() -> None:
    farm = a_farm(
        cards={
            "k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": ["a"]},
            "k2": {"vendor_id": "10de", "product_id": "11bf", "aggregates": ["GPU"]},
            "any": {"vendor_id": "10de", "product_id": "1b80"},
        },
        aggregates={"GPU": {"hosts": ["b", "a"]}},
    )

    def offered(host: str | None) -> list[str]:
        specs = settings.compute(farm, host).sections["pci"].get("device_spec", ())
        return [json.loads(spec)["product_id"] for spec in specs]

    assert offered("a") == ["1024", "11bf", "1b80"]
    assert offered("b") == ["11bf", "1b80"]
    assert offered("c") == offered(None) == ["1b80"]
    for host in ("a", "b", None):
        assert len(settings.compute(farm, host).sections["pci"]["alias"]) == 3


@pytest.mark.parametrize("number", release.NAMES)
def test_each_release_is_asked_for_what_it_knows(number: int) -> None:
    for feature, since in release.SINCE.items():
        parts = {"cards": a_card(**{feature: True}), "release": number}
        if number < since:
            with pytest.raises(FeatureMissing, match=rf"{feature} exists since Nova {since}"):
                a_farm(**parts)
        else:
            (spec,) = settings.compute(a_farm(**parts), None).sections["pci"]["device_spec"]
            assert json.loads(spec)[feature] == "yes"
    plain = settings.compute(a_farm(cards=a_card(), release=number), None)
    assert set(json.loads(plain.sections["pci"]["device_spec"][0])) == {"vendor_id", "product_id"}


@pytest.mark.parametrize("number", release.NAMES)
def test_a_release_may_be_written_in_three_ways(number: int) -> None:
    for written in (number, str(number), release.NAMES[number], float(release.NAMES[number])):
        assert a_farm(release=written).nova == number


def test_without_cards_computes_go_on_reporting() -> None:
    farm = a_farm()
    assert settings.compute(farm, None).flat() == {"[pci] report_in_placement": ["true"]}
    assert "pci" not in settings.controller(farm).sections


def test_filters_are_novas_and_ours_and_the_files_each_once() -> None:
    flavor = {"vcpus": 1, "memory_mb": 1, "disk_gb": 0}
    farm = a_farm(
        flavors={"m1": flavor | {"aggregate": {"gpu": "true"}}},
        extra_filters=["IoOpsFilter", "ComputeFilter", "PciPassthroughFilter"],
    )
    assert settings.filters(farm) == (
        *release.DEFAULT_FILTERS,
        "PciPassthroughFilter",
        "NUMATopologyFilter",
        "AggregateInstanceExtraSpecsFilter",
        "IoOpsFilter",
    )
    assert "AggregateInstanceExtraSpecsFilter" not in settings.filters(a_farm())


@pytest.mark.parametrize(
    ("console", "vnc", "spice"), [("vnc", "true", "false"), ("spice", "false", "true")]
)
def test_one_console_switches_the_other_off_on_both_roles(
    console: str, vnc: str, spice: str
) -> None:
    farm = a_farm(console=console)
    for part in (settings.controller(farm), settings.compute(farm, None)):
        assert part.sections["vnc"] == {"enabled": (vnc,)}
        assert part.sections["spice"] == {"enabled": (spice,)}
    assert "vnc" not in settings.controller(a_farm()).sections


@pytest.mark.parametrize(
    ("number", "count", "expected"),
    [
        (34, 4, []),
        (34, 5, ["placement", "workarounds"]),
        (32, 8, ["placement", "workarounds"]),
        (31, 8, ["placement"]),
    ],
)
def test_placement_is_helped_where_a_flavor_asks_for_many_cards(
    number: int, count: int, expected: list[str]
) -> None:
    flavor = {"vcpus": 1, "memory_mb": 1, "disk_gb": 0, "cards": {"k40c": count}}
    farm = a_farm(release=number, cards=a_card(), flavors={"g": flavor})
    assert list(settings.placement(farm).sections) == expected


def test_placement_knows_the_options_that_it_is_given() -> None:
    from oslo_config import cfg
    from placement import conf as placement_conf

    flavor = {"vcpus": 1, "memory_mb": 1, "disk_gb": 0, "cards": {"k40c": 8}}
    part = settings.placement(a_farm(cards=a_card(), flavors={"g": flavor}))
    config = cfg.ConfigOpts()
    placement_conf.register_opts(config)
    for section, options in part.sections.items():
        for option, (value,) in options.items():
            config.set_override(option, value, group=section)


class Parser(iniparser.BaseParser):  # type: ignore[misc]
    """oslo.config's own reading of a file."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, str, str]] = []
        self.section = ""

    def new_section(self, section: str) -> None:
        self.section = section

    def assignment(self, key: str, value: list[str]) -> None:
        self.read.append((self.section, key, "\n".join(value)))


names = st.sampled_from(["a", "enabled", "max_x", "pci", "Z9"])
# oslo.config takes a pair of quotes around a value off; none of ours begins with one.
texts = (
    st.text("aZ09{}[]\"':,;#=%$ \\äß大", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda text: text and text[0] not in "\"'")
)
options = st.dictionaries(
    names, st.lists(texts, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3
)
sections = st.dictionaries(names, options, min_size=1, max_size=3)


@given(sections)
def test_what_is_rendered_is_read_back_by_us_and_by_oslo_config(
    content: dict[str, dict[str, tuple[str, ...]]],
) -> None:
    part = values.Settings(content)
    text = values.render(part, "a comment\nof two lines")
    assert values.parse(text) == part
    parser = Parser()
    parser.parse(text.splitlines(keepends=True))
    assert parser.read == [
        (section, option, value)
        for section, options in content.items()
        for option, several in options.items()
        for value in several
    ]


@given(sections, sections)
def test_merging_keeps_every_value_once(
    one: dict[str, dict[str, tuple[str, ...]]], other: dict[str, dict[str, tuple[str, ...]]]
) -> None:
    merged = values.merge(values.Settings(one), values.Settings(other), values.Settings(one)).flat()
    for part in (one, other):
        for name, several in values.Settings(part).flat().items():
            assert set(several) <= set(merged[name])
    assert all(len(several) == len(set(several)) for several in merged.values())


def test_settings_that_are_in_place_need_no_change() -> None:
    farm = a_farm(cards=a_card(hosts=["a"]))
    now = plan.wanted(farm, ["controller", "compute/a", "compute/b", "placement"])
    assert plan.plan(farm, now) == ()
    assert plan.plan(farm, {role: f"# note\n{text}\n\n" for role, text in now.items()}) == ()


def test_settings_that_differ_are_shown_field_by_field() -> None:
    old = a_farm(cards=a_card(hosts=["a"]))
    new = a_farm(cards=a_card(hosts=["b"]))
    now = plan.wanted(old, ["controller", "compute/a", "compute/b"]) | {"compute/c": ""}
    changes = {change.name: change for change in plan.plan(new, now)}
    assert set(changes) == {"compute/a", "compute/b", "compute/c"}
    spec = '{"vendor_id": "10de", "product_id": "1024"}'
    field = changes["compute/a"].changes[0]
    assert (field.field, field.from_, field.to) == ("[pci] device_spec", [spec], None)
    assert changes["compute/a"].action == "change"
    assert changes["compute/c"].action == "create"


def test_a_role_that_no_cloud_has() -> None:
    for role in ("compute/", "compute", "everything"):
        with pytest.raises(ValueError, match=role):
            plan.of_role(a_farm(), role)


GPU_FLAVORS = {
    "g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 1}},
    "g2": {"vcpus": 6, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 2}},
}


def test_a_dynamic_reserve_is_the_schedulers() -> None:
    farm = a_farm(
        cards=a_card(),
        flavors=GPU_FLAVORS,
        reserve={"mode": "dynamic", "share": 0.8},
        extra_filters=["JsonFilter"],
    )
    sections = settings.controller(farm).sections
    assert sections["filter_scheduler"]["available_filters"] == (
        "nova.scheduler.filters.all_filters",
        "gpufarm_nova.filter.GpuReserveFilter",
    )
    assert sections["filter_scheduler"]["enabled_filters"][0].endswith(
        ",JsonFilter,GpuReserveFilter"
    )
    assert sections["filter_scheduler"]["weight_classes"] == (
        "nova.scheduler.weights.all_weighers,gpufarm_nova.weigher.GpuPackingWeigher",
    )
    plugin = sections["gpufarm"]
    (kept,) = map(json.loads, plugin["reserve"])
    ids = {"vendor_id": "10de", "product_id": "1024"}
    assert kept == {"card": "k40c", **ids, "vcpus": 2.5, "memory_mb": 3072}
    assert plugin["reserve_share"] == ("0.8",)
    assert [json.loads(each)["name"] for each in plugin["gpu_flavors"]] == ["g1", "g2"]
    compute = settings.compute(farm, "a", Machine(8, 65536, {"k40c": 2}))
    assert set(compute.sections) == {"pci"}
    assert settings.providers(farm, Machine(8, 65536, {"k40c": 2})) is None


def test_the_real_nova_takes_the_inventory_of_a_hard_reserve(tmp_path: Path) -> None:
    from nova.compute import provider_config

    farm = a_farm(cards=a_card(), flavors=GPU_FLAVORS, reserve="hard")
    machine = Machine(24, 65536, {"k40c": 2})
    text = settings.providers(farm, machine)
    assert text is not None
    (tmp_path / "50-gpufarm.yaml").write_text(text)
    (found,) = provider_config.get_provider_configs(str(tmp_path)).values()
    assert found["inventories"]["additional"] == [
        {"CUSTOM_GPU_VCPU": {"total": 6}},
        {"CUSTOM_GPU_MEMORY_MB": {"total": 6144}},
    ]
    kept = settings.compute(farm, "a", machine).sections["DEFAULT"]
    assert kept == {"reserved_host_cpus": ("6",), "reserved_host_memory_mb": ("6656",)}
    sections = settings.controller(farm).sections
    assert "gpufarm" not in sections
    assert "available_filters" not in sections["filter_scheduler"]


def test_the_inventory_of_a_host_is_planned_and_taken_away_again() -> None:
    machines = {"a": Machine(24, 65536, {"k40c": 2}), "b": Machine(24, 65536, {})}
    hard = a_farm(cards=a_card(), flavors=GPU_FLAVORS, reserve="hard")
    none = a_farm(cards=a_card(), flavors=GPU_FLAVORS)
    roles = {"providers/a": "", "providers/b": ""}
    (made,) = plan.plan(hard, roles, machines=machines)
    assert (made.action, made.name) == ("create", "providers/a")
    assert {each.field: each.to for each in made.changes} == {
        "CUSTOM_GPU_VCPU": 6,
        "CUSTOM_GPU_MEMORY_MB": 6144,
    }
    put = plan.wanted(hard, roles, roles, machines=machines)
    assert plan.plan(hard, put, machines=machines) == ()
    (gone,) = plan.plan(none, put, machines=machines)
    assert (gone.action, gone.name) == ("remove", "providers/a")
    assert plan.wanted(none, roles, put, machines=machines) == roles


@pytest.mark.parametrize("text", ["{", "[]", "providers: 3", "providers: [{}]", "a: b"])
def test_what_is_no_provider_yaml_is_written_anew(text: str) -> None:
    machines = {"a": Machine(24, 65536, {"k40c": 2})}
    hard = a_farm(cards=a_card(), flavors=GPU_FLAVORS, reserve="hard")
    (change,) = plan.plan(hard, {"providers/a": text}, machines=machines)
    assert change.action == "change"
