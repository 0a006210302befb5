"""Which settings are right, and what a wrong one says."""

import json

import pytest
from oslo_config import cfg

from gpufarm_nova.packing import Flavor
from gpufarm_nova.reserve import Amounts

CARD = {"card": "k40c", "vendor_id": "10DE", "product_id": "1024", "vcpus": 3.5, "memory_mb": 8192}
OTHER = {**CARD, "card": "l40s", "product_id": "26b9"}
FLAVOR = {"name": "g1.gpu", "cards": {"k40c": 2}, "vcpus": 2, "memory_mb": 4096}


def without(found, key):
    return {name: value for name, value in found.items() if name != key}


def test_nothing_is_kept_where_nothing_is_set(configure):
    settings = configure()
    assert (settings.cards, settings.flavors, settings.share) == ((), (), 1.0)


def test_settings_are_read(configure):
    settings = configure(
        reserve=[CARD, {**OTHER, "resource_class": "CUSTOM_L40S"}],
        gpu_flavors=[FLAVOR],
        reserve_share=0.8,
    )
    assert settings.models == {("10de", "1024"): "k40c", ("10de", "26b9"): "l40s"}
    assert settings.reserves["k40c"] == Amounts(3.5, 8192)
    classes = [card.resource_class for card in settings.cards]
    assert classes == ["CUSTOM_PCI_10DE_1024", "CUSTOM_L40S"]
    assert settings.flavors == (Flavor("g1.gpu", (("k40c", 2),), 2, 4096),)
    assert settings.share == 0.8


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("reserve", "{", "is not JSON"),
        ("reserve", "[]", "is not a JSON object"),
        ("reserve", without(CARD, "vcpus"), "vcpus missing"),
        ("reserve", {**CARD, "vcpu": 3}, "vcpu unknown"),
        ("reserve", {**CARD, "vcpus": -1}, '"vcpus" is to be a number, zero or above'),
        ("reserve", {**CARD, "vcpus": True}, '"vcpus" is to be a number, zero or above'),
        ("reserve", {**CARD, "memory_mb": "8192"}, '"memory_mb" is to be a number, zero or above'),
        ("reserve", json.dumps(CARD).replace("3.5", "NaN"), '"vcpus" is to be a number'),
        ("reserve", {**CARD, "vendor_id": "nvidia"}, '"vendor_id" is to be four hexadecimal'),
        ("reserve", {**CARD, "product_id": 1024}, '"product_id" is to be four hexadecimal'),
        ("reserve", {**CARD, "card": ""}, '"card" is to be a name'),
        ("gpu_flavors", {**FLAVOR, "disk_gb": 3}, "disk_gb unknown"),
        ("gpu_flavors", {**FLAVOR, "cards": {}}, '"cards" is to be an object'),
        ("gpu_flavors", {**FLAVOR, "cards": ["k40c"]}, '"cards" is to be an object'),
        ("gpu_flavors", {**FLAVOR, "cards": {"k40c": 0}}, "is no number of cards"),
        ("gpu_flavors", {**FLAVOR, "cards": {"k40c": 1.5}}, "is no number of cards"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong(configure, tmp_path, option, value, says):
    text = value if isinstance(value, str) else json.dumps(value)
    file = tmp_path / "nova.conf"
    file.write_text(f"[gpufarm]\n{option} = {text}\n")
    with pytest.raises(cfg.ConfigFileValueError) as raised:
        configured_by(file)
    assert option in str(raised.value)
    assert text in str(raised.value)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reserve": [CARD, OTHER, {**OTHER, "product_id": "1"}]}, "hexadecimal"),
        ({"reserve": [CARD, {**OTHER, "card": "k40c"}]}, "card k40c is there twice"),
        ({"reserve": [CARD, {**OTHER, "product_id": "1024"}]}, "device 10de:1024 is there twice"),
        ({"reserve": [CARD], "gpu_flavors": [FLAVOR, FLAVOR]}, "flavor g1.gpu is there twice"),
        ({"reserve": [OTHER], "gpu_flavors": [FLAVOR]}, "g1.gpu takes k40c, which has no reserve"),
        ({"reserve_share": 1.5}, "less than or equal to 1"),
        ({"reserve_share": -0.1}, "greater than or equal to 0"),
        ({"reserve_share": float("nan")}, "reserve_share"),
        ({"packing_weight_multiplier": float("inf")}, "packing_weight_multiplier"),
        ({"refresh_seconds": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(configure, given, says):
    with pytest.raises(ValueError, match=says):
        configure(**given)


def test_every_option_says_what_it_is():
    from gpufarm_nova.options import OPTIONS

    assert all(option.help for option in OPTIONS)


@pytest.fixture
def start(configure, monkeypatch, tmp_path):
    """Begins as nova-scheduler does, with these lines in [gpufarm]; returns its host manager."""
    import nova.conf
    from nova.scheduler.host_manager import HostManager

    conf = nova.conf.CONF
    for name in ("refresh_cells_caches", "_init_aggregates", "_init_instance_info"):
        monkeypatch.setattr(HostManager, name, lambda _: None)

    def started(*lines):
        file = tmp_path / "nova.conf"
        file.write_text(
            "[filter_scheduler]\n"
            "available_filters = nova.scheduler.filters.all_filters\n"
            "available_filters = gpufarm_nova.filter.GpuReserveFilter\n"
            "enabled_filters = ComputeFilter,GpuReserveFilter\n"
            "weight_classes = nova.scheduler.weights.all_weighers,"
            "gpufarm_nova.weigher.GpuPackingWeigher\n"
            "[gpufarm]\n" + "\n".join(lines)
        )
        conf([], project="nova", default_config_files=[str(file)])
        return HostManager()

    yield started
    conf([], project="nova", default_config_files=[])


def test_the_scheduler_starts_with_both(start):
    found = start(f"reserve = {json.dumps(CARD)}", f"gpu_flavors = {json.dumps(FLAVOR)}")
    names = [type(each).__name__ for each in found.enabled_filters]
    assert names == ["ComputeFilter", "GpuReserveFilter"]
    assert "GpuPackingWeigher" in [type(each).__name__ for each in found.weighers]


@pytest.mark.parametrize("setting", ["reserve = {", "reserve_share = 3", "gpu_flavors = {}"])
def test_the_scheduler_does_not_start_with_a_wrong_setting(start, setting):
    with pytest.raises(ValueError, match=setting.split()[0]):
        start(setting)


def configured_by(file):
    import nova.conf

    from gpufarm_nova import options

    conf = nova.conf.CONF
    conf([], project="nova", default_config_files=[str(file)])
    return options.read(conf)
