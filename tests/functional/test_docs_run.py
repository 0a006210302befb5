"""The README's commands and the tutorial, run as they stand, in a copy of the checkout."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv"
COPIED = (
    *("Makefile", "README.md", "docs", "examples", "packages", "pyproject.toml", "requirements"),
    "tools",
)
BLOCK = re.compile(r"^```sh(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "make test": "is what runs this",
    "pip install ./packages/gpufarm-nova .": "the environment of the tests has it",
    "gpufarm --os-cloud mycloud farm plan farm.yaml": "a cloud of the reader's",
    "gpufarm --os-cloud mycloud farm apply farm.yaml": "a cloud of the reader's",
    "gpufarm --os-cloud mycloud farm check farm.yaml": "a cloud of the reader's",
    "gpufarm host scan --ssh root@gpu01": "a host of the reader's",
    "gpufarm host plan --spec spec.yaml --ssh root@gpu01": "a host of the reader's",
    "gpufarm farm render farm.yaml --layout kolla -o DIR": "run by test_farm.py",
}

pytestmark = pytest.mark.lab


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, with the virtual environment that `make test` made."""
    assert VENV.is_dir(), "the docs' commands need the environment of `make test`: .venv"
    folder = tmp_path / "gpufarm"
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(VENV)
    return folder


def script(text: str) -> str:
    """The shell blocks of a page, each with the exit status that it announces."""
    lines = ["set -eu"]
    for status, block in BLOCK.findall(text):
        if status:
            lines.append(f"status=0; ( {block.strip()} ) || status=$?; test $status -eq {status}")
        else:
            lines.append(block)
    return "\n".join(lines)


def run(shell: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name[:3] != "OS_"}
    environment.pop("GPUFARM_LAB_STATE", None)
    done = subprocess.run(
        ["bash", "-xc", shell],
        cwd=folder,
        env={**environment, "HOME": str(folder.parent), "XDG_CACHE_HOME": _cache()},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _cache() -> str:
    """The templates of the other labs of this run serve here too."""
    return os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))


def test_the_tutorial_runs(checkout: Path) -> None:
    page = (checkout / "docs" / "tutorial" / "first-farm.md").read_text()
    assert len(BLOCK.findall(page)) > 10
    said = run(script(page), checkout)
    assert "all 4 of 4 l40s cards (CUSTOM_PCI_10DE_26B9) are in use on 2 hosts" in said


def test_the_readme_runs(checkout: Path) -> None:
    readme = (checkout / "README.md").read_text()
    lines = [
        re.sub(r"\s+#.*", "", line).strip()
        for _, block in BLOCK.findall(readme)
        for line in block.splitlines()
    ]
    assert {"make up", "make test"} <= set(lines)
    assert set(NOT_RUN) <= set(lines)
    wanted = [line for line in lines if line not in NOT_RUN]
    again = ["make up", ".venv/bin/openstack server list -f value -c Name -c Status", "make down"]
    said = run("\n".join(["set -eu", *wanted, *again, "make reset"]), checkout)
    assert said.splitlines().count("gpu-server ACTIVE") == 1
    assert said.splitlines().count("ordinary-server ACTIVE") == 1
    assert "| l40s | l40s-1 |     2 |" in said
