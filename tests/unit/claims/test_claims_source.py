"""How the layers are named on the command line, and what is refused."""

import argparse

import pytest

from gpufarm.cli import claims_source, hosts_over_ssh
from gpufarm.cli.base import UsageError
from gpufarm.model.facts import Holder, HostFacts, PciFunction


@pytest.mark.parametrize("minutes", [-1.0, float("inf"), float("nan")])
def test_an_age_that_is_none(minutes: float) -> None:
    with pytest.raises(UsageError, match="--older-than"):
        claims_source.patience(argparse.Namespace(older_than=minutes))


@pytest.mark.parametrize("text", ["hyper18", "=x", "hyper18=", ""])
def test_a_layer_of_no_host(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="HOST="):
        hosts_over_ssh.pair(text)


def test_who_has_a_function_open() -> None:
    ids = {"vendor_id": "10de", "product_id": "1024", "class_id": "030200"}
    facts = HostFacts(
        origin="x",
        functions=(
            PciFunction(address="a", driver="vfio-pci", iommu_group=7, **ids),
            PciFunction(address="b", driver="vfio-pci", vfio_device="vfio3", **ids),
            PciFunction(address="c", driver="nouveau", iommu_group=9, **ids),
        ),
        holders=(
            Holder(pid=1, command="qemu", guest="instance-1", paths=("/dev/vfio/7",)),
            Holder(pid=2, command="probe", paths=("/dev/vfio/devices/vfio3",)),
        ),
    )
    found = claims_source.functions(facts)
    assert {address: (each.driver, each.holder) for address, each in found.items()} == {
        "a": ("vfio-pci", "instance-1"),
        "b": ("vfio-pci", "probe (2)"),
        "c": ("nouveau", None),
    }
