"""Clouds with a second nova-compute on one machine: found, and led off it."""

from typing import Any

import pytest

from gpufarm.catalog.second_compute import findings, pairs, way_off
from gpufarm.model.cloud import ComputeHost


def a_host(name: str, hypervisor: str, address: str | None = None, **more: Any) -> ComputeHost:
    return ComputeHost(
        name=name, hypervisor_hostname=hypervisor, up=True, enabled=True, address=address, **more
    )


HYPER18 = a_host("hyper18", "hyper18.example", "10.0.0.18")


@pytest.mark.parametrize(
    ("second", "both"),
    [
        (a_host("gpu18", "hyper18.example"), "hypervisor hyper18.example"),
        (a_host("gpu18", "gpu18", "10.0.0.18"), "address 10.0.0.18"),
        (a_host("a-gpu18", "gpu18.example", "10.0.0.18"), "address 10.0.0.18"),
    ],
)
def test_a_second_service_is_found(second: ComputeHost, both: str) -> None:
    for hosts in ((HYPER18, second), (second, HYPER18)):
        (pair,) = pairs((*hosts, a_host("hyper19", "hyper19", "10.0.0.19")))
        assert pair.both == both
        assert {pair.first.name, pair.second.name} == {"hyper18", second.name}


def test_the_one_with_its_hypervisors_name_is_the_first() -> None:
    (pair,) = pairs((a_host("a-gpu18", "hyper18.example"), HYPER18))
    assert (pair.first.name, pair.second.name) == ("hyper18", "a-gpu18")


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (HYPER18,),
        # all in one machine, as the lab is
        (a_host("a", "a", "127.0.0.1"), a_host("b", "b", "127.0.0.1")),
        (a_host("a", "a", "::1"), a_host("b", "b", "::1")),
        (a_host("a", "a"), a_host("b", "b")),
        # one of Ironic's, with several nodes
        (a_host("metal", "node-1"), a_host("metal", "node-2")),
    ],
)
def test_other_clouds_have_none(hosts: tuple[ComputeHost, ...]) -> None:
    assert findings(hosts) == ()


def test_the_steps_are_in_order_and_name_the_servers() -> None:
    (change,) = findings((HYPER18, a_host("gpu18", "hyper18.example", servers=3)))
    assert (change.action, change.kind, change.name) == ("remove", "nova-compute", "gpu18")
    assert [field.field for field in change.changes] == [
        f"step {number}" for number in range(1, len(change.changes) + 1)
    ]
    (pair,) = pairs((HYPER18, a_host("gpu18", "hyper18.example", servers=3)))
    disable, end, *_ = way_off(pair)
    assert "--disable gpu18" in disable
    assert "3 now" in end
    assert all(field.to == step for field, step in zip(change.changes, way_off(pair), strict=True))
