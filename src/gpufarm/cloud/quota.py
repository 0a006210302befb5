"""Reading Nova's quotas of a project."""

from typing import TYPE_CHECKING

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import get
from gpufarm.model.cloud import Limit
from gpufarm.model.errors import NotInCloud

if TYPE_CHECKING:
    from openstack.connection import Connection

NAMES = ("cores", "instances", "ram")


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


def project_id(connection: "Connection", name_or_id: str) -> str:
    """Raises NotInCloud, and CloudRefused for who may not read projects."""
    with faults("reading projects"):
        found = connection.identity.find_project(name_or_id)
    if found is None:
        raise NotInCloud("project", name_or_id, "`openstack project list` shows those there are")
    return str(found.id)
