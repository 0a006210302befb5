"""Running programs: bounded in time and output, never through a shell."""

import os
import signal
import time
from pathlib import Path

import pytest

from gpufarm.model.errors import ProgramError, ProgramMissing, ProgramTimedOut
from gpufarm.system import run as module
from gpufarm.system.run import run


def test_done() -> None:
    done = run(["sh", "-c", "cat; echo err >&2; exit 3"], timeout=10, stdin=b"in")
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_words_are_words() -> None:
    hostile = ["$(touch /tmp/x)", "; echo", "`id`", "a b", "*", "\n"]
    done = run(["printf", "%s|", *hostile], timeout=10)
    assert done.stdout.decode() == "|".join(hostile) + "|"


def test_a_signal() -> None:
    assert run(["sh", "-c", "kill -9 $$"], timeout=10).status == -signal.SIGKILL


def test_much_in_and_out() -> None:
    data = os.urandom(3_000_000)
    assert run(["cat"], timeout=30, stdin=data).stdout == data


def test_a_program_that_does_not_read() -> None:
    assert run(["true"], timeout=10, stdin=b"x" * 1_000_000).status == 0


def test_no_such_program() -> None:
    with pytest.raises(ProgramMissing, match="none-such: there is no such program"):
        run(["none-such"], timeout=1)


def test_what_cannot_be_started(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ProgramError, match="cannot be started"):
        run([str(file)], timeout=1)
    with pytest.raises(ProgramError, match="cannot be started"):
        run(["true", "nul\0"], timeout=1)


@pytest.mark.parametrize(
    "script", ["sleep 60", "exec >&- 2>&-; sleep 60", "while :; do echo; done"]
)
def test_too_long(script: str) -> None:
    with pytest.raises(ProgramTimedOut, match=r"within 0\.3 s"):
        run(["sh", "-c", script], timeout=0.3)


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(ProgramTimedOut):
        run(["sh", "-c", f"sleep 60 & echo $! > {mark}; wait"], timeout=1)
    child = int(mark.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the child lives on")


def test_too_much_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OUTPUT", 1000)
    with pytest.raises(ProgramError, match="more than 1000 bytes"):
        run(["sh", "-c", "while :; do echo xxxxxxxxxxxxxxxx; done"], timeout=10)


def test_language_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/opt/mine")
    done = run(
        ["/bin/sh", "-c", 'echo "$LC_ALL $PATH $MORE"'], timeout=9, environment={"MORE": "m"}
    )
    language, path, more = done.stdout.decode().split()
    assert (language, more) == ("C", "m")
    assert path.startswith("/opt/mine:")
    assert "/usr/sbin" in path
