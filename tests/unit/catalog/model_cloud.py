"""Nova and Glance as far as a farm sees them, in memory and with their rules.

What it refuses is what the real ones refuse; `tests/functional/test_farm.py` runs the same farms
against those.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.cloud import CloudAggregate, CloudFlavor, CloudImage, ComputeHost
from gpufarm.model.errors import CloudConflict, CloudError, NotInCloud

replace = msgspec.structs.replace


class Killed(BaseException):
    """The command that made the call is gone."""


@dataclass
class ModelCloud:
    """A door to itself. `before_moment` is called before and after each write takes effect."""

    hosts: tuple[str, ...] = ()
    servers: dict[str, int] = field(default_factory=dict)
    """{host: how many servers it has}"""
    flavors: dict[str, CloudFlavor] = field(default_factory=dict)
    access: dict[str, set[str]] = field(default_factory=dict)
    aggregates: dict[int, CloudAggregate] = field(default_factory=dict)
    images: dict[str, CloudImage] = field(default_factory=dict)
    dead_images: set[str] = field(default_factory=set)
    files: dict[str, ImageFile] = field(default_factory=dict)
    """{path: content}"""
    moments: int = 0
    before_moment: Callable[[int], None] = lambda _: None

    @classmethod
    def holding(cls, catalog: Catalog, **others: Any) -> "ModelCloud":
        return cls(
            hosts=tuple(host.name for host in catalog.hosts),
            flavors={flavor.id: flavor for flavor in catalog.flavors},
            aggregates={aggregate.id: aggregate for aggregate in catalog.aggregates},
            images={image.id: image for image in catalog.images},
            **others,
        )

    def _moment(self) -> None:
        self.moments += 1
        self.before_moment(self.moments)

    def read(self) -> Catalog:
        return Catalog(
            flavors=tuple(self.flavors.values()),
            aggregates=tuple(self.aggregates.values()),
            images=tuple(self.images.values()),
            hosts=tuple(
                ComputeHost(
                    name=host,
                    hypervisor_hostname=host,
                    up=True,
                    enabled=True,
                    servers=self.servers.get(host, 0),
                )
                for host in self.hosts
            ),
        )

    # Flavors

    def create_flavor(self, flavor: CloudFlavor) -> str:
        self._moment()
        if any(each.name == flavor.name for each in self.flavors.values()):
            raise CloudConflict(f"Flavor with name {flavor.name} already exists")
        flavor_id = str(uuid.uuid4())
        self.flavors[flavor_id] = replace(flavor, id=flavor_id, properties={})
        self.access[flavor_id] = set()
        self._moment()
        return flavor_id

    def _flavor(self, flavor_id: str) -> CloudFlavor:
        if flavor_id not in self.flavors:
            raise NotInCloud("flavor", flavor_id)
        return self.flavors[flavor_id]

    def set_flavor_properties(self, flavor_id: str, properties: dict[str, str]) -> None:
        self._moment()
        flavor = self._flavor(flavor_id)
        self.flavors[flavor_id] = replace(flavor, properties=flavor.properties | properties)
        self._moment()

    def unset_flavor_property(self, flavor_id: str, key: str) -> None:
        self._moment()
        flavor = self._flavor(flavor_id)
        if key not in flavor.properties:
            raise NotInCloud("extra spec", key)
        left = {name: value for name, value in flavor.properties.items() if name != key}
        self.flavors[flavor_id] = replace(flavor, properties=left)
        self._moment()

    def delete_flavor(self, flavor_id: str) -> None:
        self._moment()
        self._flavor(flavor_id)
        del self.flavors[flavor_id]
        self.access.pop(flavor_id, None)
        self._moment()

    def flavor_projects(self, flavor_id: str) -> frozenset[str]:
        if self._flavor(flavor_id).public:
            raise NotInCloud("access list of public flavor", flavor_id)
        return frozenset(self.access.get(flavor_id, ()))

    def grant_flavor(self, flavor_id: str, project: str) -> None:
        self._moment()
        if self._flavor(flavor_id).public or project in self.access.setdefault(flavor_id, set()):
            raise CloudConflict("Flavor access already exists")
        self.access[flavor_id].add(project)
        self._moment()

    # Aggregates

    def create_aggregate(self, name: str, zone: str | None) -> int:
        self._moment()
        if any(each.name == name for each in self.aggregates.values()):
            raise CloudConflict(f"Aggregate {name} already exists")
        number = max(self.aggregates, default=0) + 1
        self.aggregates[number] = CloudAggregate(
            id=number, name=name, zone=zone, hosts=frozenset(), properties={}
        )
        self._moment()
        return number

    def _aggregate(self, aggregate_id: int) -> CloudAggregate:
        if aggregate_id not in self.aggregates:
            raise NotInCloud("aggregate", str(aggregate_id))
        return self.aggregates[aggregate_id]

    def _zones(self, hosts: Iterable[str], other_than: int) -> set[str]:
        return {
            each.zone
            for each in self.aggregates.values()
            if each.id != other_than and each.zone and each.hosts & set(hosts)
        }

    def set_zone(self, aggregate_id: int, zone: str) -> None:
        self._moment()
        aggregate = self._aggregate(aggregate_id)
        # HTTP 400, where adding and removing hosts answer the same with 409.
        if self._zones(aggregate.hosts, aggregate_id) - {zone}:
            raise CloudError("One or more hosts already in availability zone(s)")
        if zone != aggregate.zone and any(self.servers.get(host) for host in aggregate.hosts):
            raise CloudError("One or more hosts contain instances in this zone")
        self.aggregates[aggregate_id] = replace(aggregate, zone=zone)
        self._moment()

    def set_aggregate_properties(
        self, aggregate_id: int, properties: dict[str, str | None]
    ) -> None:
        self._moment()
        aggregate = self._aggregate(aggregate_id)
        merged = {**aggregate.properties, **properties}
        kept = {key: value for key, value in merged.items() if value is not None}
        self.aggregates[aggregate_id] = replace(aggregate, properties=kept)
        self._moment()

    def add_host(self, aggregate_id: int, host: str) -> None:
        self._moment()
        aggregate = self._aggregate(aggregate_id)
        if host not in self.hosts:
            raise NotInCloud("compute host", host)
        zones = self._zones([host], aggregate_id)
        if aggregate.zone and zones - {aggregate.zone}:
            raise CloudConflict("One or more hosts already in availability zone(s)")
        if host in aggregate.hosts:
            raise CloudConflict(f"Aggregate {aggregate.name} already has host {host}")
        if aggregate.zone and aggregate.zone not in zones and self.servers.get(host):
            raise CloudConflict("the host already has instances")
        self.aggregates[aggregate_id] = replace(aggregate, hosts=aggregate.hosts | {host})
        self._moment()

    def remove_host(self, aggregate_id: int, host: str) -> None:
        self._moment()
        aggregate = self._aggregate(aggregate_id)
        if host not in aggregate.hosts:
            raise NotInCloud("host in aggregate", host)
        zones = self._zones([host], aggregate_id)
        if aggregate.zone and aggregate.zone not in zones and self.servers.get(host):
            raise CloudConflict("the host already has instances")
        self.aggregates[aggregate_id] = replace(aggregate, hosts=aggregate.hosts - {host})
        self._moment()

    def delete_aggregate(self, aggregate_id: int) -> None:
        self._moment()
        if self._aggregate(aggregate_id).hosts:
            raise CloudError("Host aggregate is not empty")
        del self.aggregates[aggregate_id]
        self._moment()

    # Images

    def create_image(self, image_id: str, image: CloudImage) -> None:
        self._moment()
        if image_id in self.images or image_id in self.dead_images:
            raise CloudConflict(f"Image ID {image_id} already exists!")
        self.images[image_id] = replace(
            image, id=image_id, status="queued", public=False, checksum=None
        )
        self._moment()

    def image_status(self, image_id: str) -> str | None:
        return self.images[image_id].status if image_id in self.images else None

    def _image(self, image_id: str) -> CloudImage:
        if image_id not in self.images:
            raise NotInCloud("image", image_id)
        return self.images[image_id]

    def upload_image(self, image_id: str, path: str) -> None:
        self._moment()
        image = self._image(image_id)
        if image.status != "queued":
            raise CloudConflict("Image status transition is not allowed")
        self.images[image_id] = replace(image, status="active", checksum=self.files[path].md5)
        self._moment()

    def change_image(self, image_id: str, changes: dict[str, Any]) -> None:
        self._moment()
        image = self._image(image_id)
        properties = dict(image.properties)
        fields: dict[str, Any] = {}
        names = {"min_disk": "min_disk_gb", "min_ram": "min_memory_mb"}
        for key, value in changes.items():
            if key == "visibility":
                fields["public"] = value == "public"
            elif key in names:
                fields[names[key]] = value
            elif value is None:
                del properties[key]
            else:
                properties[key] = value
        self.images[image_id] = replace(image, properties=properties, **fields)
        self._moment()

    def delete_image(self, image_id: str) -> None:
        self._moment()
        self._image(image_id)
        del self.images[image_id]
        self.dead_images.add(image_id)
        self._moment()

    # What the tests compare

    def content(self) -> dict[str, Any]:
        """Everything but ids, which say nothing."""
        return {
            "flavors": sorted(
                (_shown(each), sorted(self.access.get(each.id, ())))
                for each in self.flavors.values()
            ),
            "aggregates": sorted(
                (each.name, each.zone or "", sorted(each.hosts), sorted(each.properties.items()))
                for each in self.aggregates.values()
            ),
            "images": sorted(_shown(each) for each in self.images.values()),
        }


def _shown(each: CloudFlavor | CloudImage) -> str:
    fields = msgspec.to_builtins(replace(each, id=""))
    return repr(fields | {"properties": sorted(each.properties.items())})
