"""Which files the scheduler takes as what was learned."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm_nova import lesson
from gpufarm_nova.lesson import Broken, Lesson, Request
from gpufarm_nova.reserve import Amounts

GPU = Request((("k40c", 1),), 2, 4096, 3)
ORDINARY = Request((), 1.5, 2048, 2)
LESSON = Lesson((ORDINARY, GPU), "memory_mb", frozenset({"gpu1"}), "2026-11-21T07:00:00Z")

amounts = st.one_of(st.integers(0, 10**9), st.floats(0, 1e9))
cards = st.dictionaries(st.text(max_size=5), st.integers(1, 99), max_size=3)
requests = st.builds(
    Request,
    cards.map(lambda found: tuple(sorted(found.items()))),
    amounts,
    amounts,
    st.integers(1, 10**9),
)


def changed(**fields):
    return json.dumps({**json.loads(lesson.dumps(LESSON)), **fields})


def request(**fields):
    return changed(
        requests=[{"cards": {"k40c": 1}, "vcpus": 2, "memory_mb": 4096, "times": 1, **fields}]
    )


@given(
    st.builds(
        Lesson,
        st.lists(requests, max_size=5).map(tuple),
        st.sampled_from(lesson.SCARCER),
        st.frozensets(st.text(max_size=5)),
        st.text(max_size=5),
    )
)
def test_what_is_written_is_read(value):
    assert lesson.loads(lesson.dumps(value)) == value


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_lesson_or_broken(text):
    assert isinstance(lesson.loads(text), Broken)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it holds no object"),
        (changed(version=2), "its version is not 1"),
        (changed(version=True), "its version is not 1"),
        (changed(more=1), "more"),
        (changed(scarcer="disk"), "scarcer"),
        (changed(made=1), "made"),
        (changed(open_hosts="gpu1"), "open_hosts"),
        (changed(requests={}), "requests"),
        (changed(requests=[1]), "requests: objects"),
        (request(times=0), "requests[0]: 0"),
        (request(times=1.5), "requests[0]: 1.5"),
        (request(vcpus=-1), "requests[0]: -1"),
        (request(vcpus=float("nan")), "requests[0]: nan"),
        (request(memory_mb=float("inf")), "requests[0]: inf"),
        (request(memory_mb="1"), "requests[0]: '1'"),
        (request(vcpus=True), "requests[0]: True"),
        (request(cards=[]), "requests[0]: cards"),
        (request(cards={"k40c": 0}), "requests[0]: 0"),
        (request(name="g1"), "name"),
        (" " * (lesson.MOST_BYTES + 1), "larger"),
    ],
)
def test_what_is_wrong_is_said(text, problem):
    found = lesson.loads(text)
    assert isinstance(found, Broken)
    assert problem in found.problem


def test_requests_of_a_kind_are_counted_and_the_scarcer_resource_is_named():
    asked = [ORDINARY._replace(times=1), GPU, ORDINARY._replace(times=1)]
    assert lesson.of(asked, Amounts(9, 10)) == Lesson((ORDINARY, GPU), "memory_mb")
    assert lesson.of(asked, Amounts(9, 1_000_000)) == Lesson((ORDINARY, GPU), "vcpus")
