"""The commands `gpufarm lab host ...`: virtual Linux hosts with an emulated IOMMU and cards."""

import argparse
import os
from typing import Any

import msgspec

from gpufarm.cli import lab_cards, lab_real
from gpufarm.cli.base import Command, Lister, ShowOne, UsageError
from gpufarm.cli.columns import Lines
from gpufarm.cli.lab import add_state, state_folder
from gpufarm.lab.virthost import commands, host, machine
from gpufarm.lab.virthost.host import HostStatus


def _name(text: str) -> str:
    machine.check_name(text)
    return text


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", type=lab_cards.typed(_name), help="name of a virtual host"
    )


def _row(status: HostStatus) -> tuple[Any, ...]:
    values = msgspec.structs.asdict(status)
    return tuple({**values, "cards": Lines(status.cards)}.values())


class HostUp(ShowOne):
    """Start a virtual Linux host with an emulated IOMMU and cards, and wait for its SSH.

    Debian's kernel, GRUB and libvirt run in QEMU's software emulation; the cards look and reset
    like cards, and do nothing else. The first start builds the image, which takes minutes.
    """

    examples = """
    # a GTX 1080 with its audio function, and an H100
    gpufarm lab host up gpu1 --card gtx1080 --card h100
    # a K4200 that shares its IOMMU group with an NVMe disk, behind AMD's IOMMU
    gpufarm lab host up gpu2 --card k4200,group=shared --iommu amd
    # any ids, with function-level reset, on a link of 8 of its 16 lanes, at an address
    gpufarm lab host up gpu3 --card 10de:1b80+10de:10f0,flr,link=8,address=42:00
    # ids, class, subsystem and BARs
    gpufarm lab host up gpu4 --card 10de:1024/030200/10de:0983/16M:256Mp:32Mp
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_name(parser)
        lab_cards.add(parser)
        parser.add_argument("--iommu", choices=machine.IOMMUS, default="intel", help="its IOMMU")
        parser.add_argument(
            "--memory",
            metavar="MB",
            type=int,
            default=machine.MEMORY_MB,
            help="its memory (default: %(default)s); another one costs a boot instead of a resume",
        )
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        wanted = machine.Machine(
            name=parsed_args.name,
            cards=tuple(parsed_args.card),
            iommu=parsed_args.iommu,
            memory_mb=parsed_args.memory,
        )
        try:
            machine.check(wanted)
        except ValueError as error:
            raise UsageError(str(error)) from error
        folder = state_folder(parsed_args)
        with self.progress(f"starting {wanted.name}") as progress:
            host.up(folder, wanted, progress.advance)
        return HostStatus.__struct_fields__, _row(host.status_of(folder, wanted.name))


class HostList(Lister):
    """List the virtual hosts: their cards, SSH port, process, health, memory and age."""

    examples = """
    gpufarm lab host list
    # with the addresses of their cards
    gpufarm lab host list -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Any, Any]:
        rows = host.status(state_folder(parsed_args))
        return HostStatus.__struct_fields__, [_row(each) for each in rows]


class HostSsh(Command):
    """Run a command on a virtual host, or a shell; the exit status is that of the command.

    As with ssh, the words of the command are joined by blanks for the shell of the other side.
    """

    examples = """
    gpufarm lab host ssh gpu1
    gpufarm lab host ssh gpu1 -- lspci -nnk -s 01:00
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_state(parser)
        _add_name(parser)
        parser.add_argument(
            "command",
            metavar="COMMAND",
            nargs=argparse.REMAINDER,
            help="what to run there (default: a shell); after -- where it has options",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        commands.need("ssh")
        words = parsed_args.command
        reached = host.reach(state_folder(parsed_args), parsed_args.name)
        command = reached.command(*(words[1:] if words[:1] == ["--"] else words))
        self.app.stdout.flush()
        os.execvp(command[0], command)  # noqa: S606  (no shell: a list of words)


class HostDown(Command):
    """End a virtual host and remove it, with all that was done to it.

    A real host of the lab leaves the lab and its Nova too; not while it has servers.
    """

    examples = """
    gpufarm lab host down gpu1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_name(parser)
        add_state(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        folder = state_folder(parsed_args)
        lab_real.leave(folder, parsed_args.name)
        host.down(folder, parsed_args.name)
        self.note(f"{parsed_args.name} is gone")
