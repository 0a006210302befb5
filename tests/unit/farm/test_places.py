"""Where in a document an error is, down to the key."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.model.farm import Farm
from gpufarm.model.places import locate

GOOD: dict[str, Any] = {
    "version": 1,
    "name": "ours",
    "release": 34,
    "cards": {
        "k40c": {"vendor_id": "10de", "product_id": "1024"},
        "k2": {"vendor_id": "10de", "product_id": "11bf", "hosts": ["a", "b"]},
    },
    "flavors": {
        "m1": {"vcpus": 1, "memory_mb": 1, "disk_gb": 1},
        "my vm": {"vcpus": 1, "memory_mb": 1, "disk_gb": 1, "aggregate": {"gpu": "true"}},
    },
}


def changed(data: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    if not steps:
        return value
    first, rest = steps[0], steps[1:]
    if isinstance(data, dict):
        return {**data, first: changed(data.get(first), rest, value)}
    if isinstance(data, list):
        return [changed(each, rest, value) if n == first else each for n, each in enumerate(data)]
    return {first: changed(None, rest, value)}


@pytest.mark.parametrize(
    ("steps", "value", "path"),
    [
        (("version",), 2, "$.version"),
        (("cards",), [], "$.cards"),
        (("cards", "k2", "vendor_id"), 16, "$.cards.k2.vendor_id"),
        (("cards", "k2", "hosts", 1), "a/b", "$.cards.k2.hosts[1]"),
        (("cards", "k40c", "vendor"), "x", "$.cards.k40c"),
        (("cards", "k:1"), {"vendor_id": "10de", "product_id": "1024"}, '$.cards."k:1"'),
        (("flavors", "my vm", "vcpus"), "two", '$.flavors."my vm".vcpus'),
        (("flavors", "my vm", "aggregate", "gpu"), True, '$.flavors."my vm".aggregate.gpu'),
        (("flavors", "m1", "properties", "hw:x"), 1, '$.flavors.m1.properties."hw:x"'),
        (("flavors", 'quo"te\n', "vcpus"), 1, '$.flavors."quo\\"te\\n"'),
    ],
)
def test_the_path_names_the_key(steps: tuple[str | int, ...], value: Any, path: str) -> None:
    data = changed(GOOD, steps, value)
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, Farm, strict=True)
    where, problem = locate(Farm, data, caught.value)
    assert where == path
    assert problem
    assert "[...]" not in where


def test_a_key_that_is_no_text() -> None:
    data = {**GOOD, "cards": {1024: {"vendor_id": "10de", "product_id": "1024"}}}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, Farm, strict=True)
    assert locate(Farm, data, caught.value)[0].startswith("$.cards")


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "name", "release", "cards", "flavors", "vendor_id", "x y"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(documents)
def test_whatever_the_document_there_is_a_place(data: Any) -> None:
    try:
        msgspec.convert(data, Farm, strict=True)
    except msgspec.ValidationError as error:
        where, problem = locate(Farm, data, error)
        assert where.startswith("$")
        assert problem
