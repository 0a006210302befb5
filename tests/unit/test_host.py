"""Host files: what could be a machine and what could not (cases/impossible_hosts)."""

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.lab import hardware
from gpufarm.model import host
from gpufarm.model.document import decode
from gpufarm.model.errors import DocumentError, HostImpossible
from gpufarm.model.host import HostFile, HostFunction

CASES = sorted((Path(__file__).parents[1] / "cases" / "impossible_hosts").glob("*.yaml"))


def a_host(**changed: object) -> HostFile:
    plain = {"version": 1, "name": "one", "vcpus": 8, "memory_mb": 1024, "disk_gb": 10}
    return decode(HostFile, {**plain, **changed}, "one.yaml")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_impossible_hosts_are_refused_by_name(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    impossible = decode(HostFile, case["host"], str(path))
    with pytest.raises(HostImpossible) as caught:
        host.expand([(str(path), impossible)])
    assert list(caught.value.problems) == case["problems"]
    assert case["host"]["name"] in str(caught.value)
    assert str(path) in str(caught.value)


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


def test_count_makes_numbered_hosts() -> None:
    made = host.expand([("f", a_host(name="gpu", count=3))])
    assert [found.name for found in made] == ["gpu-1", "gpu-2", "gpu-3"]
    assert {found.count for found in made} == {1}


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(HostImpossible, match="another host file gives the same name"):
        host.expand([("a", a_host(name="gpu-1")), ("b", a_host(name="gpu", count=2))])


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("vcpus", 0, "$.vcpus"),
        ("vcpus", "8", "$.vcpus"),
        ("name", "UPPER", "$.name"),
        ("name", "evil; rm -rf /", "$.name"),
        ("name", "../../etc/passwd", "$.name"),
        ("version", 2, "$.version"),
        ("colour", "green", "$"),
        ("count", 1001, "$.count"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        a_host(**{field: value})
    assert caught.value.path == path


def test_a_folder_without_host_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="without host files"):
        hardware.read([tmp_path])


def test_a_host_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        hardware.read([tmp_path / "none.yaml"])


def test_the_default_hosts_can_exist() -> None:
    assert [found.name for found in hardware.default()] == ["gpu-1", "gpu-2", "gpu-3"]


addresses = st.builds(
    "0000:{:02x}:{:02x}.{}".format,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
)
functions = st.builds(
    HostFunction,
    address=addresses,
    vendor_id=st.just("10de"),
    product_id=st.just("2330"),
    class_id=st.just("030200"),
    iommu_group=st.none() | st.integers(0, 3),
    numa_node=st.none() | st.integers(0, 3),
    sriov=st.sampled_from(["none", "pf", "vf"]),
    physical_function=st.none() | addresses,
)


@given(st.lists(functions, max_size=6), st.integers(1, 4))
def test_a_possible_host_holds_to_every_rule(found: list[HostFunction], numa_nodes: int) -> None:
    made = HostFile(
        version=1,
        name="h",
        vcpus=8,
        memory_mb=1,
        disk_gb=1,
        numa_nodes=numa_nodes,
        pci_functions=tuple(found),
    )
    if host.impossibilities(made):
        return
    by_address = {function.address: function for function in found}
    assert len(by_address) == len(found)
    for function in found:
        assert function.numa_node is None or function.numa_node < numa_nodes
        if function.sriov == "vf":
            assert by_address[function.physical_function or ""].sriov == "pf"
        else:
            assert function.address[:-1] + "0" in by_address


@given(st.lists(functions, max_size=6))
def test_a_host_survives_being_written_and_read(found: list[HostFunction]) -> None:
    made = a_host()
    made = msgspec.structs.replace(made, pci_functions=tuple(found))
    assert msgspec.json.decode(msgspec.json.encode(made), type=HostFile) == made
