"""A folder as a machine's root: nothing leads out of it, and nothing in it is raised."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.system import root as module
from gpufarm.system.root import MOST_BYTES, Folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    top = tmp_path / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "file").write_text("inside")
    return top


def test_reading(tree: Path) -> None:
    root = Folder(tree)
    assert root.text("/etc/file") == "inside"
    assert root.text("/etc/file", lambda text: text[:2]) == "in"
    assert root.read("/etc/none") is None
    assert root.read("/etc/file/below") is None
    assert root.read("/etc") is None
    assert root.names("/etc") == ("file",)
    assert root.names("/etc", "x") == ()
    assert root.names("/none") == ()
    assert root.among("/etc", {"file", "other"}) == {"file"}
    assert root.target("/etc/file") is None
    assert root.output("qemu") is None
    assert root.unreadable == frozenset()


@pytest.mark.parametrize(
    "target", ["/secret", "../../secret", "../../../../../../secret", "/../secret", "//secret"]
)
def test_no_symlink_leads_out(tree: Path, target: str) -> None:
    (tree / "etc" / "link").symlink_to(target)
    (tree / "folder").symlink_to("/")
    (tree / "above").symlink_to("..")
    root = Folder(tree)
    assert root.read("/etc/link") is None
    assert root.read("/folder/secret") is None
    assert root.read("/above/secret") is None
    assert root.text("/folder/etc/file") == "inside"
    assert root.text("/above/etc/file") == "inside"
    assert root.names("/above") == root.names("/")


def test_absolute_symlinks_mean_the_root(tree: Path) -> None:
    (tree / "link").symlink_to("/etc/file")
    (tree / "lib").symlink_to("/usr/lib")
    (tree / "usr" / "lib").mkdir(parents=True)
    (tree / "usr" / "lib" / "x").write_text("y")
    root = Folder(tree)
    assert root.text("/link") == "inside"
    assert root.text("/lib/x") == "y"
    assert root.target("/link") == "/etc/file"


def test_circles_end(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    (tree / "self").symlink_to("self/self")
    (tree / "deep").symlink_to("x/" * 2000 + "y")
    root = Folder(tree)
    for path in ("/a", "/self", "/deep", "/a/b/c"):
        assert root.read(path) is None
        assert root.names(path) == ()
        root.target(path)
    assert "/a" in root.unreadable


def test_where_a_link_leads_to_need_not_be_there(tree: Path) -> None:
    (tree / "sys" / "device").mkdir(parents=True)
    (tree / "sys" / "device" / "driver").symlink_to("../bus/drivers/nouveau")
    assert Folder(tree).target("/sys/device/driver") == "/sys/bus/drivers/nouveau"


def test_what_is_no_file_is_not_opened_for_long(tree: Path) -> None:
    os.mkfifo(tree / "etc" / "pipe")
    root = Folder(tree)
    assert root.read("/etc/pipe") is None
    assert root.unreadable == {"/etc/pipe"}


def test_too_large(tree: Path) -> None:
    with (tree / "etc" / "large").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    root = Folder(tree)
    assert root.read("/etc/large") is None
    assert root.unreadable == {"/etc/large"}


def test_no_right_to_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which tests that run as root cannot see otherwise."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    root = Folder(tree)
    monkeypatch.setattr(module.os, "open", refuse)
    monkeypatch.setattr(module.os, "listdir", refuse)
    assert root.read("/etc/file") is None
    assert root.names("/etc") == ()
    assert root.open_below("/dev/vfio/") == {}
    assert root.unreadable == {"/etc/file", "/etc", "/proc"}


def test_odd_names(tree: Path) -> None:
    for name in (b"bad\xff", b"new\nline", b"\x1b[2J"):
        (tree / "etc" / os.fsdecode(name)).touch()
    root = Folder(tree)
    assert root.names("/etc") == ("file",)
    assert root.unreadable == {"/etc/bad\\xff", "/etc/new\\x0aline", "/etc/\\x1b[2J"}


def test_bytes_that_are_no_text(tree: Path) -> None:
    (tree / "etc" / "file").write_bytes(b"a\xff\nb\x00")
    assert Folder(tree).text("/etc/file") == "a\\xff\nb\x00"


def test_open_files(tree: Path) -> None:
    (tree / "proc" / "12" / "fd").mkdir(parents=True)
    (tree / "proc" / "12" / "fd" / "3").symlink_to("/dev/vfio/14")
    (tree / "proc" / "12" / "fd" / "4").symlink_to("socket:[1]")
    (tree / "proc" / "self").mkdir()
    assert Folder(tree).open_below("/dev/vfio/") == {"/proc/12/fd/3": "/dev/vfio/14"}


def test_this_machine() -> None:
    root = Folder("/")
    assert root.name == "/"
    assert root.text("/proc/self/comm")
    release = root.text("/proc/sys/kernel/osrelease")
    assert release == Path("/proc/sys/kernel/osrelease").read_text()


NAMES = st.sampled_from(["a", "b", "..", ".", "etc", ""])
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(PATHS, st.booleans(), PATHS), max_size=6), PATHS)
def test_no_tree_of_links_leads_out(links: list[tuple[str, bool, str]], asked: str) -> None:
    """Whatever links there are: what is read lies in the root."""
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder)
        (outside / "a").write_text("outside")
        (outside / "b").mkdir()
        (outside / "b" / "a").write_text("outside")
        top = outside / "etc"
        (top / "etc").mkdir(parents=True)
        (top / "etc" / "a").write_text("inside")
        for place, absolute, target in links:
            path = top / Path(place.replace("..", "x").lstrip("/") or "x")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(("/" if absolute else "") + target)
            except OSError:
                continue
        root = Folder(top)
        normal = "/" + asked.replace("..", "x").strip("/")
        assert root.text(normal) in (None, "inside")
        assert root.text(normal + "/a") in (None, "inside")
        target = root.target(normal)
        assert target is None or ".." not in target.split("/")
