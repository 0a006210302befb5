"""Which files are taken as a trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trace import NODES, REQUESTS, files, write

from gpufarm.model.errors import TraceInvalid
from gpufarm.simulate import trace
from gpufarm_nova.lesson import Request


def changed(rows, **fields):
    return [{**rows[0], **fields}, *rows[1:]]


def test_hosts_and_whole_gpu_servers(tmp_path):
    found = trace.read(*files(tmp_path))
    assert found.cards == 40
    assert found.requests[0] == Request((("gpu", 1),), 12, 49152)
    assert found.requests[-1] == Request((), 8, 32768)


@pytest.mark.parametrize(("as_whole", "number"), [(False, 0), (True, 1)])
def test_requests_for_a_part_of_a_gpu_are_left_out_or_get_a_whole_one(tmp_path, as_whole, number):
    part = {**REQUESTS[0], "gpu_milli": 460, "cpu_milli": 7000}
    found = trace.read(*files(tmp_path, requests=[*REQUESTS, part]), shared_as_whole=as_whole)
    assert found.requests.count(Request((("gpu", 1),), 7, 49152)) == number


def test_a_trace_that_names_models_keeps_them_apart(tmp_path):
    rows = [{**row, "gpu_spec": "T4" if row["num_gpu"] else ""} for row in REQUESTS[:20]]
    found = trace.read(*files(tmp_path, requests=rows))
    assert found.requests[0].cards == (("T4", 1),)
    assert {node.model for node in found.nodes} == {"G2", "T4", ""}


@pytest.mark.parametrize(
    ("nodes", "requests", "said"),
    [
        (
            [{"sn": "a", "cpu_milli": 1}],
            REQUESTS,
            "line 1: columns missing: memory_mib, gpu, model",
        ),
        (NODES, [{"name": "a", "num_gpu": 1}], "line 1: columns missing: cpu_milli"),
        (changed(NODES, cpu_milli=-96000), REQUESTS, "line 2: cpu_milli: '-96000' is no whole"),
        (changed(NODES, cpu_milli=0), REQUESTS, "line 2: node 'gpu00' has no CPU"),
        (changed(NODES, gpu="1e9"), REQUESTS, "line 2: gpu: '1e9' is no whole number from 0 to 64"),
        (changed(NODES, gpu=65), REQUESTS, "line 2: gpu: '65'"),
        (changed(NODES, sn="gpu01"), REQUESTS, "line 3: sn: 'gpu01' is there twice"),
        (changed(NODES, sn=""), REQUESTS, "line 2: sn: empty"),
        (NODES[-1:], REQUESTS, "nodes.csv: no node has a GPU"),
        (NODES, changed(REQUESTS, num_gpu="nan"), "line 2: num_gpu: 'nan'"),
        (
            NODES,
            changed(REQUESTS, gpu_milli=1001),
            "line 2: gpu_milli: '1001' is no whole number from 0 to 1000",
        ),
        (NODES, changed(REQUESTS, memory_mib=1 << 40), "line 2: memory_mib"),
        (NODES, changed(REQUESTS, gpu_spec="T4"), "line 3: gpu_spec: '': either each request"),
        (
            NODES,
            changed(REQUESTS[:1], gpu_spec="H100"),
            "line 2: gpu_spec: no node has a card 'H100'",
        ),
        (NODES, changed(REQUESTS[:1], gpu_spec="T4|G2"), "line 2: gpu_spec: 'T4|G2'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, nodes, requests, said):
    with pytest.raises(TraceInvalid) as caught:
        trace.read(*files(tmp_path, nodes, requests))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_is_empty_is_named(tmp_path):
    nodes, requests = files(tmp_path)
    with pytest.raises(TraceInvalid, match="cannot be read"):
        trace.read(tmp_path / "none.csv", requests)
    requests.write_text(requests.read_text().splitlines()[0] + "\n")
    with pytest.raises(TraceInvalid, match="no row"):
        trace.read(nodes, requests)
    write(requests, REQUESTS)
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\na,1\n")
    with pytest.raises(TraceInvalid, match="not as many columns"):
        trace.read(nodes, requests)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_an_error_of_ours(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    nodes = folder / "nodes.csv"
    nodes.write_bytes(b"sn,cpu_milli,memory_mib,gpu,model\n" + content)
    requests = write(folder / "requests.csv", REQUESTS)
    try:
        found = trace.read(nodes, requests)
    except TraceInvalid:
        return
    assert all(node.vcpus > 0 and node.memory_mb > 0 for node in found.nodes)
