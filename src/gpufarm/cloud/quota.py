"""Reading Nova's quotas of a project."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import get, raise_for
from gpufarm.model.cloud import Limit
from gpufarm.model.errors import NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

SERVERS = "instances"
NAMES = ("cores", SERVERS, "ram")

SUMS = "1.9"
"""Of Placement: use by resource class, not yet by kind of consumer; what Nova itself asks for."""


def limits(connection: "Connection", project: str) -> tuple[Limit, ...]:
    """Limits and use of servers, cores and MB of memory.

    Nova shows them in one form for its own quotas and for Keystone's unified limits
    (nova/quota.py, UnifiedLimitsDriver.get_project_quotas). Whoever reads servers of the project
    may read them. Raises CloudError.
    """
    with faults("reading quotas"):
        found = get(connection.compute, f"/os-quota-sets/{project}/detail")["quota_set"]
    return tuple(
        Limit(
            name=name,
            limit=found[name]["limit"],
            used=found[name]["in_use"] + found[name].get("reserved", 0),
        )
        for name in NAMES
        if name in found
    )


def unified_limits(
    connection: "Connection", project: str, barred: Iterable[str]
) -> tuple[Limit, ...]:
    """Keystone's limits of Nova in this region, and the use of `servers` and `class:...`.

    A limit of the project goes before the registered one; of what is `barred` nothing may be had
    where there is neither (nova/limit/utils.py, should_enforce). Everybody may read those of their
    own project, an administrator all. Raises CloudError.
    """
    with faults("reading Keystone's limits"):
        service = connection.compute.get_endpoint_data().service_id
        query = {"service_id": service, "region_id": connection.config.get_region_name("compute")}
        words = urlencode({key: value for key, value in query.items() if value})
        registered = get(connection.identity, f"/registered_limits?{words}")["registered_limits"]
        own = get(connection.identity, f"/limits?{words}&project_id={project}")["limits"]
    with faults("reading what the project uses"):
        answer = connection.placement.get(f"/usages?project_id={project}", microversion=SUMS)
        raise_for(answer)
        used = {f"class:{name}": number for name, number in answer.json()["usages"].items()}
    (servers,) = (each for each in limits(connection, project) if each.name == SERVERS)
    used["servers"] = servers.used
    most = {
        **dict.fromkeys(barred, 0),
        **{each["resource_name"]: each["default_limit"] for each in registered},
        **{each["resource_name"]: each["resource_limit"] for each in own},
    }
    return tuple(
        Limit(name=name, limit=most[name], used=used.get(name, 0)) for name in sorted(most)
    )


def project_id(connection: "Connection", name_or_id: str) -> str:
    """Raises NotInCloud, and CloudRefused for who may not read projects."""
    with faults("reading projects"):
        found = connection.identity.find_project(name_or_id)
    if found is None:
        raise NotInCloud("project", name_or_id, "`openstack project list` shows those there are")
    return str(found.id)
