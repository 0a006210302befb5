"""What holds for every command: both shells have it, help shows an example, the docs name it."""

import re
import shlex
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from commands_reference import commands, render

from gpufarm.cli.shell import COMMANDS

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"
NAMES = sorted(point.name.replace("_", " ") for point in entry_points(group=COMMANDS))


def test_both_shells_have_the_same_commands() -> None:
    ours = {f"gpu_{point.name}": point.value for point in entry_points(group=COMMANDS)}
    theirs = {point.name: point.value for point in entry_points(group="openstack.gpu.v1")}
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_that_parses(name: str) -> None:
    command = commands()[name]
    parser = command.get_parser(f"gpufarm {name}")
    lines = [
        shlex.split(re.split(r" (?:\||>|&&) ", line)[0])
        for line in textwrap.dedent(command.examples).strip().splitlines()
        if f"gpufarm {name}" in line
    ]
    assert lines, f"no example of `gpufarm {name}`"
    assert "examples:" in parser.format_help()
    for words in lines:
        if words[0] == "gpufarm":
            parser.parse_args(words[1 + len(name.split()) :])


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_does_in_one_line(name: str) -> None:
    first = (type(commands()[name]).__doc__ or "").strip().splitlines()[0]
    assert 10 < len(first) <= 90


def test_reference(regenerate: bool) -> None:
    if regenerate:
        REFERENCE.parent.mkdir(parents=True, exist_ok=True)
        REFERENCE.write_text(render())
    assert REFERENCE.read_text() == render()


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys; from gpufarm.cli.shell import main; main(['--help']);"
        "heavy = {'openstack', 'keystoneauth1', 'requests', 'rich'} & sys.modules.keys();"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
