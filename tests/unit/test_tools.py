"""What `make` does before there is a gpufarm: messages instead of puzzles."""

import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"


def venv(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "venv", python, folder], capture_output=True, text=True, check=False
    )


def test_no_python(tmp_path: Path) -> None:
    done = venv("python-of-nowhere", tmp_path / "venv")
    assert done.returncode == 1
    assert "no python-of-nowhere here: install Python 3.11 to 3.13" in done.stderr


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = venv(str(old), tmp_path / "venv")
    assert done.returncode == 1
    assert "Python 3.9.2 is not one of Python 3.11 to 3.13" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_every_test_module_has_a_name_of_its_own() -> None:
    """pytest imports them by their bare names, and stops a whole run at two of one name."""
    folders = (ROOT / "tests", ROOT / "packages/gpufarm-nova/tests")
    names = Counter(path.name for folder in folders for path in folder.rglob("*.py"))
    assert {name for name, times in names.items() if times > 1} <= {"conftest.py"}
