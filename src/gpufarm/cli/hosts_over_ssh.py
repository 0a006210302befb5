"""--ssh HOST=DEST: compute hosts that a command reads over SSH, by their names in Nova."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gpufarm.guest.up import Reach
    from gpufarm.model.server import Server


class Reached(NamedTuple):
    """A compute host over SSH, by its name in Nova."""

    host: str
    destination: str
    config: Path | None


def pair(text: str) -> tuple[str, str]:
    """HOST and the rest of HOST=..., for argparse."""
    host, equals, value = text.partition("=")
    if not (host and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST=..., with a host as Nova names it")
    return host, value


def add(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --ssh and --ssh-config; `what` is read there."""
    parser.add_argument(
        "--ssh",
        metavar="HOST=DEST",
        action="append",
        default=[],
        type=pair,
        help=f"of a compute host: {what}, over SSH; may be given several times",
    )
    parser.add_argument("--ssh-config", metavar="FILE", type=Path, help="ssh's configuration file")


def reached(parsed: argparse.Namespace, lab: Any) -> list[Reached]:
    """Those that the options name, and the real hosts of the lab that run."""
    return [*of_lab(lab), *(Reached(host, to, parsed.ssh_config) for host, to in parsed.ssh)]


def of_lab(lab: Any) -> list[Reached]:
    """The real hosts of the lab that run; none where the cloud is no lab."""
    if lab is None:
        return []
    from gpufarm.lab.real import hosts

    return [Reached(each.name, each.name, each.config) for each in hosts.running(lab)]


def of_host(lab: Any, name: str | None) -> Reached | None:
    """The real host of the lab of that name, where it runs."""
    return next((each for each in of_lab(lab) if each.host == name), None)


def network_of(connection: Any, server: "Server") -> tuple["Reach", bool]:
    """From where the network of a server is looked at, and whether it is a simulated one: in the
    lab it is one of the server's real host, or none."""
    from gpufarm.cli.farm_target import find_lab
    from gpufarm.system import reach
    from gpufarm.system.reach_from import From

    lab = find_lab(connection)
    host = of_host(lab, server.host)
    return (From(host.destination, host.config), False) if host else (reach, lab is not None)
