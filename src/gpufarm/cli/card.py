"""`gpufarm card` and `gpufarm host cordon|uncordon`: single cards, closed and opened."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpufarm.cli.base import Command, Lister, UsageError
from gpufarm.cli.columns import Lines, Wrapped

if TYPE_CHECKING:
    from gpufarm.claims.cards import Card

COLUMNS = (
    *("host", "address", "card", "state", "total", "used", "holders"),
    *("cordoned_by", "cordoned_at", "reason"),
)
SHORT = ("host", "address", "card", "state", "holder or cordon")


class _Words(Wrapped):
    width = 38


class ListCards(Lister):
    """List every card with its state, who holds it, and who closed it and why.

    States: `free`, `used`; closed to new servers: `cordoned` by an operator, `cleaning` (a
    one-time-use card that nobody cleaned yet), `reserved` by somebody who left no record.
    """

    examples = """
        # every card of the cloud
        gpufarm card list

        # those of one host that nobody can have
        gpufarm card list --host hyper18 -f csv -c address -c state -c reason
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--host", metavar="HOST", help="only the cards of this compute host")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from gpufarm.capacity.aliases import card_name, classes
        from gpufarm.claims import cordon
        from gpufarm.cloud import catalog

        connection = self.connection()
        with self.progress("reading the cards", quick=True):
            found = cordon.read(connection, parsed_args.host)
            aliases = classes(catalog.flavors(connection))
        for card in found:
            if not card.in_force:
                self.note(
                    f"{card.address} on {card.host}: its cordon is not in force: `gpufarm card "
                    f"cordon {card.address} --host {card.host} --reason ...` closes it again"
                )
        named = [(card, card_name(card.resource_class, aliases)) for card in found]
        if parsed_args.formatter == "table" and not parsed_args.columns:
            return SHORT, [_short(card, name) for card, name in named]
        return COLUMNS, [_row(card, name) for card, name in named]


class Cordon(Command):
    """Close a card to new servers; a server that holds it keeps it.

    Nothing is restarted. Who did it, when and why is kept in the cloud; `card list` shows it.
    """

    examples = """
        gpufarm card cordon 0000:3b:00.0 --host hyper18 --reason "ECC errors, RMA 4711"
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_card(parser)
        _add_reason(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        _close(self, parsed_args.host, parsed_args.address, parsed_args.reason)


class Uncordon(Command):
    """Open a card that was cordoned.

    A one-time-use card that was in use stays closed until it is cleaned; `--cleaned` says that it
    is.
    """

    examples = """
        gpufarm card uncordon 0000:3b:00.0 --host hyper18

        # a one-time-use card, wiped and checked after its server was deleted
        gpufarm card uncordon 0000:3b:00.0 --host hyper18 --cleaned
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_card(parser)
        _add_cleaned(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        _open(self, parsed_args.host, parsed_args.address, cleaned=parsed_args.cleaned)


class CordonHost(Command):
    """Close all cards of a host to new servers; servers that hold them keep them.

    Servers without cards can still start there: `openstack compute service set --disable` keeps
    those away too.
    """

    examples = """
        gpufarm host cordon hyper18 --reason "new firmware on Monday"
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="a compute host, as Nova names it")
        _add_reason(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        _close(self, parsed_args.host, None, parsed_args.reason)


class UncordonHost(Command):
    """Open all cards of a host that were cordoned, one by one or together."""

    examples = """
        gpufarm host uncordon hyper18
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="a compute host, as Nova names it")
        _add_cleaned(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        _open(self, parsed_args.host, None, cleaned=parsed_args.cleaned)


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="PCI address of the card (of its PF)")
    parser.add_argument(
        "--host", metavar="HOST", required=True, help="its compute host, as Nova names it"
    )


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", metavar="TEXT", required=True, help="why; shown by `gpufarm card list`"
    )


def _add_cleaned(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cleaned",
        action="store_true",
        help="one-time-use cards that nobody holds are cleaned: open them too",
    )


def _close(command: Command, host: str, typed: str | None, reason: str) -> None:
    from gpufarm.claims import cards, cordon

    why = " ".join(reason.split())
    if not why or not why.isprintable():
        raise UsageError("--reason: printable words are needed")
    address = cards.address(typed) if typed else None
    connection = command.connection()
    found = cordon.chosen(connection, host, address)
    with command.progress("closing cards", quick=True) as progress:
        cordon.close(connection, found, why, progress.advance)
    command.note(f"closed to new servers on {host}: {_addresses(found)}")


def _open(command: Command, host: str, typed: str | None, *, cleaned: bool) -> None:
    from gpufarm.claims import cards, cordon

    address = cards.address(typed) if typed else None
    connection = command.connection()
    found = cordon.chosen(connection, host, address)
    with command.progress("opening cards", quick=True) as progress:
        waiting = cordon.open_again(connection, found, progress.advance, cleaned=cleaned)
    if waiting:
        command.note(f"still closed on {host}, waiting to be cleaned: {_addresses(waiting)}")


def _addresses(found: "Sequence[Card]") -> str:
    return ", ".join(dict.fromkeys(card.address for card in found))


def _row(card: "Card", name: str) -> tuple[Any, ...]:
    cordon = card.cordon
    return (
        *(card.host, card.address, name, card.state, card.total, card.used, Lines(card.holders)),
        *((cordon.by, cordon.at, cordon.why) if cordon else (None, None, None)),
    )


def _short(card: "Card", name: str) -> tuple[Any, ...]:
    cordon = card.cordon
    words = list(card.holders)
    if cordon:
        words.append(f"{cordon.why} ({cordon.by}, {cordon.at})")
    return card.host, card.address, name, card.state, _Words(" ".join(words))
