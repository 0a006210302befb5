"""What the plugin's filter and weigher cost Nova's scheduler for one request.

The cloud is real Nova and Placement databases in a lab of four hosts: 1,523 hosts, 1,213 of them
with two, four or eight cards, as rows (cloud_rows), used at random. The scheduler is Nova's own, in
this process; requests with Nova's filters and weighers alone and with the plugin's as well take
turns. The time that counts is the processor's, since the scheduler waits for Placement and the
databases besides. It is given twice: what passes inside of the plugin, beside Nova's whole request,
and as the ratio of whole requests, which needs a quiet machine; then the time by the clock. Python
collects garbage between requests, since it would do so for half a second in any one of them. Prints
a table and, last, the name of a JSON file with the same numbers.
"""

import argparse
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_lab import Lab
from cloud_rows import Cloud
from machine import machine

MODELS = {0: 310, 2: 363, 4: 450, 8: 400}
"""{cards of a host: how many such hosts}: 1,523, as in the trace of benchmarks/placement.py."""

REACH = 1.05
SEED = 100
GPU_FLAVORS = {1: (8, 65536), 2: (16, 131072), 4: (32, 262144), 8: (64, 524288)}
GPU_REQUESTS = {1: 900, 2: 120, 4: 60, 8: 90}
ORDINARY = {(2, 4096): 100, (4, 8192): 400, (8, 16384): 300, (8, 32768): 500, (16, 65536): 200}
"""What was asked for how often: {cards: times} and {(vCPU, MiB): times}."""

PLUGIN = ("GpuReserveFilter", "GpuPackingWeigher")


class Bench(Lab):
    def start(self) -> None:
        """A lab of one host of each kind."""
        files = []
        for cards in MODELS:
            files += ["--hosts", str(self.write(f"real-{cards}", host(cards)))]
        self.gpufarm("lab", "up", *files)
        self.gpufarm("farm", "apply", str(self.write("farm", farm(self.image()))))
        self.credentials()

    def fill(self, models: dict[int, int]) -> Cloud:
        """The other hosts, and what runs on all of them."""
        first = 0
        for cards, number in models.items():
            cloud = Cloud(self.state, f"real-{cards}")
            cloud.copy_hosts(first, first + number - 1, 0)
            first += number - 1
        use(cloud)
        return cloud


def host(cards: int) -> dict[str, Any]:
    functions = [
        {
            "address": f"0000:{16 + 8 * number:02x}:00.0",
            "vendor_id": "10de",
            "product_id": "2330",
            "class_id": "030200",
            "iommu_group": number,
            "numa_node": 2 * number // cards,
            "sriov": "pf",
        }
        for number in range(cards)
    ]
    return {
        "version": 1,
        "name": f"real-{cards}",
        "vcpus": 96,
        "memory_mb": 786432,
        "disk_gb": 16000,
        "numa_nodes": 2,
        "pci_functions": functions,
    }


def farm(image: Path) -> dict[str, Any]:
    card = {"vendor_id": "10de", "product_id": "2330", "device_type": "type-PF"}
    return {
        "version": 1,
        "name": "bench",
        "release": 34,
        "reserve": "dynamic",
        "cards": {"h100": card},
        "flavors": {
            f"bench.{cards}": {
                "vcpus": vcpus,
                "memory_mb": memory_mb,
                "disk_gb": 100,
                "cards": {"h100": cards},
            }
            for cards, (vcpus, memory_mb) in GPU_FLAVORS.items()
        },
        "images": {"bench": {"file": str(image)}},
    }


def learned() -> str:
    """A file of what was learned, so that the weigher goes by its whole rule."""
    from gpufarm_nova import lesson

    gpu = [
        lesson.Request((("h100", cards),), *GPU_FLAVORS[cards], times)
        for cards, times in GPU_REQUESTS.items()
    ]
    ordinary = [lesson.Request((), *size, times) for size, times in ORDINARY.items()]
    return lesson.dumps(lesson.Lesson((*gpu, *ordinary)))


def use(cloud: Cloud) -> None:
    """Some of each host's CPU, memory and cards are taken, as the scheduler reads it."""
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    providers = {
        row["name"]: row["uuid"]
        for row in cloud.databases["placement"].execute("select * from resource_providers")
    }
    with cloud.writing():
        for node in cloud.rows("nova_cell1", "compute_nodes", deleted=0):
            pools = json.loads(node["pci_stats"])
            listed = pools["nova_object.data"]["objects"]
            kept = chance.sample(listed, chance.randint(0, len(listed)))
            for pool in kept:
                tags = pool["nova_object.data"]["tags"]
                name = f"{node['hypervisor_hostname']}_{tags['address'].upper()}"
                tags["rp_uuid"] = providers[name]
            pools["nova_object.data"]["objects"] = kept
            part = chance.randint(0, 12) / 16
            used = int(part * node["memory_mb"])
            cloud.databases["nova_cell1"].execute(
                "update compute_nodes set pci_stats = ?, vcpus_used = ?, memory_mb_used = ?,"
                " free_ram_mb = ? where id = ?",
                (
                    json.dumps(pools),
                    int(part * node["vcpus"]),
                    used,
                    node["memory_mb"] - used,
                    node["id"],
                ),
            )


class Scheduler:
    """Nova's scheduler in this process."""

    def __init__(self, state: Path) -> None:
        from gpufarm.lab import config
        from gpufarm.lab.inside import nova
        from gpufarm.lab.state import load

        nova.preload()
        from nova import config as nova_config
        from nova import context

        files = config.nova_files(load(state), None)
        arguments = ["nova", "--log-file", os.devnull]
        nova_config.parse_args(arguments, default_config_files=files)
        from oslo_log import log as logging

        logging.setup(nova_config.CONF, "nova")
        # The default of 1,000 would leave hosts out.
        nova_config.CONF.set_override("max_placement_results", 2000, "scheduler")
        packing = state.parent / "learned.json"
        packing.write_text(learned())
        from nova.scheduler.manager import SchedulerManager

        from gpufarm_nova import options

        nova_config.CONF.set_override("packing_file", str(packing), options.SECTION)
        self.manager = SchedulerManager()
        self.context = context.get_admin_context()
        self.context.project_id = self.context.user_id = "bench"
        hosts = self.manager.host_manager
        self.inside = 0.0
        for each in (*hosts.enabled_filters, *hosts.weighers):
            if type(each).__name__ in PLUGIN:
                self._time(each, "filter_all" if hasattr(each, "filter_all") else "weigh_objects")
        self.ways = {
            "nova": (without(hosts.enabled_filters), without(hosts.weighers)),
            "gpufarm": (hosts.enabled_filters, hosts.weighers),
        }
        if [len(way) for way in self.ways["gpufarm"]] != [
            len(way) + 1 for way in self.ways["nova"]
        ]:
            sys.exit(f"the scheduler has not both of {', '.join(PLUGIN)}")

    def _time(self, loaded: Any, name: str) -> None:
        """Add up what this one takes of the processor."""
        inner = getattr(loaded, name)

        def timed(hosts: Any, spec: Any) -> list[Any]:
            began = time.thread_time()
            found = list(inner(hosts, spec))
            self.inside += time.thread_time() - began
            return found

        setattr(loaded, name, timed)

    def request(self, way: str, vcpus: int, memory_mb: int, cards: int) -> dict[str, float]:
        """One request, in seconds of the clock, of this process, and inside of the plugin."""
        from nova import objects
        from nova.pci.request import get_pci_requests_from_flavor

        hosts = self.manager.host_manager
        hosts.enabled_filters, hosts.weighers = self.ways[way]
        extra = {"pci_passthrough:alias": f"h100:{cards}"} if cards else {}
        flavor = objects.Flavor(
            id=1,
            name="bench",
            flavorid="bench",
            vcpus=vcpus,
            memory_mb=memory_mb,
            root_gb=10,
            ephemeral_gb=0,
            swap=0,
            extra_specs=extra,
            is_public=True,
        )
        server = str(uuid.uuid4())
        spec = objects.RequestSpec.from_components(
            self.context,
            server,
            objects.ImageMeta(properties=objects.ImageMetaProps()),
            flavor,
            None,
            get_pci_requests_from_flavor(flavor),
            {},
            None,
            None,
        )
        self.inside = 0.0
        gc.collect()
        gc.disable()
        seconds, process = time.perf_counter(), time.process_time()
        self.manager.select_destinations(
            self.context,
            spec_obj=spec,
            instance_uuids=[server],
            return_objects=True,
            return_alternates=True,
        )
        found = {
            "seconds": time.perf_counter() - seconds,
            "process": time.process_time() - process,
            "inside": self.inside,
        }
        gc.enable()
        self.manager.placement_client.delete_allocation_for_instance(
            self.context, server, force=True
        )
        return found

    def check(self, gpu_hosts: int) -> None:
        """That it was the plugin's work that was measured, not its way around an error."""
        for loaded in self.ways["gpufarm"]:
            for each in loaded:
                if type(each).__name__ in PLUGIN:
                    if each.faults.seen:
                        sys.exit(f"{type(each).__name__} met {each.faults.seen}")
                    reading = each.reader.reading()
                    if reading.lesson is None or len(reading.cards) != gpu_hosts:
                        sys.exit(f"{type(each).__name__} did not read all")


def without(loaded: list[Any]) -> list[Any]:
    return [each for each in loaded if type(each).__name__ not in PLUGIN]


def rounds(
    scheduler: Scheduler, cloud: Cloud, number: int, gpu_hosts: int
) -> Iterator[dict[str, Any]]:
    kinds = {
        "ordinary": (8, 32768, 0),
        "1 GPU": (*GPU_FLAVORS[1], 1),
    }
    for kind, (vcpus, memory_mb, cards) in kinds.items():
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in scheduler.ways}
        for count in range(number + 1):
            for way in scheduler.ways if count % 2 else reversed(scheduler.ways):
                cloud.report_up()
                found = scheduler.request(way, vcpus, memory_mb, cards)
                if count:  # the first one fills what is remembered
                    taken[way].append(found)
        result: dict[str, Any] = {"request": kind, "rounds": number}
        for what in ("seconds", "process"):
            nova, ours = ([each[what] for each in taken[way]] for way in ("nova", "gpufarm"))
            result[what] = round(statistics.median(nova), 4)
            result[f"{what}_with_plugin"] = round(statistics.median(ours), 4)
            pairs = [mine / theirs for theirs, mine in zip(nova, ours, strict=True)]
            result[f"{what}_ratio"] = round(statistics.median(pairs), 4)
        inside = statistics.median(each["inside"] for each in taken["gpufarm"])
        result["inside"] = round(inside, 4)
        result["inside_ratio"] = round(1 + inside / result["process"], 4)
        scheduler.check(gpu_hosts)
        yield result


def show(result: dict[str, Any]) -> None:
    parts = (
        f"{result[what]:>9.3f}{result[f'{what}_with_plugin']:>10.3f}{result[f'{what}_ratio']:>7.3f}"
        for what in ("process", "seconds")
    )
    inside = f"{result['inside']:>9.3f}{result['inside_ratio']:>7.3f}"
    print(f"{result['request']:<10}{inside}{''.join(parts)}{REACH:>7}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="requests of each kind and way (8)")
    parser.add_argument("--divide", type=int, default=1, help="so many times fewer hosts (1)")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file")
    parsed = parser.parse_args()
    models = {cards: max(2, number // parsed.divide) for cards, number in MODELS.items()}
    gpu_hosts = sum(number for cards, number in models.items() if cards)
    on = {**machine(), "hosts": sum(models.values())}
    print(", ".join(f"{key}: {value}" for key, value in on.items()))
    print(f"{'':<10}{'in the plugin':>16}{'of the processor':>26}{'by the clock':>26}")
    columns = 2 * f"{'Nova s':>9}{'plugin s':>10}{'ratio':>7}"
    print(f"{'request':<10}{'s':>9}{'ratio':>7}{columns}{'reach':>7}")
    with tempfile.TemporaryDirectory(prefix="gpufarm-bench-") as folder:
        bench = Bench(Path(folder))
        found = []
        try:
            bench.start()
            cloud = bench.fill(models)
            scheduler = Scheduler(bench.state)
            for result in rounds(scheduler, cloud, parsed.rounds, gpu_hosts):
                found.append(result)
                show(result)
        finally:
            bench.end()
    output = parsed.output or Path(tempfile.gettempdir()) / "gpufarm-bench-scheduler.json"
    output.write_text(json.dumps({"machine": on, "rounds": found}, indent=1))
    print(output)


if __name__ == "__main__":
    main()
