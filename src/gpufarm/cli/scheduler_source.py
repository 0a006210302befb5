"""Where the settings of Nova's scheduler and the hosts' NUMA nodes are read: no API gives either.

What is decided here: the options that name files, and what is taken without them: the lab's own
where the cloud is the lab, otherwise what `gpufarm farm` would configure, which is said.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gpufarm.cli import farm_target

if TYPE_CHECKING:
    from openstack.connection import Connection

    from gpufarm.capacity.facts import Question
    from gpufarm.capacity.scheduler import Packing, Scheduler
    from gpufarm.model.host import HostFile


def add_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--nova-conf",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="nova.conf of the scheduler, for its filters, and placement.conf, for its limits "
        "(repeatable, in the order in which they are read)",
    )
    source.add_argument(
        "--farm", metavar="FARM.yaml", type=Path, help="take the filters that this farm file sets"
    )
    parser.add_argument(
        "--hosts",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="host files, for NUMA nodes: a file, or a folder of them (repeatable)",
    )


def question(connection: "Connection", parsed_args: argparse.Namespace | None = None) -> "Question":
    """What is known without asking the cloud; by the options of `parsed_args` where it has them."""
    from gpufarm.capacity.facts import Question

    files = parsed_args.nova_conf if parsed_args else ()
    return Question(
        scheduler=with_lesson(_scheduler(connection, parsed_args), files),
        hardware=_hardware(connection, parsed_args),
    )


def with_lesson(scheduler: "Scheduler", nova_conf: Iterable[Path]) -> "Scheduler":
    """With what the scheduler's weigher has learned: its packing_file, where it is here, or a copy
    beside one of `nova_conf`."""
    import msgspec

    packing = scheduler.packing
    if packing is None or packing.file is None:
        return scheduler
    file = Path(packing.file)
    places = (file, *(path.parent / file.name for path in nova_conf))
    return msgspec.structs.replace(scheduler, packing=_taught(packing, places))


def _taught(packing: "Packing", places: Iterable[Path]) -> "Packing":
    """With what the first of `places` holds that can be read, or why there is none."""
    import msgspec

    from gpufarm_nova import lesson as lessons

    problem = ""
    for path in places:
        try:
            with path.open(encoding="utf-8") as file:
                found = lessons.loads(file.read(lessons.MOST_BYTES + 1))
        except OSError as error:
            problem = problem or str(error.strerror)
            continue
        except ValueError as error:
            found = lessons.Broken(str(error))
        if isinstance(found, lessons.Broken):
            return msgspec.structs.replace(packing, file=str(path), problem=found.problem)
        return msgspec.structs.replace(packing, file=str(path), lesson=found)
    return msgspec.structs.replace(packing, problem=problem)


def _scheduler(connection: "Connection", parsed_args: argparse.Namespace | None) -> "Scheduler":
    from gpufarm.capacity.scheduler import Scheduler, from_settings
    from gpufarm.model import settings

    if parsed_args and parsed_args.nova_conf:
        parts = [settings.parse(path.read_text()) for path in parsed_args.nova_conf]
        names = ", ".join(str(path) for path in parsed_args.nova_conf)
        return from_settings(settings.join(*parts), names)
    if parsed_args and parsed_args.farm:
        from gpufarm.model import farm
        from gpufarm.nova.settings import controller, placement

        wanted = farm.read(parsed_args.farm)
        both = settings.join(controller(wanted), placement(wanted))
        return from_settings(both, str(parsed_args.farm))
    lab = farm_target.find_lab(connection)
    if lab is None:
        return Scheduler()
    from gpufarm.lab import farm as lab_farm

    return from_settings(lab_farm.scheduler_settings(lab), "the lab's nova.conf")


def _hardware(
    connection: "Connection", parsed_args: argparse.Namespace | None
) -> tuple["HostFile", ...]:
    if parsed_args and parsed_args.hosts:
        from gpufarm.lab import hardware as host_files

        return host_files.read(parsed_args.hosts)
    lab = farm_target.find_lab(connection)
    if lab is None:
        return ()
    from gpufarm.lab import farm as lab_farm

    return lab_farm.hardware(lab)
