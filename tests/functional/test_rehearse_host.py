"""`gpufarm host rehearse` on a real virtual host: the whole way, and Ctrl-C in the middle of it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpufarm.lab.virthost import host

pytestmark = pytest.mark.virthost

CAPTURE = Path(__file__).parents[1] / "hosts" / "debian12-intel-fresh.json"
"""Of a host with an RX 6900 and three other cards, one of them in a group with a disk."""
GIVEN = "0000:03:00.0"
LONGEST = 1800


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    spec = tmp_path / "cards.yaml"
    spec.write_text(f'version: 1\ncards: [{{address: "{GIVEN}"}}]\niommu_passthrough: true\n')
    command = [sys.executable, "-m", "gpufarm", "host", "rehearse", "--root", str(CAPTURE)]
    return [*command, "--spec", str(spec), "--state", str(tmp_path / "lab"), "-f", "json"]


def test_the_whole_way(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    real = [row for row in rows if row["step"] != "not rehearsed"]
    assert {row["outcome"] for row in real} == {"done"}
    assert [row["name"] for row in real if row["step"] == "verify"] == ["in order"]
    assert [row["name"] for row in real if row["step"] == "verify as before"] == ["in order"]
    applied = {row["name"] for row in real if row["step"] == "apply"}
    assert {"command update-grub", "command update-initramfs -u -k all"} <= applied
    (stands_for,) = {row["detail"] for row in rows if row["name"] == GIVEN and row in real}
    assert stands_for.startswith("rehearsed by 0000:")
    differs = {row["name"] for row in rows if row["outcome"] == "differs"}
    assert f"{GIVEN} BARs" not in differs
    assert f"{GIVEN} reset" not in differs
    assert host.status(tmp_path / "lab") == ()


def test_ctrl_c_ends_the_virtual_host(words: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(line)
            if line.startswith("apply:"):
                (there,) = host.status(tmp_path / "lab")
                assert there.healthy
                run.send_signal(signal.SIGINT)
                break
        assert run.wait(LONGEST) == 130, "".join(said)
    assert host.status(tmp_path / "lab") == ()
