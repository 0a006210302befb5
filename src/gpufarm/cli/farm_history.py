"""`gpufarm farm trace` and `farm learn`: what a farm's requests were like."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gpufarm.cli.base import Command, UsageError

if TYPE_CHECKING:
    from gpufarm.model.farm import Farm
    from gpufarm.simulate.history import Came
    from gpufarm.simulate.trace import Node, Trace
    from gpufarm_nova.lesson import Lesson


class FarmHistory(Command):
    """Base of the commands that read which servers were asked for."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("farm", metavar="FARM.yaml", type=Path, help="the farm file")
        return parser

    def read_cloud(self, farm: "Farm") -> tuple[tuple["Node", ...], tuple["Came", ...]]:
        from gpufarm.capacity import aliases
        from gpufarm.cloud import catalog, history, placement
        from gpufarm.model.cloud import CloudFlavor
        from gpufarm.model.server import Asked
        from gpufarm.simulate import history as ours

        def cards(server: Asked) -> dict[str, int]:
            flavor = CloudFlavor(
                id="",
                name=server.flavor,
                vcpus=server.vcpus,
                memory_mb=server.memory_mb,
                disk_gb=0,
                public=True,
                properties=server.properties,
            )
            found = aliases.asked(flavor)
            return {name: number for name, number in found.items() if name in farm.cards}

        connection = self.connection()
        with self.progress("reading the cloud", quick=True) as progress:
            progress.advance("hosts")
            names = [host.hypervisor_hostname for host in catalog.compute_hosts(connection)]
            providers = placement.providers(connection, hosts=names)
            progress.advance("servers")
            asked = history.asked(connection)
        classes = {card.placement_class: name for name, card in farm.cards.items()}
        return ours.nodes(providers, classes), ours.came(asked, cards)


class WriteTrace(FarmHistory):
    """Write a farm's hosts and the servers that were asked for as CSV, for `gpufarm simulate`.

    Deleted servers are there as long as Nova keeps them; those that found no place are there too.
    It takes an administrator of the cloud.
    """

    examples = """
        # nodes.csv and requests.csv
        gpufarm farm trace farm.yaml -o history
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "-o", "--output", metavar="FOLDER", type=Path, required=True, help="write them there"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.model import farm as model
        from gpufarm.simulate import history
        from gpufarm.system import files

        nodes, came = self.read_cloud(model.read(parsed_args.farm))
        texts = {"nodes.csv": history.nodes_csv(nodes), "requests.csv": history.requests_csv(came)}
        parsed_args.output.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            files.write_if_changed(parsed_args.output / name, text)
            self.note(f"wrote {parsed_args.output / name}, {text.count(chr(10)) - 1} rows")


class Learn(FarmHistory):
    """Write for the scheduler which servers are asked for, and how often.

    GpuPackingWeigher goes by it. It belongs on the scheduler's host, where option `packing_file` of
    [gpufarm] names it. It is read anew when it changes, so that a daily run is enough. It takes an
    administrator of the cloud, or a trace.
    """

    examples = """
        # from the servers of the cloud
        gpufarm farm learn farm.yaml -o packing.json

        # from a trace
        gpufarm farm learn farm.yaml --nodes nodes.csv --requests requests.csv -o packing.json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "-o", "--output", metavar="FILE", type=Path, required=True, help="write it there"
        )
        parser.add_argument("--nodes", metavar="CSV", type=Path, help="hosts, instead of the cloud")
        parser.add_argument(
            "--requests", metavar="CSV", type=Path, help="servers, instead of those of the cloud"
        )
        parser.add_argument(
            "--open-hosts",
            action="store_true",
            help="name hosts whose free cards need no reserve, since the farm has more cards than "
            "were ever in use at once",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from gpufarm.model import farm as model
        from gpufarm.simulate import learning
        from gpufarm.system import files
        from gpufarm_nova import lesson as lessons

        farm = model.read(parsed_args.farm)
        if bool(parsed_args.nodes) != bool(parsed_args.requests):
            raise UsageError("--nodes and --requests go together")
        if parsed_args.nodes and parsed_args.open_hosts:
            raise UsageError("--open-hosts: a trace does not say how many cards were in use")
        made = learning.now()
        found = (
            self._of_trace(farm, parsed_args, made)
            if parsed_args.nodes
            else self._of_cloud(farm, made, open_hosts=parsed_args.open_hosts)
        )
        if not any(kind.cards for kind in found.requests):
            self.note("nobody has asked for a card yet: the weigher goes by the flavors alone")
        files.write_if_changed(parsed_args.output, lessons.dumps(found))
        number = sum(kind.times for kind in found.requests)
        self.note(f"wrote {parsed_args.output}: {number} requests")
        if found.open_hosts:
            self.note(f"hosts without reserve: {', '.join(sorted(found.open_hosts))}")

    def _of_cloud(self, farm: "Farm", made: str, *, open_hosts: bool) -> "Lesson":
        from gpufarm.simulate import history, learning

        nodes, came = self.read_cloud(farm)
        hosts = {node.name: node.host() for node in nodes}
        peaks = history.peaks(came) if open_hosts else None
        return learning.lesson([each.kind for each in came], hosts, peaks, made)

    def _of_trace(self, farm: "Farm", parsed: argparse.Namespace, made: str) -> "Lesson":
        from gpufarm.simulate import learning, trace

        found = _named(trace.read(parsed.nodes, parsed.requests), farm)
        hosts = {node.name: node.host() for node in found.nodes}
        return learning.lesson(found.requests, hosts, made=made)


def _named(found: "Trace", farm: "Farm") -> "Trace":
    """With the farm's names of cards. A trace that names none is about a farm of one."""
    from gpufarm.simulate.trace import ANY_CARD

    models = {model for kind in found.requests for model, _ in kind.cards}
    if models == {ANY_CARD} and len(farm.cards) == 1 and ANY_CARD not in farm.cards:
        (name,) = farm.cards
        kinds = [
            kind._replace(cards=tuple((name, number) for _, number in kind.cards))
            for kind in found.requests
        ]
        return msgspec.structs.replace(found, requests=tuple(kinds))
    unknown = sorted(models - set(farm.cards))
    if unknown:
        known = ", ".join(farm.cards) or "none"
        raise UsageError(f"--requests: no card {unknown[0]!r} in the farm file; there are: {known}")
    return found
