"""Captures: one format, the same bytes for the same facts, refused with a reason, no secrets."""

import base64
import gzip
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.model.errors import CaptureInvalid
from gpufarm.system import capture as module
from gpufarm.system import secrets
from gpufarm.system.capture import (
    Capture,
    Captured,
    Recorder,
    blot,
    decode,
    encode,
    open_root,
)
from gpufarm.system.root import Folder

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda p: "/" + "/".join(p))
CAPTURES = st.builds(
    Capture,
    files=st.dictionaries(PATHS, st.text("ab\n=\"' ", max_size=12), max_size=5),
    binary=st.dictionaries(PATHS, st.binary(max_size=8), max_size=3),
    links=st.dictionaries(PATHS, PATHS, max_size=3),
    present=st.lists(PATHS, max_size=3),
    unreadable=st.lists(PATHS, max_size=3),
    outputs=st.dictionaries(st.sampled_from(["qemu"]), st.text("ab", max_size=3)),
)


@given(CAPTURES, st.booleans())
def test_written_and_read(found: Capture, readable: bool) -> None:
    data = encode(found, readable=readable)
    assert decode(data, "f") == found
    assert encode(decode(data, "f"), readable=readable) == data


@given(CAPTURES)
def test_a_capture_is_a_root(found: Capture) -> None:
    root = Captured(found, "f")
    for path in found.files:
        assert root.text(path) == found.files[path]
        folder, _, name = path.rpartition("/")
        assert name in root.names(folder)
        assert root.among(folder, {name, "none"}) == {name}
    for path in found.links:
        assert root.target(path) == found.links[path]
    assert root.read("/none") is None


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for tried in (data, gzip.compress(data)):
        with pytest.raises(CaptureInvalid, match=r"^file: "):
            decode(tried, "file")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither a folder nor a capture"),
        (b"{}", None),
        (b'{"format": "other"}', "not a capture of version 1"),
        (b'{"version": 2}', "not a capture of version 1"),
        (b'{"colour": 1}', "unknown field"),
        (b'{"files": {"etc/x": ""}}', "no absolute path"),
        (b'{"files": {"/etc/\\n": ""}}', "no absolute path"),
        (b'{"files": {"/x": 1}}', "Expected `str`"),
        (gzip.compress(b"{}", mtime=0)[:-9], "damaged: it ends early"),
        (gzip.compress(b"{}", mtime=0)[:5] + b"xxxxxxxxxxxx", "damaged"),
    ],
)
def test_refusals(data: bytes, reason: str | None) -> None:
    if reason is None:
        assert decode(data, "f") == Capture()
        return
    with pytest.raises(CaptureInvalid, match=reason):
        decode(data, "f")


def test_a_bomb_does_not_unfold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    with pytest.raises(CaptureInvalid, match="more than 10000 bytes"):
        decode(gzip.compress(b'{"files": {"/x": "' + b"x" * 100_000 + b'"}}'), "f")


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    (tmp_path / "f").write_bytes(b"x" * 20)
    with pytest.raises(CaptureInvalid, match="larger than 10 bytes"):
        open_root(tmp_path / "f")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureInvalid, match="cannot be read: No such file"):
        open_root(tmp_path / "none")
    assert isinstance(open_root(tmp_path), Folder)


def test_compressed_is_small_and_has_no_time() -> None:
    found = Capture(files={f"/sys/{number}/vendor": "0x10de\n" for number in range(1000)})
    data = encode(found)
    assert len(data) < 8000
    assert data[4:8] == b"\0\0\0\0"
    assert zlib.decompress(data, 31) == msgspec.json.encode(found, order="sorted")


def test_binary_is_base64() -> None:
    data = encode(Capture(binary={"/x": b"\xff\x00"}), readable=True)
    assert base64.b64encode(b"\xff\x00") in data


def test_a_recorder_keeps_what_was_asked_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("kept, dropped")
    (tmp_path / "a" / "c").write_bytes(b"\x00")
    (tmp_path / "a" / "d").symlink_to("b")
    (tmp_path / "other").write_text("not asked for")
    recorder = Recorder(Folder(tmp_path))
    recorder.names("/a")
    recorder.among("/a", {"b", "x"})
    recorder.text("/a/b", lambda text: text.split(",")[0])
    recorder.read("/a/c")
    recorder.target("/a/d")
    recorder.text("/none")
    assert recorder.capture() == Capture(
        files={"/a/b": "kept"}, binary={"/a/c": b"\x00"}, links={"/a/d": "/a/b"}
    )


SECRETS = [
    ("/proc/cmdline", "ro rd.iscsi.password=hunter2 quiet", "ro rd.iscsi.password=BLOTTED quiet"),
    ("/proc/cmdline", "ip=dhcp token=hunter2", "ip=dhcp token=BLOTTED"),
    ("/proc/cmdline", 'root=x cifs="user=a,pass=hunter2"', None),
    ("/etc/default/grub", 'GRUB_CMDLINE_LINUX="api_key=hunter2 quiet"', None),
    ("/boot/grub/grub.cfg", "password_pbkdf2 root grub.pbkdf2.sha512.10000.hunter2", None),
    ("/boot/grub/grub.cfg", "  password admin hunter2", None),
    ("/etc/modprobe.d/x.conf", "options x secret='hunter2 y' b=1", None),
    ("/etc/modprobe.d/x.conf", "options x url=https://me:hunter2@host/", None),
    ("/etc/x", "x $6$salt$hunter2/. y", "x BLOTTED y"),
    (
        "/proc/12/cmdline",
        "qemu\0-object\0secret,data=hunter2\0-name\0vm1\0-x\0y",
        "qemu\0-name\0vm1",
    ),
    ("/proc/12/cmdline", "prog\0--password\0hunter2", "prog"),
]


@pytest.mark.parametrize(("path", "text", "expected"), SECRETS)
def test_secrets_are_blotted_out(path: str, text: str, expected: str | None) -> None:
    blotted = secrets.blot(path, text)
    assert "hunter2" not in blotted
    assert expected is None or blotted == expected
    found = blot(Capture(files={path: text}))
    assert found.blotted == [path]
    assert b"hunter2" not in encode(Capture(files={path: text}), readable=True)
    assert blot(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "root=/dev/sda1 ro intel_iommu=on iommu=pt vfio-pci.ids=10de:1b80,10de:10f0 quiet",
        "options vfio-pci ids=10de:1b80 disable_vga=1\nblacklist nouveau\n",
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_TIMEOUT=0\n',
        "rd.luks.uuid=1234 rd.lvm.lv=vg/root mitigations=auto",
        "pci=realloc pcie_aspm=off passthrough=1 iommu.passthrough=1 bypass=1",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert secrets.blot("/etc/x", text) == text
