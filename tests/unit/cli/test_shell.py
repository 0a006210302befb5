"""The shell around the commands: exit statuses, what goes where."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from gpufarm import __version__
from gpufarm.cli import base, progress
from gpufarm.cli.shell import Shell, main
from gpufarm.model.errors import CloudUnreachable, NotAdmitted


class Probe(base.Lister):
    """A command that does what a test tells it."""

    error: Any = None

    def take_action(self, _: Any) -> Any:
        self.note("a note")
        with self.progress("a long step", 2) as shown:
            shown.advance("one")
        if self.error:
            raise self.error
        return ("name", "free"), [("k40c", 2)]


class Finds(Probe):
    """A check that finds something."""

    found = True


def run(*words: str) -> int:
    """The exit status of a shell that has those two commands as well."""
    shell = Shell()
    shell.command_manager.add_command("probe", Probe)
    shell.command_manager.add_command("finds", Finds)
    return shell.run(words)


def test_without_arguments_it_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "--os-cloud" in out
    assert "capacity" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpufarm {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["--nonsense", "capacity"],
        ["lab"],
        ["lab", "nonsense"],
        ["help", "nonsense"],
        ["capacity", "--nonsense"],
        ["capacity", "-f", "nonsense"],
        ["capacity", "--only", "nonsense"],
        ["capacity", "extra"],
        ["server", "create", "x", "--flavor", "y"],
        ["server", "create", "x", "--flavor", "y", "--image", "z", "--timeout", "soon"],
    ],
)
def test_wrong_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err
    assert "Traceback" not in err


def test_a_noun_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "--help"]) == 0
    out = capsys.readouterr().out
    assert "lab up" in out
    assert "capacity" not in out


def test_result_and_the_rest_go_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("probe", "-f", "json", "--noindent") == 0
    out, err = capsys.readouterr()
    assert out == '[{"name": "k40c", "free": 2}]\n'
    assert err == "a note\n[1/2] one\n"


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-q", "probe", "-f", "value") == 0
    assert capsys.readouterr() == ("k40c 2\n", "")


def test_a_check_that_found_something() -> None:
    assert run("finds") == 2


def test_an_unknown_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("probe", "-c", "nonsense") == 64
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CloudUnreachable("no answer"), (1, "error: no answer\n")),
        (NotAdmitted("g1", "no card"), (2, "error: flavor g1: no card\n")),
        (base.UsageError("not both"), (64, "error: not both\n")),
        (OSError(28, "No space left on device", "/x"), (1, "No space left on device: '/x'\n")),
        (ZeroDivisionError("oh"), (1, "error: ZeroDivisionError: oh\n")),
        (KeyboardInterrupt(), (130, "")),
    ],
)
def test_errors(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: tuple[int, str],
) -> None:
    status, text = expected
    monkeypatch.setattr(Probe, "error", error)
    assert run("probe") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(text)
    assert "Traceback" not in err


def test_debug_shows_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "error", CloudUnreachable("no answer"))
    assert run("--debug", "probe") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: no answer\n")


def test_a_reader_that_leaves() -> None:
    script = "import sys; from gpufarm.cli.shell import main; sys.exit(main(['--help']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


def test_ctrl_c() -> None:
    script = (
        "import signal, sys, time; from gpufarm.cli import shell, base\n"
        # Ignored where the tests themselves run in the background of a shell.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Wait(base.Command):\n"
        "  '''Wait.'''\n"
        "  def take_action(self, _): self.note('waiting'); time.sleep(30)\n"
        "class Shell(shell.Shell):\n"
        "  def __init__(self): super().__init__(); self.command_manager.add_command('wait', Wait)\n"
        "shell.Shell = Shell; sys.exit(shell.main(['wait']))"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline() == "waiting\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    assert running.stderr.read() == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writing, "w") as stream:
        with progress.show(stream, "booting [it]", 2, quiet=False) as shown:
            shown.advance("first")
            time.sleep(0.2)
        text = os.read(reading, 65536).decode()
    os.close(reading)
    assert "booting [it]: first" in text
