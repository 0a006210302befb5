"""What is taken from a nova.conf, in the forms that oslo.config takes."""

import pytest

from gpufarm.capacity import faults
from gpufarm.capacity.scheduler import Alias, from_settings
from gpufarm.model.release import DEFAULT_FILTERS
from gpufarm.model.settings import join, parse

CONF = """
[filter_scheduler]
enabled_filters = ComputeFilter,
    PciPassthroughFilter ,
    RackFilter
max_instances_per_host = 8

[scheduler]
enable_isolated_aggregate_filtering = True

[pci]
alias = {"name": "h100", "vendor_id": "10de", "product_id": "2330", "numa_policy": "required"}
alias = {"name": "own", "resource_class": "my-card", "traits": "custom_fast, HW_GPU"}
alias = not JSON
"""


def test_a_nova_conf() -> None:
    found = from_settings(parse(CONF), "nova.conf")
    assert found.filters == ("ComputeFilter", "PciPassthroughFilter", "RackFilter")
    assert found.max_servers == 8
    assert found.isolated_aggregates
    assert found.aliases == {
        "h100": Alias(resource_class="CUSTOM_PCI_10DE_2330", numa_policy="required"),
        "own": Alias(resource_class="CUSTOM_MY_CARD", traits=frozenset({"CUSTOM_FAST", "HW_GPU"})),
    }


def test_what_is_not_said_is_nova_s_default() -> None:
    found = from_settings(parse("[pci]\n"), "nova.conf")
    assert found.filters == DEFAULT_FILTERS
    assert (found.max_servers, found.max_candidates) == (50, 1000)
    assert not found.isolated_aggregates


def test_the_last_file_counts_and_every_alias_does() -> None:
    later = parse('[filter_scheduler]\nenabled_filters=A\n[pci]\nalias = {"name": "x"}\n')
    found = from_settings(join(parse(CONF), later), "both")
    assert found.filters == ("A",)
    assert set(found.aliases) == {"h100", "own", "x"}


def test_the_smaller_of_nova_s_limit_and_placement_s() -> None:
    placement = parse("[placement]\nmax_allocation_candidates = 300\n")
    assert from_settings(placement, "placement.conf").max_candidates == 300
    nova = parse("[scheduler]\nmax_placement_results = 100\n")
    assert from_settings(join(nova, placement), "both").max_candidates == 100
    without = parse("[placement]\nmax_allocation_candidates = -1\n")
    assert from_settings(without, "placement.conf").max_candidates == 1000


def test_limits_of_keystone() -> None:
    assert from_settings(parse("[quota]\ninstances = 4\n"), "nova.conf").unified_limits is None
    driver = "[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n"
    default = from_settings(parse(driver), "nova.conf").unified_limits
    assert default
    assert [default.barred(name) for name in ("servers", "class:VCPU")] == [True, False]
    listed = "unified_limits_resource_list = servers, class:VCPU\n"
    strategy = "unified_limits_resource_strategy = ignore\n"
    ignored = from_settings(parse(driver + listed + strategy), "nova.conf").unified_limits
    assert ignored
    names = ("servers", "class:VCPU", "class:DISK_GB")
    assert [ignored.barred(name) for name in names] == [False, False, True]


IN_USE = (
    "Exceeded maximum number of retries. Exceeded max scheduling attempts 3 for instance x. Last "
    "exception: Requested operation is not valid: PCI device 0000:84:00.0 is in use by driver "
    "QEMU, domain instance-0000002a"
)


@pytest.mark.parametrize(
    ("fault", "source", "said"),
    [
        ("No valid host was found. There are not enough hosts available.", "nova", "of now"),
        (
            IN_USE,
            "hypervisor",
            "card 0000:84:00.0 counts as free and guest instance-0000002a holds it",
        ),
        ("Exceeded maximum number of retries.", "nova-compute", "could not start it"),
        ("Disk full", "nova", "Nova said: Disk full"),
    ],
)
def test_what_a_fault_hides(fault: str, source: str, said: str) -> None:
    found = faults.read(fault)
    assert found is not None
    assert (found.source, found.blocks) == (source, False)
    assert said in found.message


def test_no_fault() -> None:
    assert faults.read("") is None
