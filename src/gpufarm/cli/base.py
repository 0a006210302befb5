"""What every command shares: connecting, notes, progress, errors and exit statuses.

A command derives from `Command`, `Lister` or `ShowOne` and works the same as `gpufarm ...` and as
`openstack gpu ...`. `take_action` raises GpufarmError, or UsageError for what a parser cannot see,
and sets `found` where a check found something; the rest is decided here.
"""

import argparse
import contextlib
import os
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from osc_lib.command import command

from gpufarm.cli.progress import Progress, show
from gpufarm.model.errors import CloudUnreachable, FarmError, GpufarmError, NotAdmitted

if TYPE_CHECKING:
    from openstack.connection import Connection

EXIT_ERROR = 1
EXIT_FOUND = 2
EXIT_USAGE = 64
"""EX_USAGE of sysexits.h."""


class UsageError(Exception):
    """Arguments that contradict each other or what the command offers."""


def strict(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """`parser`, whose errors end with exit status 64 instead of argparse's 2."""

    def refuse(message: str) -> NoReturn:
        parser.print_usage(_stderr())
        parser.exit(EXIT_USAGE, f"error: {message}\n")

    # An instance attribute, since cliff makes the parser and offers no way to name its class.
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _stderr() -> Any:
    import sys

    return sys.stderr


class Shared:
    """The part that is the same for all three kinds of command."""

    app: Any
    auth_required: ClassVar[bool] = False
    """openstackclient's shell does not authenticate before the command: `connection` does, so that
    what goes wrong is said in our words, and the lab is found."""

    examples: ClassVar[str] = ""
    """Shown at the end of --help: lines of `gpufarm ...`, each with a comment above it."""

    found: bool = False
    """Set by a check that found something: the exit status is 2."""

    def get_epilog(self) -> str:
        """The examples, in the words of the shell that runs."""
        examples = textwrap.dedent(self.examples).strip()
        if self._in_openstack:
            examples = examples.replace("gpufarm ", "openstack gpu ")
        return f"examples:\n{textwrap.indent(examples, '  ')}" if examples else ""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return strict(parser)

    def run(self, parsed_args: argparse.Namespace) -> int:
        """The exit status: of `take_action`, or of the error that ended it, which is printed."""
        try:
            status = super().run(parsed_args)  # type: ignore[misc]
        except UsageError as error:
            return self._fail(error, EXIT_USAGE)
        except NotAdmitted as error:
            return self._fail(error, EXIT_FOUND)
        except FarmError as error:
            # The parts of a farm do not know which file they are from; the arguments do.
            file = getattr(parsed_args, "farm", None)
            return self._fail(error, EXIT_ERROR, f"{file}: " if file else "")
        except (GpufarmError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            return self._fail(error, EXIT_ERROR)
        except Exception as error:  # noqa: BLE001
            if not self._debugging:
                self.note("this is a fault of gpufarm; --debug shows where")
            return self._fail(error, EXIT_ERROR, type(error).__name__ + ": ")
        return EXIT_FOUND if self.found else int(status or 0)

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        try:
            return int(super().produce_output(parsed_args, column_names, data))  # type: ignore[misc]
        except ValueError as error:
            if parsed_args.columns:
                raise UsageError(str(error)) from error
            raise

    def connection(self) -> "Connection":
        """An authenticated connection to the cloud that the user named, or to the lab.

        Raises CloudError.
        """
        from gpufarm.cloud.connect import connect, connect_as

        cloud = self.app.options.cloud
        if not (cloud or self._has_credentials()):
            from gpufarm.lab.farm import default_cloud

            lab = default_cloud()
            if lab is not None:
                self.note(f"no cloud named: using {lab[0]}, the lab that runs here")
                return connect(*lab)
        if self._in_openstack:
            # With the options of openstackclient, which asks for a password that is missing.
            return connect_as(self.app.cloud_config, cloud, self.app.options)
        try:
            return connect(cloud)
        except CloudUnreachable as error:
            from gpufarm.lab.state import CLOUD

            if CLOUD not in (cloud, os.environ.get("OS_CLOUD")):
                raise
            raise CloudUnreachable(f"{error}; the lab: `gpufarm lab up` starts it") from error

    def _has_credentials(self) -> bool:
        """Whether the environment names a cloud, or options of openstackclient do."""
        named = getattr(self.app.options, "auth_url", None)
        return bool(named or os.environ.get("OS_CLOUD") or os.environ.get("OS_AUTH_URL"))

    def note(self, text: str) -> None:
        """Tell the user something that is not the result; silent with --quiet."""
        if not self._quiet:
            self.app.stderr.write(f"{text}\n")
            self.app.stderr.flush()

    @contextlib.contextmanager
    def progress(
        self, description: str, total: int | None = None, *, quick: bool = False
    ) -> Iterator[Progress]:
        """Show that something goes on: a bar on a terminal, otherwise a line a step.

        What is `quick` shows no lines.
        """
        stream = self.app.stderr
        hidden = self._quiet or (quick and not stream.isatty())
        with show(stream, description, total, quiet=hidden) as progress:
            yield progress

    def _fail(self, error: Exception, status: int, prefix: str = "") -> int:
        if self._debugging:
            traceback.print_exception(error, file=self.app.stderr)
        self.app.stderr.write(f"error: {prefix}{error}\n")
        return status

    @property
    def _in_openstack(self) -> bool:
        return hasattr(self.app, "client_manager")

    @property
    def _quiet(self) -> bool:
        return bool(self.app.options.verbose_level == 0)

    @property
    def _debugging(self) -> bool:
        return bool(self.app.options.debug)


class Command(Shared, command.Command):
    """A command whose result is its exit status (or what it writes itself)."""


class Lister(Shared, command.Lister):
    """A command that returns columns and rows."""


class ShowOne(Shared, command.ShowOne):
    """A command that returns one object: columns and values."""
