"""What is asked of Nova and Glance for a farm, and what is taken from their answers."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from gpufarm.cloud import catalog
from gpufarm.cloud.catalog import CloudCatalog
from gpufarm.model.errors import CloudConflict, CloudRefused, NotInCloud

OURS, THEIRS = "project-ours", "project-theirs"


class Api:
    """Answers from a table and keeps what it was asked."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, str, Any]] = []

    def get(self, path: str, **arguments: Any) -> Any:
        return self.request(path, "GET", **arguments)

    def request(self, path: str, method: str, **arguments: Any) -> Any:
        self.asked.append((method, path, arguments))
        answer = self.answers.get(f"{method} {path}", {})
        response = requests.Response()
        response.status_code = answer if isinstance(answer, int) else 200
        response.url = f"http://cloud{path}"
        body = {} if isinstance(answer, int) else answer
        response._content = json.dumps(body).encode()
        return response


def a_connection(compute: Api | None = None, image: Api | None = None) -> Any:
    return SimpleNamespace(compute=compute or Api(), image=image or Api(), current_project_id=OURS)


def an_image(image_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": image_id,
        "name": "os",
        "status": "active",
        "disk_format": "raw",
        "min_disk": 1,
        "min_ram": 2,
        "visibility": "private",
        "owner": OURS,
        "checksum": "aa",
        "hw_video_ram": "8",
        "os_hidden": False,
        "tags": [],
        **changed,
    }


def test_images_of_other_projects_are_not_seen_unless_public() -> None:
    answers = {
        "GET /images?name=os": {
            "images": [an_image("1"), an_image("2", owner=THEIRS)],
            "next": "/v2/images?name=os&marker=2",
        },
        "GET /images?name=os&marker=2": {
            "images": [an_image("3", owner=THEIRS, visibility="public")]
        },
        "GET /images?gpufarm_farm=ours": {
            "images": [an_image("1"), an_image("4", owner=THEIRS), an_image("5")]
        },
    }
    found = catalog.images(a_connection(image=Api(answers)), "ours", ["os"])
    assert [image.id for image in found] == ["1", "3", "5"]


def test_an_image_has_its_properties_and_not_glances_own_fields() -> None:
    answers = {"GET /images?gpufarm_farm=ours": {"images": [an_image("1", virtual_size=None)]}}
    (image,) = catalog.images(a_connection(image=Api(answers)), "ours", [])
    assert image.properties == {"hw_video_ram": "8"}
    assert (image.min_disk_gb, image.min_memory_mb, image.checksum) == (1, 2, "aa")
    assert image.public is False


def test_names_are_quoted_in_addresses() -> None:
    api = Api({"GET /images?name=a%26b%3D%3Fc": {"images": []}})
    api.answers["GET /images?gpufarm_farm=ours"] = {"images": []}
    assert catalog.images(a_connection(image=api), "ours", ["a&b=?c"]) == ()
    compute = Api()
    door = CloudCatalog(a_connection(compute), "ours", ())
    door.unset_flavor_property("1", "hw:a b/../x?y#z")
    assert compute.asked[0][1] == "/flavors/1/os-extra_specs/hw:a%20b%2F..%2Fx%3Fy%23z"


def test_hosts_without_a_hypervisor_and_with_several() -> None:
    answers = {
        "GET /os-services?binary=nova-compute": {
            "services": [
                {"host": "a", "state": "up", "status": "enabled"},
                {"host": "new", "state": "up", "status": "enabled"},
                {"host": "metal", "state": "down", "status": "disabled"},
                {"host": "unreachable-cell"},
            ]
        },
        "GET /os-hypervisors/detail?limit=1000": {
            "hypervisors": [
                {
                    "hypervisor_hostname": "a.example",
                    "service": {"host": "a"},
                    "host_ip": "10.0.0.1",
                    "hypervisor_type": "QEMU",
                },
                {
                    "hypervisor_hostname": "node-1",
                    "service": {"host": "metal"},
                    "host_ip": "10.0.0.1",
                    "hypervisor_type": "ironic",
                },
                {"hypervisor_hostname": "node-2", "service": {"host": "metal"}, "host_ip": "no ip"},
            ]
        },
    }
    api = Api(answers)
    found = catalog.compute_hosts(a_connection(api))
    assert [(host.name, host.hypervisor_hostname, host.up, host.enabled) for host in found] == [
        ("a", "a.example", True, True),
        ("new", "new", True, True),
        ("metal", "node-1", False, False),
        ("metal", "node-2", False, False),
        ("unreachable-cell", "unreachable-cell", False, False),
    ]
    assert [host.address for host in found] == ["10.0.0.1", None, None, None, None]
    assert api.asked[1][2]["microversion"] == "2.87"


def test_the_zone_of_an_aggregate_is_no_property() -> None:
    aggregate = {
        "id": 1,
        "name": "GPU",
        "availability_zone": "east",
        "hosts": ["a"],
        "metadata": {"availability_zone": "east", "gpu": "true"},
    }
    api = Api({"GET /os-aggregates": {"aggregates": [aggregate]}})
    (found,) = catalog.aggregates(a_connection(api))
    assert (found.zone, found.properties) == ("east", {"gpu": "true"})


@pytest.mark.parametrize(
    ("status", "error"), [(409, CloudConflict), (410, CloudConflict), (403, CloudRefused)]
)
def test_what_glance_refuses_on_upload(status: int, error: type[Exception], tmp_path: Any) -> None:
    path = tmp_path / "image"
    path.write_text("content")
    door = CloudCatalog(a_connection(image=Api({"PUT /images/1/file": status})), "ours", ())
    with pytest.raises(error):
        door.upload_image("1", str(path))


def test_the_status_of_an_image_that_is_gone_is_none() -> None:
    door = CloudCatalog(a_connection(image=Api({"GET /images/1": 404})), "ours", ())
    assert door.image_status("1") is None


def test_an_image_is_changed_by_one_patch() -> None:
    api = Api()
    CloudCatalog(a_connection(image=api), "ours", ()).change_image(
        "1", {"min_disk": 4, "hw/~a": None}
    )
    (asked,) = api.asked
    assert asked[2]["json"] == [
        {"op": "add", "path": "/min_disk", "value": 4},
        {"op": "remove", "path": "/hw~1~0a"},
    ]


def test_what_is_gone_meanwhile_is_named() -> None:
    door = CloudCatalog(a_connection(Api({"DELETE /flavors/7": 404})), "ours", ())
    with pytest.raises(NotInCloud, match="no flavor '7'"):
        door.delete_flavor("7")
