"""Files are whole or not there; locks end with their holder."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gpufarm.system import files


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    files.write(path, "new", files.SECRET)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_equal_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.write_if_changed(path, "text")
    before = path.stat().st_ino
    assert not files.write_if_changed(path, "text")
    assert path.stat().st_ino == before


def test_a_lock_is_held_by_one_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom gpufarm.system import files\n"
        "with files.lock(Path(sys.argv[1]), wait=True):\n    print(1)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", holder, str(path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with files.lock(path, wait=False) as held:
            assert not held
        child.send_signal(signal.SIGKILL)
        child.wait(5)
        with files.lock(path, wait=False) as held:
            assert held


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert files.free_mb(tmp_path / "a" / "b") > 0
