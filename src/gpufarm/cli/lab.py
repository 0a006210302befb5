"""The commands `gpufarm lab ...`: a real OpenStack on this machine, with simulated GPU hosts."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from gpufarm.cli import lab_cards
from gpufarm.cli.base import Command, Lister, UsageError
from gpufarm.lab import faults, state, status, up
from gpufarm.lab.hardware import default, read
from gpufarm.lab.real import hosts as real_hosts
from gpufarm.model.errors import LabError

COLUMNS = ("service", "host", "healthy", "address", "memory_mb", "age_seconds")


def _named(text: str) -> Path:
    """A path; an empty one is an unset variable of a shell, not this folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def add_state(parser: argparse.ArgumentParser) -> None:
    """Add --state to a command of the lab."""
    parser.add_argument(
        "--state",
        metavar="DIR",
        type=_named,
        default=None,
        help=f"the lab's state folder (default: ${state.STATE_VARIABLE}, or gpufarm/lab in the "
        "XDG state folder)",
    )


def state_folder(parsed: argparse.Namespace) -> Path:
    """The lab's state folder: that of --state, or the default."""
    return parsed.state.absolute() if parsed.state else state.default_state()


class Up(Lister):
    """Start the lab, or what of it does not run; with what it had, and the hosts named.

    Without hosts a new lab gets three of two cards. Servers, flavors and claims of an earlier start
    are there again. Real hosts are virtual machines with Linux and Nova's own libvirt driver, made
    ready as `gpufarm host apply` does it; the first one is built, which takes minutes.
    """

    examples = """
    # a lab with the hosts of two files and a folder
    gpufarm lab up --hosts examples/k40c-mixed/hosts --hosts examples/hgx-h100/hosts
    # one process a service, over RabbitMQ, in a folder of its own
    gpufarm lab up --mode split --state /tmp/lab
    # a host with real libvirt, a GTX 1080 and an H100
    gpufarm lab up --real-hosts 1 --card gtx1080 --card h100
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--hosts",
            metavar="PATH",
            type=Path,
            action="append",
            help="a host file, or a folder of host files; may be given several times",
        )
        parser.add_argument(
            "--mode",
            choices=state.MODES,
            help="single (default): all of Nova in one process; split: one process a service, "
            "over RabbitMQ",
        )
        parser.add_argument(
            "--real-hosts",
            metavar="N",
            type=int,
            default=0,
            help="have that many real hosts, real-1 to real-N, with --card each; split mode",
        )
        lab_cards.add(parser, f" (default: {real_hosts.DEFAULT_CARD})")
        parser.add_argument(
            "--schedulers",
            type=int,
            choices=range(1, 10),
            metavar="N",
            help="how many nova-schedulers, in split mode (1 to 9; default: 1)",
        )
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        from gpufarm.cli import lab_real

        hosts = read(parsed_args.hosts) if parsed_args.hosts else None
        real = lab_real.asked(parsed_args)
        request = up.Request(
            state=state_folder(parsed_args),
            mode="split" if real else parsed_args.mode,
            hosts=hosts,
            real=real,
            prepare=lab_real.prepare,
            schedulers=parsed_args.schedulers,
        )
        with self.progress("starting the lab") as progress:
            lab = up.up(request, () if real else default(), progress.advance)
            if lab.real:
                lab_real.register_guest(lab, progress.advance)
        return _table((*status.status(lab, ask=False), *real_hosts.status(lab)))


class Status(Lister):
    """Show each service of the lab: its health, address, memory and age.

    Exit status 2 where a service is not healthy.
    """

    examples = """
    # the services that do not do their work
    gpufarm lab status -f value -c service -c healthy
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        lab = state.load(state_folder(parsed_args))
        rows = (*status.status(lab), *real_hosts.status(lab))
        self.found = not all(row.healthy for row in rows)
        return _table(rows)


class Env(Command):
    """Print shell exports with which `openstack` and gpufarm use the lab."""

    examples = """
    # from here on, `openstack` speaks to the lab
    eval "$(gpufarm lab env)"
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        folder = state_folder(parsed_args)
        lab = state.load(folder)
        if state.supervisor(folder) is None:
            self.note(f"the lab in {folder} is down: `gpufarm lab up` starts it")
        variables = {
            "OS_CLOUD": state.CLOUD,
            "OS_CLIENT_CONFIG_FILE": str(lab.path("clouds.yaml")),
            "OS_PLACEMENT_API_VERSION": "1.39",
            state.STATE_VARIABLE: str(folder),
        }
        for name, value in variables.items():
            self.app.stdout.write(f"export {name}={shlex.quote(value)}\n")


class Down(Command):
    """End the lab. Its servers, flavors and claims are there again at the next `lab up`."""

    examples = """
    gpufarm lab down
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        folder = state_folder(parsed_args)
        ran = folder.exists() and up.down(folder)
        self.note(f"the lab in {folder} " + ("is down" if ran else "did not run"))


class Reset(Command):
    """End the lab and remove all of its state: servers, flavors, hosts, passwords."""

    examples = """
    gpufarm lab reset --state /tmp/lab
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        folder = state_folder(parsed_args)
        if folder.exists():
            up.reset(folder)
        self.note(f"{folder} is gone")


class Fault(Lister):
    """Tell a simulated host to fail or to be slow at a step, and list what it was told.

    With the host alone, only the list. A fault that has a count is gone once it was met as often.
    """

    examples = """
    # the next two servers fail to start on gpu-1
    gpufarm lab fault gpu-1 spawn --fail "no space left on device" --times 2
    # deleting takes 5 s from now on, until told otherwise
    gpufarm lab fault gpu-1 destroy --delay 5
    gpufarm lab fault gpu-1 destroy --clear
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of a simulated host")
        parser.add_argument(
            "step", metavar="STEP", nargs="?", choices=faults.STEPS, help="step of the virt driver"
        )
        parser.add_argument("--fail", metavar="MESSAGE", help="fail with that message")
        parser.add_argument(
            "--delay", metavar="SECONDS", type=float, default=0.0, help="wait before the step"
        )
        parser.add_argument("--times", metavar="N", type=int, help="how often (default: always)")
        parser.add_argument("--clear", action="store_true", help="take the step's fault away")
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        lab = state.load(state_folder(parsed_args))
        host, step = parsed_args.host, parsed_args.step
        if host not in lab.hosts:
            raise LabError(f"the lab has no host {host}; it has: {', '.join(lab.hosts)}")
        wished = parsed_args.fail is not None or parsed_args.delay > 0
        if wished == parsed_args.clear and step is not None:
            raise UsageError("say one of --clear, or --fail and --delay")
        if parsed_args.delay < 0 or (parsed_args.times is not None and parsed_args.times < 1):
            raise UsageError("--delay and --times are positive")
        if step is not None:
            fault = faults.Fault(parsed_args.delay, parsed_args.fail, parsed_args.times)
            faults.put(lab.state, host, step, fault if wished else None)
        rows = [
            (host, name, fault.delay, fault.error, fault.times)
            for name, fault in sorted(faults.read(lab.state, host).items())
        ]
        return ("host", "step", "delay", "error", "times"), rows


def _table(rows: tuple[status.ServiceStatus, ...]) -> tuple[Any, Any]:
    return COLUMNS, [tuple(getattr(row, column) for column in COLUMNS) for row in rows]
