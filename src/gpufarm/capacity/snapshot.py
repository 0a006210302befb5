"""What capacity is decided on: one reading of Placement and Nova, as frozen values."""

from collections.abc import Mapping

import msgspec

from gpufarm.capacity.numa import Cell
from gpufarm.capacity.scheduler import Scheduler
from gpufarm.model.cloud import (
    Candidates,
    CloudAggregate,
    CloudFlavor,
    ComputeHost,
    Limit,
    Provider,
    services,
)

CORDONS = "gpufarm-cordons"


class Snapshot(msgspec.Struct, frozen=True):
    """`lost` are the consumers of allocations that are neither a server nor a migration.

    `traits` holds, of the traits that were asked about, the uuids of the providers that have them;
    `limits` are the quotas of `project`; `cells` are the NUMA nodes of the hosts whose hardware is
    known; `candidates`, by flavor, is Placement's list where it may lack hosts.
    """

    providers: tuple[Provider, ...] = ()
    hosts: tuple[ComputeHost, ...] = ()
    flavors: tuple[CloudFlavor, ...] = ()
    aggregates: tuple[CloudAggregate, ...] = ()
    lost: frozenset[str] = frozenset()
    traits: Mapping[str, frozenset[str]] = {}
    project: str | None = None
    limits: tuple[Limit, ...] = ()
    scheduler: Scheduler = Scheduler()
    cells: Mapping[str, tuple[Cell, ...]] = {}
    candidates: Mapping[str, Candidates] = {}

    def host_names(self) -> dict[str, str]:
        """{uuid of a root provider: name of its nova-compute}.

        A root whose nova-compute is gone goes under its own name, the hypervisor's.
        """
        names = services(self.hosts)
        return {
            provider.uuid: names.get(provider.name, provider.name)
            for provider in self.providers
            if provider.uuid == provider.root_uuid
        }

    def trees(self) -> dict[str, tuple[Provider, ...]]:
        """{uuid of a root provider: it and the devices below}."""
        found: dict[str, list[Provider]] = {}
        for provider in self.providers:
            found.setdefault(provider.root_uuid, []).append(provider)
        return {root: tuple(tree) for root, tree in found.items()}

    def cordoned(self) -> frozenset[str]:
        """Names of the providers of cards that gpufarm has closed; its records are the metadata of
        one aggregate (docs/decisions/0009-cordons.md)."""
        records = (each for each in self.aggregates if each.name == CORDONS)
        return frozenset(name for each in records for name in each.properties)

    def devices(self) -> tuple[Provider, ...]:
        """The PCI providers, each below its host's root."""
        return tuple(found for found in self.providers if found.uuid != found.root_uuid)
