"""Reading and writing what a farm file is about: flavors, aggregates, images, compute hosts.

What is decided here: how it is asked for. Reads come in few calls whatever the size of the cloud;
each write is one call, so that what was done before a failure is known.
"""

from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call, get, pages
from gpufarm.model.catalog import Catalog
from gpufarm.model.cloud import CloudAggregate, CloudFlavor, CloudImage, ComputeHost
from gpufarm.model.consistency import GLANCE_NAMES
from gpufarm.model.farm import IMAGE_FARM_MARK

if TYPE_CHECKING:
    from openstack.connection import Connection

# From 2.88 the list of hypervisors asks every nova-compute for its uptime
# (nova/api/openstack/compute/hypervisors.py, _view_hypervisor).
HYPERVISORS_MICROVERSION = "2.87"

# A store may take long for what it was sent, and for the digests over it.
UPLOAD_SECONDS = (60.0, 3600.0)

PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
JSON_TYPE = "application/json"


def flavors(connection: "Connection") -> tuple[CloudFlavor, ...]:
    """Every flavor, private ones too. Raises CloudError."""
    with faults("reading flavors"):
        query = [("is_public", "None")]
        found = pages(connection.compute, "/flavors/detail", "flavors", query)
        return tuple(_flavor(each) for each in found)


def aggregates(connection: "Connection") -> tuple[CloudAggregate, ...]:
    """Every host aggregate. Raises CloudError."""
    with faults("reading aggregates"):
        found = get(connection.compute, "/os-aggregates")["aggregates"]
    return tuple(_aggregate(each) for each in found)


def compute_hosts(connection: "Connection") -> tuple[ComputeHost, ...]:
    """Every nova-compute service, also one that never reported a hypervisor. Raises CloudError."""
    adapter = SimpleNamespace(
        get=partial(connection.compute.get, microversion=HYPERVISORS_MICROVERSION)
    )
    with faults("reading compute hosts"):
        services = get(connection.compute, "/os-services?binary=nova-compute")["services"]
        found = list(pages(adapter, "/os-hypervisors/detail", "hypervisors"))
    of_host: dict[str, list[Any]] = {}
    for each in found:
        of_host.setdefault(each["service"]["host"], []).append(each)
    return tuple(
        ComputeHost(
            name=service["host"],
            hypervisor_hostname=each["hypervisor_hostname"],
            up=service.get("state") == "up",
            enabled=service.get("status") == "enabled",
            servers=each.get("running_vms") or 0,
            address=_address(each),
        )
        for service in services
        for each in of_host.get(service["host"], [{"hypervisor_hostname": service["host"]}])
    )


def _address(hypervisor: Any) -> str | None:
    """A nova-compute of Ironic's runs nothing on its machine, where another may be."""
    given = hypervisor.get("host_ip")
    if given is None or hypervisor.get("hypervisor_type") == "ironic":
        return None
    try:
        return str(ip_address(given))
    except ValueError:
        return None


def images(connection: "Connection", farm: str, names: Iterable[str]) -> tuple[CloudImage, ...]:
    """Images of these names, and those marked as `farm`'s.

    Only public ones and those of this connection's project: an administrator is shown every
    project's, and a name or a mark on somebody's private image says nothing. Raises CloudError.
    """
    queries = [{"name": name} for name in names] + [{IMAGE_FARM_MARK: farm}]
    with faults("reading images"):
        project = connection.current_project_id
        found = {
            each["id"]: each for query in queries for each in _image_pages(connection.image, query)
        }
    return tuple(
        _image(each)
        for each in found.values()
        if each["visibility"] == "public" or each["owner"] == project
    )


def _image_pages(adapter: Any, query: dict[str, str]) -> Iterable[Any]:
    path = f"/images?{urlencode(query)}"
    while path:
        answer = get(adapter, path)
        yield from answer["images"]
        path = str(answer.get("next", "")).removeprefix("/v2")


def _flavor(found: Any) -> CloudFlavor:
    return CloudFlavor(
        id=found["id"],
        name=found["name"],
        vcpus=found["vcpus"],
        memory_mb=found["ram"],
        disk_gb=found["disk"],
        public=found["os-flavor-access:is_public"],
        properties=found.get("extra_specs", {}),
        ephemeral_gb=found.get("OS-FLV-EXT-DATA:ephemeral", 0),
        # Nova gives an empty string for none before 2.75.
        swap_mb=int(found.get("swap") or 0),
    )


def _aggregate(found: Any) -> CloudAggregate:
    properties = {
        key: value for key, value in found["metadata"].items() if key != "availability_zone"
    }
    return CloudAggregate(
        id=found["id"],
        name=found["name"],
        zone=found["availability_zone"],
        hosts=frozenset(found["hosts"]),
        properties=properties,
        uuid=found.get("uuid", ""),
    )


def _image(found: Any) -> CloudImage:
    return CloudImage(
        id=found["id"],
        name=found["name"] or "",
        status=found["status"],
        disk_format=found.get("disk_format"),
        min_disk_gb=found["min_disk"],
        min_memory_mb=found["min_ram"],
        public=found["visibility"] == "public",
        checksum=found.get("checksum"),
        properties={
            key: value
            for key, value in found.items()
            if isinstance(value, str) and key not in GLANCE_NAMES
        },
    )


class CloudCatalog:
    """The objects of one farm in one cloud: `catalog.apply` works through this."""

    def __init__(self, connection: "Connection", farm: str, image_names: Iterable[str]) -> None:
        self._connection = connection
        self._farm = farm
        self._image_names = tuple(image_names)

    def read(self) -> Catalog:
        """Everything that a plan is made from. Raises CloudError."""
        return Catalog(
            flavors=flavors(self._connection),
            aggregates=aggregates(self._connection),
            images=images(self._connection, self._farm, self._image_names),
            hosts=compute_hosts(self._connection),
        )

    # Flavors

    def create_flavor(self, flavor: CloudFlavor) -> str:
        """Its id. Its properties are another call."""
        body = {
            "name": flavor.name,
            "vcpus": flavor.vcpus,
            "ram": flavor.memory_mb,
            "disk": flavor.disk_gb,
            "os-flavor-access:is_public": flavor.public,
        }
        doing = f"creating flavor {flavor.name}"
        answer = self._compute(doing, "POST", "/flavors", {"flavor": body})
        return str(answer["flavor"]["id"])

    def set_flavor_properties(self, flavor_id: str, properties: dict[str, str]) -> None:
        path = f"/flavors/{flavor_id}/os-extra_specs"
        self._compute("setting flavor properties", "POST", path, {"extra_specs": properties})

    def unset_flavor_property(self, flavor_id: str, key: str) -> None:
        path = f"/flavors/{flavor_id}/os-extra_specs/{quote(key, safe=':')}"
        self._compute(f"removing flavor property {key}", "DELETE", path)

    def delete_flavor(self, flavor_id: str) -> None:
        self._compute("deleting a flavor", "DELETE", f"/flavors/{flavor_id}")

    def flavor_projects(self, flavor_id: str) -> frozenset[str]:
        """Projects that may use a private flavor."""
        path = f"/flavors/{flavor_id}/os-flavor-access"
        answer = self._compute("reading who may use a flavor", "GET", path)
        return frozenset(each["tenant_id"] for each in answer["flavor_access"])

    def grant_flavor(self, flavor_id: str, project: str) -> None:
        body = {"addTenantAccess": {"tenant": project}}
        self._compute("granting a flavor", "POST", f"/flavors/{flavor_id}/action", body)

    # Aggregates

    def create_aggregate(self, name: str, zone: str | None) -> int:
        """Its id. Its hosts and properties are further calls."""
        body = {"aggregate": {"name": name, "availability_zone": zone}}
        answer = self._compute(f"creating aggregate {name}", "POST", "/os-aggregates", body)
        return int(answer["aggregate"]["id"])

    def set_zone(self, aggregate_id: int, zone: str) -> None:
        body = {"aggregate": {"availability_zone": zone}}
        doing = f"setting availability zone {zone} of an aggregate"
        self._compute(doing, "PUT", f"/os-aggregates/{aggregate_id}", body)

    def set_aggregate_properties(
        self, aggregate_id: int, properties: dict[str, str | None]
    ) -> None:
        """None removes one."""
        self._aggregate_action(
            "setting aggregate properties", aggregate_id, "set_metadata", {"metadata": properties}
        )

    def add_host(self, aggregate_id: int, host: str) -> None:
        doing = f"adding host {host} to an aggregate"
        self._aggregate_action(doing, aggregate_id, "add_host", {"host": host})

    def remove_host(self, aggregate_id: int, host: str) -> None:
        doing = f"removing host {host} from an aggregate"
        self._aggregate_action(doing, aggregate_id, "remove_host", {"host": host})

    def delete_aggregate(self, aggregate_id: int) -> None:
        self._compute("deleting an aggregate", "DELETE", f"/os-aggregates/{aggregate_id}")

    def _aggregate_action(
        self, doing: str, aggregate_id: int, action: str, body: dict[str, Any]
    ) -> None:
        self._compute(doing, "POST", f"/os-aggregates/{aggregate_id}/action", {action: body})

    # Images

    def create_image(self, image_id: str, image: CloudImage) -> None:
        """Private and without content. CloudConflict where that id was ever given."""
        body = {
            **image.properties,
            "id": image_id,
            "name": image.name,
            "disk_format": image.disk_format,
            "container_format": "bare",
            "min_disk": image.min_disk_gb,
            "min_ram": image.min_memory_mb,
            "visibility": "private",
        }
        self._image(f"creating image {image.name}", "POST", "/images", json=body)

    def image_status(self, image_id: str) -> str | None:
        """None where no image has that id (any more)."""
        with faults("reading an image"):
            response = self._connection.image.get(f"/images/{image_id}")
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
        return str(self._image("reading an image", "GET", f"/images/{image_id}")["status"])

    def upload_image(self, image_id: str, path: str) -> None:
        """Content into an image that has none; CloudConflict where another does that now."""
        with Path(path).open("rb") as stream:
            self._image(
                f"uploading {path}",
                "PUT",
                f"/images/{image_id}/file",
                data=stream,
                headers={"Content-Type": "application/octet-stream", "Accept": ""},
                timeout=UPLOAD_SECONDS,
            )

    def change_image(self, image_id: str, changes: dict[str, Any]) -> None:
        """Fields by Glance's names; None removes a property."""
        patch = [
            {"op": "remove", "path": f"/{_pointer(key)}"}
            if value is None
            else {"op": "add", "path": f"/{_pointer(key)}", "value": value}
            for key, value in changes.items()
        ]
        headers = {"Content-Type": PATCH_TYPE, "Accept": JSON_TYPE}
        self._image(
            "changing an image", "PATCH", f"/images/{image_id}", json=patch, headers=headers
        )

    def delete_image(self, image_id: str) -> None:
        self._image("deleting an image", "DELETE", f"/images/{image_id}")

    def _compute(self, doing: str, method: str, path: str, body: Any = None) -> Any:
        arguments = {} if body is None else {"json": body}
        return call(self._connection.compute, doing, method, path, **arguments)

    def _image(self, doing: str, method: str, path: str, **arguments: Any) -> Any:
        return call(self._connection.image, doing, method, path, **arguments)


def _pointer(name: str) -> str:
    """As a JSON pointer wants it (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
