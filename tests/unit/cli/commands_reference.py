"""docs/reference/commands.md, from the parsers of the commands themselves."""

import argparse
import inspect
import textwrap
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from gpufarm.cli.shell import COMMANDS, Shell

INTRODUCTION = """\
# Commands

Written by `pytest tests/unit/cli --regenerate`; do not edit.

Each command is also `openstack gpu ...` where python-openstackclient is installed. Lists and
objects take `-f table|json|yaml|csv|value` (objects: `shell` instead of `csv`) and `-c COLUMN`.
Progress and notes go to standard error; standard output is only the result.

| exit status | means |
|---|---|
| 0 | done, and in order |
| 1 | an error: the message says what, where and what to do |
| 2 | a check found something, or a server was not admitted |
| 64 | wrong usage |
| 130 | ended by Ctrl-C |

Before the command stand `--os-cloud NAME` (a cloud of clouds.yaml; otherwise `OS_CLOUD` or the
`OS_*` variables; otherwise the lab, where one runs), `-q` (no notes and no progress), `-v` (log
what is asked of the cloud), `--log-file FILE`, `--debug` (tracebacks).
"""

SHOWN = ("positional arguments", "options")


def commands() -> dict[str, Any]:
    """{"lab up": an instance of its class}, of all commands."""
    shell = Shell()
    shell.options = shell.parser.parse_args([])
    return {
        point.name.replace("_", " "): point.load()(shell, None)
        for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name)
    }


def render() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(_section(name, each) for name, each in commands().items())])


def _section(name: str, command: Any) -> str:
    parser = command.get_parser(f"gpufarm {name}")
    actions = [
        action
        for group in parser._action_groups
        if group.title in SHOWN
        for action in group._group_actions
        if action.dest != "help"
    ]
    words = ["gpufarm", name, *_usage(actions)]
    lines = [f"## {name}", "", inspect.getdoc(type(command)) or "", ""]
    lines += ["```", " ".join(words), "```", ""]
    lines += [f"- `{_spelled(action)}`: {_help(action)}" for action in actions]
    lines += [""] if actions else []
    lines += ["```console", *_console(command.examples), "```", ""]
    return "\n".join(lines)


def _usage(actions: list[argparse.Action]) -> Iterator[str]:
    for action in actions:
        spelled = _spelled(action)
        if action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction):
            spelled += " ..."
        needed = action.required and action.nargs != "*"
        yield spelled if needed else f"[{spelled}]"


def _spelled(action: argparse.Action) -> str:
    value = action.metavar or (
        "|".join(str(choice) for choice in action.choices) if action.choices else action.dest
    )
    if not action.option_strings:
        return str(value)
    name = action.option_strings[-1]
    return name if action.nargs == 0 else f"{name} {value}"


def _help(action: argparse.Action) -> str:
    return " ".join(((action.help or "") % {"default": action.default}).split())


def _console(examples: str) -> list[str]:
    lines = textwrap.dedent(examples).strip().splitlines()
    return [line if not line or line.startswith("#") else f"$ {line}" for line in lines]
