"""Whether hosts and cards that a farm names are there."""

from typing import Any

import msgspec
import pytest

from gpufarm.catalog.fitness import check_hardware, unreported
from gpufarm.model.cloud import ComputeHost, Inventory, Provider
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm
from gpufarm.model.host import HostFile

K40C = {"vendor_id": "10de", "product_id": "1024"}


def a_farm(card: dict[str, Any], count: int = 1, **parts: Any) -> Farm:
    flavor = {"vcpus": 1, "memory_mb": 1, "disk_gb": 0, "cards": {"k40c": count}}
    document = {"version": 1, "name": "ours", "release": 34, "cards": {"k40c": K40C | card}}
    return msgspec.convert(document | {"flavors": {"g1": flavor}} | parts, Farm)


def a_host(name: str, *functions: dict[str, Any]) -> HostFile:
    document = {
        "version": 1,
        "name": name,
        "vcpus": 1,
        "memory_mb": 1,
        "disk_gb": 1,
        "pci_functions": [
            {"address": f"0000:0{number}:00.0", "class_id": "030200", **K40C, **function}
            for number, function in enumerate(functions)
        ],
    }
    return msgspec.convert(document, HostFile)


def test_hardware_that_fits() -> None:
    check_hardware(a_farm({}, 2), [a_host("a", {}, {}), a_host("b")])
    check_hardware(a_farm({"hosts": ["a"]}), [a_host("a", {}), a_host("b")])
    check_hardware(a_farm({"device_type": "type-PF"}), [a_host("a", {"sriov": "pf"})])


@pytest.mark.parametrize(
    ("card", "hosts", "message"),
    [
        ({}, [a_host("a")], "card k40c: host a does not have a device 10de:1024"),
        ({}, [a_host("a"), a_host("b")], "card k40c: no host has a device 10de:1024"),
        ({}, [], "card k40c: no host has a device 10de:1024"),
        ({"hosts": ["b"]}, [a_host("a", {}), a_host("b")], "host b does not have a device"),
        (
            {},
            [a_host("a", {"sriov": "pf"})],
            "host a does not have 10de:1024 as type-PCI; a has it as type-PF: set device_type",
        ),
        (
            {"hosts": ["a", "b"]},
            [a_host("a", {}), a_host("b", {"product_id": "1b80"})],
            "host b does not have a device 10de:1024",
        ),
    ],
)
def test_a_card_that_no_host_has(card: Any, hosts: list[HostFile], message: str) -> None:
    with pytest.raises(FarmError) as caught:
        check_hardware(a_farm(card), hosts)
    assert message in str(caught.value)


def test_more_cards_than_any_host_has() -> None:
    with pytest.raises(FarmError, match=r"flavor g1: asks for 3 .* no host has more than 2"):
        check_hardware(a_farm({}, 3), [a_host("a", {}, {}), a_host("b", {})])


def a_provider(name: str, uuid: str, root: str, *classes: str) -> Provider:
    return Provider(
        uuid=uuid,
        name=name,
        root_uuid=root,
        generation=1,
        inventories={each: Inventory(total=1, reserved=0, used=0) for each in classes},
        allocations={},
    )


CLASS = "CUSTOM_PCI_10DE_1024"
COMPUTES = tuple(
    ComputeHost(name=name, hypervisor_hostname=f"{name}.example", up=True, enabled=True)
    for name in "ab"
)
PROVIDERS = (
    a_provider("a.example", "1", "1", "VCPU"),
    a_provider("a.example_0000:01:00.0", "2", "1", CLASS),
    a_provider("b.example", "3", "3", "VCPU"),
)


def test_cards_that_are_reported_are_no_drift() -> None:
    assert unreported(a_farm({}), COMPUTES, PROVIDERS) == ()
    assert unreported(a_farm({"hosts": ["a"]}), COMPUTES, PROVIDERS) == ()


def test_a_card_that_nobody_reports_is_drift() -> None:
    (change,) = unreported(a_farm({"resource_class": "CUSTOM_K40"}), COMPUTES, PROVIDERS)
    assert (change.action, change.kind, change.name) == ("change", "card", "k40c")
    assert change.changes[0].field == "hosts with CUSTOM_K40"
    assert change.reason.startswith("no host reports any")


def test_a_card_that_one_of_its_hosts_does_not_report_is_drift() -> None:
    (change,) = unreported(a_farm({"hosts": ["a", "b"]}), COMPUTES, PROVIDERS)
    assert change.reason.startswith("b reports none")
    assert (change.changes[0].from_, change.changes[0].to) == (["a"], ["a", "b"])


def test_a_reserve_that_no_host_could_give_one_server() -> None:
    fits = {"reserve": {"vcpus": 1, "memory_mb": 1}}
    check_hardware(a_farm(fits), [a_host("a", {})])
    for what, amounts in (
        ("vcpus 2", {"vcpus": 2, "memory_mb": 1}),
        ("memory_mb 2", {"vcpus": 1, "memory_mb": 2}),
    ):
        with pytest.raises(FarmError, match=f"card k40c: reserve.{what} is larger than every host"):
            check_hardware(a_farm({"reserve": amounts}), [a_host("a", {})])


def test_a_host_that_keeps_no_hard_reserve_is_found() -> None:
    farm = a_farm({}, reserve="hard")
    hosts = [ComputeHost(name="a", hypervisor_hostname="a", up=True, enabled=True)]
    card = Inventory(total=1, reserved=0, used=0)

    def providers(**classes: int) -> list[Provider]:
        amounts = {
            name: Inventory(total=total, reserved=0, used=0) for name, total in classes.items()
        }
        return [
            Provider("root", "a", "root", 1, amounts, {}),
            Provider("card", "a_0000:86:00.0", "root", 1, {"CUSTOM_PCI_10DE_1024": card}, {}),
        ]

    kept = {"CUSTOM_GPU_VCPU": 2, "CUSTOM_GPU_MEMORY_MB": 4096}
    assert unreported(farm, hosts, providers(**kept)) == ()
    changes = unreported(farm, hosts, providers(VCPU=24))
    assert [change.changes[0].field for change in changes] == [
        f"hosts with {name}" for name in kept
    ]
    assert "a keeps no hard reserve" in changes[0].reason
