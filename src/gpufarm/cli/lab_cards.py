"""--card, as the commands have it that start virtual hosts."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from gpufarm.lab.virthost import cards, models

T = TypeVar("T")


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` for argparse, which shows the message of no other error than its own."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def add(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add --card; `more` ends its help."""
    parser.add_argument(
        "--card",
        metavar="CARD",
        action="append",
        default=[],
        type=typed(cards.parse),
        help=f"{', '.join(models.MODELS)}; or the ids VVVV:DDDD[/CLASS[/SUBSYSTEM[/BARS]]] of "
        "its functions, joined by +; then, after commas: flr, noflr, group=shared, "
        f"address=BB:00, link=LANES, rev=XX; may be given several times{more}",
    )
