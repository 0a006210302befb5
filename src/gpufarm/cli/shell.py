"""The `gpufarm` command: global options, finding the command, help."""

import argparse
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import IO, Any

from cliff import app, commandmanager

from gpufarm import __version__
from gpufarm.cli.base import EXIT_USAGE, strict

COMMANDS = "gpufarm.cli"
"""The entry point group; `openstack.gpu.v1` has the same commands."""


class Commands(commandmanager.CommandManager):
    """The commands by name, each imported only when it runs."""

    def load_commands(self, namespace: str) -> None:
        self.group_list.append(namespace)
        for entry_point in entry_points(group=namespace):
            self.commands[entry_point.name.replace("_", " ")] = entry_point

    def below(self, words: Sequence[str]) -> list[str]:
        """Names of commands that begin with `words` and go on."""
        return sorted(
            name
            for name in self.commands
            if name.split()[: len(words)] == list(words) and len(name.split()) > len(words)
        )


class Shell(app.App):
    """The application that commands see as `self.app`."""

    NAME = "gpufarm"

    def __init__(self) -> None:
        super().__init__(
            description="Servers with GPUs by PCI passthrough in an OpenStack cloud, kept true.",
            version=__version__,
            command_manager=Commands(COMMANDS),
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: Any = None,  # noqa: ARG002  (the name is cliff's)
    ) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=self.NAME, description=description, add_help=False, allow_abbrev=False
        )
        parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
        parser.add_argument("--version", action="version", version=f"{self.NAME} {version}")
        loudness = parser.add_mutually_exclusive_group()
        loudness.add_argument(
            "-v",
            "--verbose",
            action="count",
            dest="verbose_level",
            default=self.DEFAULT_VERBOSE_LEVEL,
            help="log what is asked of the cloud; twice: everything",
        )
        loudness.add_argument(
            "-q",
            "--quiet",
            action="store_const",
            const=0,
            dest="verbose_level",
            help="no notes and no progress, only the result and errors",
        )
        parser.add_argument("--log-file", metavar="FILE", help="log to FILE too")
        parser.add_argument("--debug", action="store_true", help="show tracebacks, log everything")
        parser.add_argument(
            "--os-cloud",
            metavar="NAME",
            dest="cloud",
            default=os.environ.get("OS_CLOUD"),
            help="the cloud of this name in clouds.yaml (env: OS_CLOUD)",
        )
        return strict(parser)

    def configure_logging(self) -> None:
        level = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}.get(
            3 if self.options.debug else self.options.verbose_level, logging.DEBUG
        )
        logging.basicConfig(stream=self.stderr, level=level, format="%(name)s: %(message)s")
        if self.options.log_file:
            handler = logging.FileHandler(self.options.log_file)
            handler.setFormatter(logging.Formatter(self.LOG_FILE_MESSAGE_FORMAT))
            logging.getLogger().addHandler(handler)
        if level > logging.INFO:
            # It warns of each way that it tries, and then raises what our message says.
            logging.getLogger("keystoneauth").setLevel(logging.ERROR)
            warnings.simplefilter("ignore")  # of the libraries; nobody who runs this can act on it

    def run(self, argv: Sequence[str]) -> int:
        """Like cliff's, but without arguments it prints the help instead of waiting for lines."""
        options, words = self.parser.parse_known_args(argv)
        if not words or (options.help and words[0].startswith("-")):
            self.options = options
            if words:
                self.parser.error(f"unrecognized arguments: {' '.join(words)}")
            self.print_commands(self.stdout)
            return 0
        if options.help:
            argv = ["help", *words]
        return int(super().run(list(argv)))

    def run_subcommand(self, argv: list[str]) -> int:
        helping = argv[0] == "help"
        words = argv[1:] if helping else argv
        if helping and self.command_manager.below(words):
            self.print_commands(self.stdout, words)
            return 0
        try:
            self.command_manager.find_command(words)
        except ValueError:
            return self.unknown(words)
        # Not through cliff's help command, which reads the metadata of every distribution.
        return int(super().run_subcommand([*words, "--help"] if helping else words))

    def unknown(self, words: Sequence[str]) -> int:
        """Exit status of what is no command; says which there are."""
        if words[0].startswith("-"):
            self.parser.error(f"unrecognized arguments: {words[0]}")
        names = self.command_manager.below(words[:1]) or self.command_manager.below(())
        listed = "\n  ".join(names)
        self.stderr.write(
            f"error: {' '.join(words)!r} is not a {self.NAME} command; there are:\n  {listed}\n"
        )
        return EXIT_USAGE

    def print_commands(self, stream: IO[str], words: Sequence[str] = ()) -> None:
        """Help on all commands, or on those that begin with `words`."""
        if not words:
            self.parser.print_help(stream)
            stream.write("\n")
        stream.write("commands:\n")
        for name in self.command_manager.below(words):
            description = inspect.getdoc(self.command_manager.commands[name].load()) or ""
            stream.write(f"  {name:<14} {description.partition(chr(10))[0].rstrip('.')}\n")
        stream.write(f"\n`{self.NAME} COMMAND --help` says more, with an example.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gpufarm` with `argv` (the process's own where None); returns the exit status."""
    try:
        try:
            status = Shell().run(sys.argv[1:] if argv is None else argv)
        except SystemExit as leaving:  # of a parser: help, version, wrong usage
            status = int(leaving.code or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone; without this Python complains once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    return status
