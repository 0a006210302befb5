"""Nova's scheduler in a process of its own, on the databases of a lab: where it puts servers.

Arguments: the lab's state folder, a file with what is asked (JSON: `nodes`, the UUIDs of compute
nodes, and `requests`, a list of [vCPU, MiB, cards]), a file for the answer, a policy, a lesson or
"", and a log file. The answer has the hosts as they were at first, and of each request the host
that was chosen, or null.
"""

import json
import sqlite3
import sys
import uuid
from pathlib import Path
from typing import Any

MULTIPLIERS = {"nova-default": (1.0, 1.0, 1.0), "nova-tuned": (-1.0, -1.0, 1000.0)}


def scheduler(state: Path, policy: str, lesson: str, log: str) -> Any:
    from gpufarm.lab import config
    from gpufarm.lab.inside import nova
    from gpufarm.lab.state import load

    nova.preload()
    from nova import config as nova_config

    files = config.nova_files(load(state), None)
    nova_config.parse_args(["nova", "--log-file", log], default_config_files=files)
    from oslo_log import log as logging

    logging.setup(nova_config.CONF, "nova")
    from nova.scheduler.manager import SchedulerManager

    from gpufarm_nova import options

    conf = nova_config.CONF
    # Nothing reports for the copies.
    conf.set_override("service_down_time", 3600)
    if lesson:
        conf.set_override("packing_file", lesson, options.SECTION)
    values = MULTIPLIERS.get(policy, (0.0, 0.0, 0.0))
    for name, value in zip(("ram", "cpu", "pci"), values, strict=True):
        conf.set_override(f"{name}_weight_multiplier", value, "filter_scheduler")
    # It counts builds in progress, which in a trace have all ended.
    conf.set_override("io_ops_weight_multiplier", 0.0, "filter_scheduler")
    found = SchedulerManager()
    if policy in MULTIPLIERS:
        hosts = found.host_manager
        ours = ("GpuReserveFilter", "GpuPackingWeigher")
        hosts.enabled_filters = [
            each for each in hosts.enabled_filters if type(each).__name__ not in ours
        ]
        hosts.weighers = [each for each in hosts.weighers if type(each).__name__ not in ours]
    return found


def spec(context: Any, vcpus: int, memory_mb: int, cards: int) -> Any:
    from nova import objects
    from nova.pci.request import get_pci_requests_from_flavor

    flavor = objects.Flavor(
        id=1,
        name="t",
        flavorid="t",
        vcpus=vcpus,
        memory_mb=memory_mb,
        root_gb=0,
        ephemeral_gb=0,
        swap=0,
        extra_specs={"pci_passthrough:alias": f"gpu:{cards}"} if cards else {},
        is_public=True,
    )
    image = objects.ImageMeta(properties=objects.ImageMetaProps())
    pci = get_pci_requests_from_flavor(flavor)
    return objects.RequestSpec.from_components(
        context, str(uuid.uuid4()), image, flavor, None, pci, {}, None, None
    )


READ = "select free_ram_mb, memory_mb_used, vcpus_used, pci_stats, uuid from compute_nodes"
WRITE = (
    "update compute_nodes set free_ram_mb = ?, memory_mb_used = ?, vcpus_used = ?, pci_stats = ?"
    " where uuid = ?"
)


class Computes:
    """Writes down what a host has given, as its nova-compute would: the scheduler forgets it after
    each request (Nova 34 makes its HostStates anew)."""

    def __init__(self, state: Path, manager: Any) -> None:
        self._database = sqlite3.connect(state / "db" / "nova_cell1.sqlite", timeout=60)
        rows = self._database.execute(READ)
        self._before = rows.fetchall()
        self._inner = manager._consume_selected_host
        manager._consume_selected_host = self._consume

    def _consume(self, host: Any, spec_obj: Any, instance_uuid: str | None = None) -> None:
        from oslo_serialization import jsonutils

        self._inner(host, spec_obj, instance_uuid=instance_uuid)
        used = host.total_usable_ram_mb - host.free_ram_mb
        pools = jsonutils.dumps(host.pci_stats.to_device_pools_obj().obj_to_primitive())
        self._write([(host.free_ram_mb, used, host.vcpus_used, pools, host.uuid)])

    def forget(self) -> None:
        self._write(self._before)

    def _write(self, rows: list[Any]) -> None:
        with self._database:
            self._database.executemany(WRITE, rows)


def main() -> None:
    state, requests, answer, policy, lesson, log = sys.argv[1:]
    manager = scheduler(Path(state), policy, lesson, log)
    from nova import context as nova_context
    from oslo_messaging.rpc.dispatcher import ExpectedException

    from gpufarm_nova import hosts as plugin
    from gpufarm_nova import options
    from gpufarm_nova.reading import shared

    context = nova_context.get_admin_context()
    context.project_id = context.user_id = "t"
    import nova.conf

    settings = options.read(nova.conf.CONF)
    reading = shared(settings).reading()
    before = {}
    questions = json.loads(Path(requests).read_text())
    for each in manager.host_manager.get_host_states_by_uuids(context, questions["nodes"], None):
        cards = plugin.free(each, settings, reading)
        host = plugin.whole(each, settings, reading, cards)
        before[each.host] = [list(host.total), list(host.left), host.cards, dict(host.free)]
    chosen: list[str | None] = []
    consumers = []
    computes = Computes(Path(state), manager)
    for vcpus, memory_mb, cards in questions["requests"]:
        asked = spec(context, vcpus, memory_mb, cards)
        consumers.append(asked.instance_uuid)
        try:
            ((first, *_),) = manager.select_destinations(
                context,
                spec_obj=asked,
                instance_uuids=[asked.instance_uuid],
                return_objects=True,
                return_alternates=True,
            )
            chosen.append(first.service_host)
        except ExpectedException:  # as RPC passes NoValidHost on
            chosen.append(None)
    computes.forget()
    for consumer in consumers:
        manager.placement_client.delete_allocation_for_instance(context, consumer, force=True)
    Path(answer).write_text(json.dumps({"hosts": before, "chosen": chosen}))


if __name__ == "__main__":
    main()
