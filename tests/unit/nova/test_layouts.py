"""What `farm render` writes: golden files (cases/render), and that each tool can read them.

`--regenerate` writes the golden files anew.
"""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml

from gpufarm.model import consistency
from gpufarm.model import farm as model
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm, named_hosts
from gpufarm.model.reserve import Machine
from gpufarm.model.settings import merge, parse
from gpufarm.nova import settings
from gpufarm.nova.layouts import Layout, bound_to_hosts, files

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = {
    path.parent.name: path for path in sorted((REPOSITORY / "examples").glob("*/farm.yaml"))
}
GOLDEN = Path(__file__).parents[2] / "cases" / "render"
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def rendered(farm: Farm, layout: Layout) -> dict[str, str]:
    hosts = sorted(named_hosts(farm)) if bound_to_hosts(farm) else []
    return files(farm, layout, hosts)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_renders_as_before(name: str, layout: Layout, regenerate: bool) -> None:
    found = rendered(model.read(EXAMPLES[name]), layout)
    text = "\n".join(f"==> {path}\n{content}" for path, content in found.items())
    golden = GOLDEN / f"{name}.{layout}.txt"
    if regenerate:
        golden.write_text(text)
    assert golden.read_text() == text


def a_farm(**parts: Any) -> Farm:
    farm = msgspec.convert({"version": 1, "name": "ours", "release": 34, **parts}, Farm)
    consistency.check(farm)
    return farm


MIXED = a_farm(
    console="spice",
    cards={
        "k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": ["a"]},
        "gtx": {"vendor_id": "10de", "product_id": "1b80"},
    },
    flavors={"g8": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0, "cards": {"gtx": 8}}},
)


def test_plain_has_a_file_for_each_host_and_one_for_any_other() -> None:
    found = files(MIXED, "plain", ["a", "b"])
    name = "nova.conf.d/50-gpufarm.conf"
    assert parse(found[f"controller/{name}"]) == settings.controller(MIXED)
    assert parse(found[f"compute/{name}"]) == settings.compute(MIXED, None)
    for host in ("a", "b"):
        compute = settings.compute(MIXED, host)
        assert parse(found[f"compute/{host}/{name}"]) == compute
        both = parse(found[f"all-in-one/{host}/{name}"])
        assert both == merge(settings.controller(MIXED), compute)
        assert len(both.sections["pci"]["alias"]) == 2
    assert "placement/placement.conf.d/50-gpufarm.conf" in found


def kolla(found: dict[str, str], service: str, host: str) -> dict[str, list[str]]:
    """What kolla-ansible's merge_configs makes of it: a later file's values replace."""
    merged: dict[str, list[str]] = {}
    for path in (
        "config/nova.conf",
        f"config/nova/{service}.conf",
        f"config/nova/{host}/nova.conf",
    ):
        merged |= parse(found.get(path, "")).flat()
    return merged


def test_kolla_merges_to_the_settings_of_each_role() -> None:
    found = files(MIXED, "kolla", ["a", "b"])
    assert "config/nova/b/nova.conf" not in found
    for host in ("a", "b"):
        compute = kolla(found, "nova-compute", host)
        wanted = settings.compute(MIXED, host).sections["pci"]
        for option, values in wanted.items():
            assert compute[f"[pci] {option}"] == list(values)
    scheduler = kolla(found, "nova-scheduler", "controller-1")
    for name, values in settings.controller(MIXED).flat().items():
        if name.startswith(("[pci]", "[filter_scheduler]")):
            assert scheduler[name] == values
    assert yaml.safe_load(found["globals.d/gpufarm.yml"]) == {"nova_console": "spice"}


def config_template(overrides: dict[str, Any]) -> dict[str, list[str]]:
    """What ansible-config_template writes: of a mapping to nothing each key, of a list one line."""
    lines: dict[str, list[str]] = {}
    for section, options in overrides.items():
        for option, value in options.items():
            if isinstance(value, dict) and not any(value.values()):
                lines[f"[{section}] {option}"] = sorted(value)
            elif isinstance(value, list):
                lines[f"[{section}] {option}"] = [",".join(value)]
            else:
                lines[f"[{section}] {option}"] = [str(value)]
    return lines


def test_osa_overrides_become_the_settings() -> None:
    found = files(MIXED, "osa", ["a", "b"])
    variables = yaml.safe_load(found["user_variables_gpufarm.yml"])
    asked = variables["nova_nova_conf_overrides"]["pci"]["device_spec"]
    assert asked == "{{ gpufarm_device_spec | default(gpufarm_device_spec_anywhere) }}"
    for host in ("a", "b", "c"):
        own = yaml.safe_load(found.get(f"host_vars/{host}.yml", "{}")) or {}
        device_spec = own.get("gpufarm_device_spec", variables["gpufarm_device_spec_anywhere"])
        overrides = variables["nova_nova_conf_overrides"]
        overrides = overrides | {"pci": overrides["pci"] | {"device_spec": device_spec}}
        lines = config_template(overrides)
        for option, values in settings.compute(MIXED, host).sections["pci"].items():
            assert lines[f"[pci] {option}"] == sorted(values)
        assert lines["[filter_scheduler] pci_in_placement"] == ["true"]
    assert variables["nova_scheduler_extra_filters"] == ["PciPassthroughFilter"]
    assert variables["nova_console_type"] == "spice"
    placement = config_template(variables["placement_placement_conf_overrides"])
    assert placement == settings.placement(MIXED).flat()


def test_osa_needs_no_host_variables_where_every_host_is_alike() -> None:
    farm = a_farm(cards={"gtx": {"vendor_id": "10de", "product_id": "1b80"}})
    found = files(farm, "osa", ["a"])
    assert list(found) == ["user_variables_gpufarm.yml"]
    variables = yaml.safe_load(found["user_variables_gpufarm.yml"])
    (spec,) = variables["nova_nova_conf_overrides"]["pci"]["device_spec"]
    assert json.loads(spec)["product_id"] == "1b80"


def test_rendering_for_one_layout_does_not_disturb_another() -> None:
    before = {layout: rendered(MIXED, layout) for layout in LAYOUTS}
    assert {layout: rendered(MIXED, layout) for layout in reversed(LAYOUTS)} == before


HARD = a_farm(
    reserve="hard",
    cards={"k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": ["a"]}},
    flavors={"g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 1}}},
)
MACHINES = {"a": Machine(24, 65536, {"k40c": 2}), "b": Machine(24, 65536, {})}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hard_reserve_needs_to_know_the_hosts(layout: Layout) -> None:
    with pytest.raises(FarmError, match="name host files"):
        rendered(HARD, layout)


def test_a_hard_reserve_in_every_layout() -> None:
    providers = settings.providers(HARD, MACHINES["a"])
    kept = settings.compute(HARD, "a", MACHINES["a"]).sections["DEFAULT"]
    plain = files(HARD, "plain", ["a", "b"], MACHINES)
    for role in ("compute", "all-in-one"):
        assert plain[f"{role}/a/provider_config/50-gpufarm.yaml"] == providers
        assert parse(plain[f"{role}/a/nova.conf.d/50-gpufarm.conf"]).sections["DEFAULT"] == kept
        assert f"{role}/b/provider_config/50-gpufarm.yaml" not in plain
        assert "DEFAULT" not in parse(plain[f"{role}/nova.conf.d/50-gpufarm.conf"]).sections

    found = files(HARD, "kolla", ["a", "b"], MACHINES)
    for option, values in kept.items():
        assert kolla(found, "nova-compute", "a")[f"[DEFAULT] {option}"] == list(values)
        assert f"[DEFAULT] {option}" not in kolla(found, "nova-compute", "b")
    variables = yaml.safe_load(found["globals.d/gpufarm.yml"])
    assert variables["gpufarm_providers"] == {"a": yaml.safe_load(providers or "")}
    assert "gpufarm_providers[inventory_hostname]" in variables["nova_cell_compute_provider_config"]

    found = files(HARD, "osa", ["a", "b"], MACHINES)
    own = yaml.safe_load(found["host_vars/a.yml"])
    overrides = yaml.safe_load(found["user_variables_gpufarm.yml"])["nova_nova_conf_overrides"]
    for option, values in kept.items():
        assert own[f"gpufarm_{option}"] == values[0]
        assert f"gpufarm_{option} | default(" in overrides["DEFAULT"][option]
        assert f"gpufarm_{option}" not in yaml.safe_load(found["host_vars/b.yml"])
    assert found["a/provider_config/50-gpufarm.yaml"] == providers


def test_a_dynamic_reserve_in_osa_is_the_schedulers_settings() -> None:
    farm = a_farm(
        reserve="dynamic",
        cards={"k40c": {"vendor_id": "10de", "product_id": "1024"}},
        flavors={"g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 1}}},
    )
    variables = yaml.safe_load(files(farm, "osa", [])["user_variables_gpufarm.yml"])
    lines = config_template(variables["nova_nova_conf_overrides"])
    wanted = settings.controller(farm).flat()
    for name, values in wanted.items():
        if name != "[filter_scheduler] enabled_filters":
            assert lines[name] == sorted(values)
    assert variables["nova_scheduler_extra_filters"][-1] == "GpuReserveFilter"
