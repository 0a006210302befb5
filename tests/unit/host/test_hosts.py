"""Whole hosts (tests/hosts): what is read, listed and found, by every way to read them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from host_machines import HOSTS, build, load

from gpufarm.host import facts, report
from gpufarm.host.cards import cards
from gpufarm.host.findings import check
from gpufarm.host.ids import Names
from gpufarm.model.facts import HostFacts
from gpufarm.system import capture, stream
from gpufarm.system.capture import Captured, open_root
from gpufarm.system.root import Folder, Root

CAPTURES = sorted(
    path for path in HOSTS.glob("*.json") if not path.stem.endswith((".scan", ".check"))
)
DESCRIBED = sorted(HOSTS.glob("*.yaml"))
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}


def a_root(path: Path, tmp_path: Path) -> Root:
    return open_root(path) if path.suffix == ".json" else Folder(build(tmp_path, load(path)))


def of_any_origin(found: HostFacts) -> HostFacts:
    return msgspec.structs.replace(found, origin="")


@pytest.mark.parametrize("host", [*CAPTURES, *DESCRIBED], ids=lambda path: path.stem)
def test_golden(host: Path, tmp_path: Path, regenerate: bool) -> None:
    """Without a pci.ids, whose names change from release to release."""
    found = facts.read(a_root(host, tmp_path))
    shown = {
        "scan": msgspec.to_builtins(report.scan(found, Names())),
        "check": msgspec.to_builtins(check(found, cards(found))),
    }
    for kind, value in shown.items():
        golden = host.with_name(f"{host.stem}.{kind}.json")
        text = json.dumps(value, indent=2) + "\n"
        if regenerate:
            golden.write_text(text)
        assert text == golden.read_text()


@pytest.mark.parametrize("host", [*CAPTURES, *DESCRIBED], ids=lambda path: path.stem)
def test_a_capture_says_the_same(host: Path, tmp_path: Path) -> None:
    root = a_root(host, tmp_path)
    found = facts.read(root)
    data = capture.encode(facts.capture(root))
    again = Captured(capture.decode(data, "file"), root.name)
    assert facts.read(again) == found
    assert capture.encode(facts.capture(again)) == data


@pytest.mark.parametrize("host", CAPTURES, ids=lambda path: path.stem)
def test_a_kept_capture_is_what_is_written_today(host: Path, regenerate: bool) -> None:
    """Nothing in it that no fact is made of, and nothing missing."""
    data = capture.encode(facts.capture(open_root(host)), readable=True)
    if regenerate:
        host.write_bytes(data)
    assert data == host.read_bytes()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("host", DESCRIBED, ids=lambda path: path.stem)
def test_the_script_says_the_same(host: Path, shell: str, tmp_path: Path) -> None:
    """collect.sh, by the shells that hosts have, with a folder that stands for /."""
    root = Folder(build(tmp_path, load(host)))
    sent = collect(tmp_path, SHELLS[shell])
    found = facts.read(Captured(stream.parse(sent, root.name), root.name))
    assert found == facts.read(root)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_script_needs_no_programs(shell: str, tmp_path: Path) -> None:
    """Without any but the shell, only what a shell cannot see is missing."""
    words = [shutil.which(SHELLS[shell][0]) or "", *SHELLS[shell][1:]]
    tree = build(tmp_path / "tree", load(HOSTS / "sv-gtx1080.yaml"))
    alone = stream.script().replace(b":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", b"")
    done = subprocess.run(
        [*words, "-s", str(tree)],
        input=alone,
        env={"PATH": "/none"},
        capture_output=True,
        check=True,
    )
    found = facts.read(Captured(stream.parse(done.stdout, "x"), "x"))
    whole = facts.read(Folder(tree))
    assert of_any_origin(found) == of_any_origin(whole)


def collect(root: Path, shell: list[str]) -> bytes:
    return subprocess.run(
        [*shell, "-s", str(root)],
        input=stream.script(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    ).stdout


def test_the_readme_names_every_host() -> None:
    page = (HOSTS / "README.md").read_text()
    for path in (*CAPTURES, *DESCRIBED):
        assert f"`{path.name}`" in page


def test_kept_captures_have_no_secret() -> None:
    for path in CAPTURES:
        assert not re.search(r"hunter2|PRIVATE KEY|ssh-(rsa|ed25519) ", path.read_text())
