"""Our reading of extra specs against Nova's own, where Nova is installed."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.capacity.extra_specs import asked_of_aggregate, matches

theirs = pytest.importorskip("nova.scheduler.filters.extra_specs_ops")

NUMBERS = ["=", "==", "!=", ">=", "<="]
OPERATORS = [*NUMBERS, "s==", "s!=", "s<", "s<=", "s>", "s>=", "<in>", "<all-in>", "<or>"]
word = st.sampled_from(["true", "false", "4", "4.5", "10", "k2", "", "k2,k4200"])
wish = st.one_of(
    word,
    st.builds(
        lambda operator, words: " ".join([operator, *words]),
        st.sampled_from(OPERATORS),
        st.lists(word, max_size=3),
    ),
    st.lists(word, min_size=1, max_size=3).map(lambda words: "<or> " + " <or> ".join(words)),
    st.text(max_size=12),
)


@settings(deadline=None)
@given(word, wish)
def test_as_nova_does(value: str, wanted: str) -> None:
    expected = False
    with contextlib.suppress(ValueError, IndexError):
        expected = bool(theirs.match(value, wanted))
    assert matches(value, wanted) == expected


def test_which_specs_are_for_aggregates() -> None:
    specs = {
        "aggregate_instance_extra_specs:gpu": "true",
        "gpu": "true",
        "hw:cpu_policy": "dedicated",
        "aggregate_instance_extra_specs:a:b": "1",
    }
    assert asked_of_aggregate(specs) == (("a:b", "1"), ("gpu", "true"), ("gpu", "true"))
