"""What collect.sh prints, and what anybody else might."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.model.errors import CaptureInvalid
from gpufarm.system.capture import Capture
from gpufarm.system.stream import parse, script

BEGIN = b"gpufarm-collect 1\n"
END = b"end\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", Capture()),
        (b"F /a\n=one\n-two\n", Capture(files={"/a": "one\ntwo"})),
        (b"F /a\n", Capture(files={"/a": ""})),
        (b"F /a\n=F /b\n=end\n", Capture(files={"/a": "F /b\nend\n"})),
        (b"F /a\n=\xff\n", Capture(files={"/a": "\\xff\n"})),
        (b"F /proc/1/cmdline\n=a\n=-name\n=b\n", Capture(files={"/proc/1/cmdline": "a\0-name\0b"})),
        (b"B /a\n=00 ff\n= 01\n", Capture(binary={"/a": b"\x00\xff\x01"})),
        (b"L /a/b\n>/c\n", Capture(links={"/a/b": "/c"})),
        (b"L /a/b\n~../c\n", Capture(links={"/a/b": "/c"})),
        (b"L /a/b\n~../../../c\n", Capture(links={"/a/b": "/c"})),
        (b"P /a\nP /a\n", Capture(present=["/a"])),
        (b"U /a\n", Capture(unreadable=["/a"])),
        (b"V qemu QEMU 7.2\n", Capture(outputs={"qemu": "QEMU 7.2"})),
        (b"F /a\n=x\nV qemu 7\n=y\n", Capture(files={"/a": "x\ny\n"}, outputs={"qemu": "7"})),
        (b"P /a\xff\n", Capture(unreadable=["/a\\xff"])),
        (b"F /\x1b\n=x\n", Capture(unreadable=["/\\x1b"])),
        (b"F relative\n=x\n", Capture(unreadable=["relative"])),
    ],
)
def test_streams(lines: bytes, expected: Capture) -> None:
    assert parse(BEGIN + lines + END, "host") == expected
    assert parse(b"Welcome!\n\n" + BEGIN + lines + END, "host") == expected


@pytest.mark.parametrize(
    "lines",
    [b"=x\n", b"P /a\n=x\n", b"L /a\n=x\n", b"F /a\n>x\n", b"nonsense\n", b"\n", b"B /a\n-00\n"],
)
def test_odd_lines_are_refused(lines: bytes) -> None:
    with pytest.raises(CaptureInvalid, match="of what it sent is odd"):
        parse(BEGIN + lines + END, "host")


@pytest.mark.parametrize("text", [b"", b"hello\n", BEGIN, BEGIN + b"end", BEGIN + b"F /a\n=end"])
def test_no_end(text: bytes) -> None:
    with pytest.raises(CaptureInvalid, match=r"no POSIX shell|ends early"):
        parse(text, "host")


def test_no_hex() -> None:
    with pytest.raises(CaptureInvalid, match="no hex"):
        parse(BEGIN + b"B /a\n=xyz\n" + END, "host")


PIECES = st.sampled_from([BEGIN, END, b"F /a\n", b"=x\n", b"-y", b"L /a\n", b">/b\n", b"V a b\n"])


@given(st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_stream_is_refused_or_a_capture(stream: bytes) -> None:
    try:
        found = parse(stream, "host")
    except CaptureInvalid:
        return
    for part in (found.files, found.links, found.present):
        assert all(path.startswith("/") and path.isprintable() for path in part)


def test_the_script_is_plain_text() -> None:
    """Nothing is filled in, so that nothing from outside can be in it."""
    text = script().decode("ascii")
    assert "{0}" not in text
    assert "%(" not in text
    assert "\t" not in text
    assert text.endswith('main "${1-}" 2>/dev/null\n')
