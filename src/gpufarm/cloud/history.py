"""Which servers were asked for, those that are gone and those that never came among them."""

from typing import TYPE_CHECKING, Any

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import pages
from gpufarm.model.server import Asked

if TYPE_CHECKING:
    from openstack.connection import Connection


def asked(connection: "Connection") -> tuple[Asked, ...]:
    """Of all projects, the oldest first, as far back as Nova still has them: `nova-manage db
    archive_deleted_rows` takes deleted ones away. Raises CloudError."""
    found: dict[str, Asked] = {}
    with faults("reading servers"):
        for deleted in ("false", "true"):
            query = [("all_tenants", "1"), ("deleted", deleted)]
            for each in pages(connection.compute, "/servers/detail", "servers", query):
                if "vcpus" in each.get("flavor", {}):  # not in a cell that is down
                    found[each["id"]] = _asked(each)
    return tuple(sorted(found.values(), key=lambda server: (server.created, server.id)))


def _asked(found: dict[str, Any]) -> Asked:
    flavor = found["flavor"]
    return Asked(
        id=found["id"],
        flavor=flavor["original_name"],
        vcpus=flavor["vcpus"],
        memory_mb=flavor["ram"],
        properties=flavor.get("extra_specs") or {},
        created=found["created"],
        ended=found.get("OS-SRV-USG:terminated_at") or "",
        failed=found["status"] == "ERROR" and not found.get("OS-SRV-USG:launched_at"),
    )
