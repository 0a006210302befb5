"""The file of what was learned: read when it changed, and one warning where it is of no use."""

import json

import pytest

from gpufarm_nova import lesson
from gpufarm_nova.learned import LessonFile
from gpufarm_nova.lesson import Lesson, Request

FIRST = Lesson((Request((("k40c", 1),), 4.0, 8192.0, 3),), made="2026-11-21T07:00:00Z")
SECOND = FIRST._replace(open_hosts=frozenset({"node1"}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lesson.json"


def write(path, text):
    """As gpufarm does it: another file takes its place."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_no_file_is_no_lesson():
    assert LessonFile(None).lesson() is None


def test_the_same_file_is_the_same_object(path):
    write(path, lesson.dumps(FIRST))
    file = LessonFile(str(path))
    found = file.lesson()
    assert found == FIRST
    assert file.lesson() is found


def test_a_file_that_was_written_anew_is_read(path):
    write(path, lesson.dumps(FIRST))
    file = LessonFile(str(path))
    file.lesson()
    write(path, lesson.dumps(SECOND))
    assert file.lesson() == SECOND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        lesson.dumps(FIRST)[:-20],
        json.dumps({**json.loads(lesson.dumps(FIRST)), "version": 0}),
        json.dumps({**json.loads(lesson.dumps(FIRST)), "more": 0}),
        "[" * 100_000,
    ],
)
def test_a_broken_or_old_file_is_none_and_said_once(path, caplog, text):
    write(path, lesson.dumps(FIRST))
    file = LessonFile(str(path))
    file.lesson()
    write(path, text)
    assert [file.lesson(), file.lesson()] == [None, None]
    assert caplog.text.count("goes by the flavors alone") == 1
    write(path, lesson.dumps(SECOND))
    assert file.lesson() == SECOND


def test_a_missing_file_is_none_and_said_once_until_it_is_there(path, caplog):
    file = LessonFile(str(path))
    assert [file.lesson(), file.lesson()] == [None, None]
    assert caplog.text.count("cannot be used") == 1
    write(path, lesson.dumps(FIRST))
    assert file.lesson() == FIRST
    path.unlink()
    assert file.lesson() is None
    assert caplog.text.count("cannot be used") == 2


def test_what_is_no_text_is_none(path, caplog):
    path.write_bytes(b"\xff\xfe\x00")
    assert LessonFile(str(path)).lesson() is None
    assert "cannot be used" in caplog.text


def test_a_folder_or_a_path_that_cannot_be_is_none(path, caplog):
    assert LessonFile(str(path.parent)).lesson() is None
    assert LessonFile("no\0path").lesson() is None
    assert caplog.text.count("cannot be used") == 2


def test_a_file_that_is_too_large_is_not_read(path, caplog, monkeypatch):
    monkeypatch.setattr(lesson, "MOST_BYTES", 100)
    write(path, lesson.dumps(FIRST))
    assert LessonFile(str(path)).lesson() is None
    assert "larger" in caplog.text
