"""`gpufarm farm` against a real OpenStack: every example, drift, interruptions, refusals."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from running_lab import RunningLab

from gpufarm.catalog.apply import apply
from gpufarm.cloud.catalog import CloudCatalog
from gpufarm.model import farm as model
from gpufarm.model.farm import Farm

pytestmark = pytest.mark.lab

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/farm.yaml"))
FARM = "functional"
# Nova goes through a thousand ways to choose eight cards of eight, one by one.
BOOT_SECONDS = 180
HOST = "k40c-01"
CARD_CLASS = "CUSTOM_PCI_10DE_1024"

Document = dict[str, Any]


def a_farm(**parts: Any) -> Document:
    """The settings of all of these are the same, so that only the first one reloads Nova."""
    return {
        "version": 1,
        "name": FARM,
        "release": 34,
        "cards": {"k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": [HOST]}},
        # On anyhow where a flavor names an aggregate's property; here also where none does.
        "extra_filters": ["AggregateInstanceExtraSpecsFilter"],
        "flavors": {
            "f.gpu": {
                "vcpus": 2,
                "memory_mb": 1024,
                "disk_gb": 1,
                "cards": {"k40c": 1},
                "aggregate": {"functional": "yes"},
            },
            "f.private": {"vcpus": 1, "memory_mb": 64, "disk_gb": 1, "public": False},
        },
        "aggregates": {"f-hosts": {"hosts": [HOST], "properties": {"functional": "yes"}}},
        "images": {"f-image": {"file": "image.img", "properties": {"os_distro": "none"}}},
    } | parts


class Farms:
    """Farm files in a folder, and the commands on them."""

    def __init__(self, lab: RunningLab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.content("one")

    def content(self, text: str) -> None:
        """Of the image that the farm files name."""
        (self.folder / "image.img").write_text(text)

    def write(self, document: Document) -> str:
        path = self.folder / f"farm-{len(list(self.folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def run(self, command: str, document: Document, *options: str, check: bool = True) -> Any:
        return self.lab.run("farm", command, self.write(document), *options, check=check)

    def changes(self, command: str, document: Document, *options: str) -> list[Document]:
        done = self.run(command, document, *options, "-f", "json", check=False)
        assert done.returncode in (0, 2), done.stderr
        changes: list[Document] = json.loads(done.stdout)
        return changes

    def popen(self, document: Document) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gpufarm", "farm", "apply", self.write(document), "--replace"],
            env=self.lab.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def forget(lab: RunningLab, farm: str) -> None:
    """Remove what the farm owns; its settings stay, which saves a restart of Nova."""
    empty = msgspec.convert({"version": 1, "name": farm, "release": 34}, Farm)
    apply(empty, CloudCatalog(lab.connection, farm, ()), {}, prune=True)


@pytest.fixture
def farms(lab: RunningLab, tmp_path: Path) -> Iterator[Farms]:
    yield Farms(lab, tmp_path)
    for server in lab.connection.compute.servers(details=False):
        if server.name.startswith("functional-"):
            lab.connection.compute.delete_server(server)
            lab.connection.compute.wait_for_delete(server)
    forget(lab, FARM)


def boot(lab: RunningLab, flavor: str, image: str) -> Any:
    connection = lab.connection
    server = connection.compute.create_server(
        name=f"functional-{flavor}",
        flavor_id=connection.compute.find_flavor(flavor, ignore_missing=False).id,
        image_id=next(iter(connection.image.images(name=image))).id,
        networks="none",
    )
    return connection.compute.wait_for_server(server, wait=BOOT_SECONDS, interval=0.25)


def cards_of(lab: RunningLab, server: Any) -> dict[str, int]:
    """{resource class: amount} that Placement gave to a server, without CPUs, memory and disk."""
    found = lab.connection.placement.get(f"/allocations/{server.id}").json()["allocations"]
    cards: dict[str, int] = {}
    for part in found.values():
        for name, amount in part["resources"].items():
            if name.startswith("CUSTOM_"):
                cards[name] = cards.get(name, 0) + amount
    return cards


def worth_booting(farm: Farm) -> list[str]:
    """The flavor with most cards, which is the hardest to place, and those without any."""
    most = max(farm.flavors, key=lambda name: sum(farm.flavors[name].cards.values()))
    return [most, *(name for name, flavor in farm.flavors.items() if not flavor.cards)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_applied_and_boots_its_flavors(lab: RunningLab, path: Path) -> None:
    farm = model.read(path)
    try:
        lab.run("farm", "apply", str(path))
        assert json.loads(lab.run("farm", "plan", str(path), "-f", "json").stdout) == []
        lab.run("farm", "check", str(path))
        for name, flavor in farm.flavors.items():
            server = boot(lab, name, next(iter(farm.images)))
            wanted = {farm.cards[card].placement_class: n for card, n in flavor.cards.items()}
            assert cards_of(lab, server) == wanted
            lab.connection.compute.delete_server(server)
            lab.connection.compute.wait_for_delete(server)
    finally:
        forget(lab, farm.name)


def test_the_plan_shows_what_apply_then_does(farms: Farms) -> None:
    farms.run("apply", a_farm(flavors={}, images={}))
    planned = farms.changes("plan", a_farm())
    assert {(each["action"], each["kind"], each["name"]) for each in planned} == {
        ("create", "flavor", "f.gpu"),
        ("create", "flavor", "f.private"),
        ("create", "image", "f-image"),
    }
    assert all(set(each) == {"action", "kind", "name", "changes", "reason"} for each in planned)
    assert {"field": "vcpus", "from": None, "to": 2} in planned[1]["changes"]
    assert farms.changes("apply", a_farm()) == planned
    assert farms.changes("plan", a_farm()) == []
    assert farms.changes("apply", a_farm()) == []


def test_the_table_fits_a_terminal(farms: Farms) -> None:
    table = farms.run("plan", a_farm()).stdout
    assert max(len(line) for line in table.splitlines()) <= 100


def test_drift_is_found_and_put_right(farms: Farms) -> None:
    farms.run("apply", a_farm())
    assert farms.run("check", a_farm()).returncode == 0
    compute, image = farms.lab.connection.compute, farms.lab.connection.image
    flavor = compute.find_flavor("f.gpu", ignore_missing=False)
    compute.delete_flavor_extra_specs_property(flavor, "pci_passthrough:alias")
    compute.create_flavor_extra_specs(flavor, {"hw:cpu_policy": "dedicated"})
    aggregate = compute.find_aggregate("f-hosts", ignore_missing=False)
    compute.remove_host_from_aggregate(aggregate, HOST)
    compute.set_aggregate_metadata(aggregate, {"functional": "no"})
    (found,) = image.images(name="f-image")
    image.update_image(found, os_distro="debian", min_disk=3)
    done = farms.run("check", a_farm(), "-f", "json", check=False)
    assert done.returncode == 2
    drift = {change["name"]: change for change in json.loads(done.stdout)}
    assert {each["field"]: (each["from"], each["to"]) for each in drift["f.gpu"]["changes"]} == {
        "properties.pci_passthrough:alias": (None, "k40c:1"),
        "properties.hw:cpu_policy": ("dedicated", None),
    }
    assert {each["field"]: (each["from"], each["to"]) for each in drift["f-hosts"]["changes"]} == {
        "properties.functional": ("no", "yes"),
        "hosts": (None, [HOST]),
    }
    assert {each["field"]: (each["from"], each["to"]) for each in drift["f-image"]["changes"]} == {
        "properties.os_distro": ("debian", "none"),
        "min_disk_gb": (3, 0),
    }
    farms.run("apply", a_farm())
    assert farms.run("check", a_farm()).returncode == 0


def test_drift_of_the_settings_is_found_and_put_right(farms: Farms) -> None:
    farms.run("apply", a_farm())
    (path,) = farms.lab.state.rglob(f"compute-{HOST}.conf")
    text = path.read_text()
    path.write_text(text.replace("1024", "1025"))
    done = farms.run("check", a_farm(), "-f", "json", check=False)
    assert done.returncode == 2
    (change,) = json.loads(done.stdout)
    assert (change["action"], change["kind"], change["name"]) == (
        "change",
        "nova-settings",
        f"compute/{HOST}",
    )
    path.write_text(text)
    assert farms.run("check", a_farm()).returncode == 0


def test_what_left_the_file_goes_with_prune_only(farms: Farms) -> None:
    farms.run("apply", a_farm(), "--prune")  # the settings of the examples' cards go too
    less = a_farm(flavors={}, aggregates={}, images={})
    kept = farms.run("apply", less)
    assert "kept without --prune: flavor f.gpu, flavor f.private, image f-image" in kept.stderr
    assert farms.run("check", less).returncode == 0
    assert len(farms.changes("check", less, "--prune")) == 4
    removed = farms.changes("apply", less, "--prune")
    assert {each["action"] for each in removed} == {"remove"}
    compute = farms.lab.connection.compute
    assert compute.find_flavor("f.gpu") is None
    assert compute.find_aggregate("f-hosts") is None
    assert list(farms.lab.connection.image.images(name="f-image")) == []


def test_a_replacement_is_refused_and_then_made(farms: Farms) -> None:
    farms.run("apply", a_farm())
    compute = farms.lab.connection.compute
    project = farms.lab.connection.identity.find_project("service", ignore_missing=False).id
    compute.flavor_add_tenant_access(
        compute.find_flavor("f.private", ignore_missing=False), project
    )
    server = boot(farms.lab, "f.gpu", "f-image")
    farms.content("two")
    larger = a_farm()
    larger["flavors"]["f.gpu"]["vcpus"] = 3
    larger["flavors"]["f.private"]["memory_mb"] = 128
    refused = farms.run("apply", larger, check=False)
    assert refused.returncode == 1
    for name in ("flavor f.gpu", "flavor f.private", "image f-image", "--replace"):
        assert name in refused.stderr
    assert len(farms.changes("plan", larger)) == 3
    assert compute.find_flavor("f.gpu", ignore_missing=False).vcpus == 2
    done = farms.changes("apply", larger, "--replace")
    assert {each["action"] for each in done} == {"replace"}
    assert farms.changes("plan", larger) == []
    assert compute.find_flavor("f.gpu", ignore_missing=False).vcpus == 3
    private = compute.find_flavor("f.private", ignore_missing=False)
    assert project in {each["tenant_id"] for each in compute.get_flavor_access(private)}
    assert compute.get_server(server.id).flavor["vcpus"] == 2
    assert len(list(farms.lab.connection.image.images(name="f-image"))) == 1


def test_content_that_was_deleted_once_can_come_back(farms: Farms) -> None:
    for content in ("one", "two", "one"):
        farms.content(content)
        farms.run("apply", a_farm(), "--replace")
    (image,) = farms.lab.connection.image.images(name="f-image")
    assert image.status == "active"


def test_a_zone_that_nova_refuses_to_change_is_reported_in_its_words(farms: Farms) -> None:
    farms.run("apply", a_farm())
    boot(farms.lab, "f.gpu", "f-image")
    zoned = a_farm()
    zoned["aggregates"]["f-hosts"]["zone"] = "elsewhere"
    (planned,) = farms.changes("plan", zoned)
    assert "Nova changes the zone of no host with servers" in planned["reason"]
    done = farms.run("apply", zoned, check=False)
    assert done.returncode == 1
    assert "One or more hosts contain instances in this zone" in done.stderr


def test_two_applies_at_once_end_in_one_farm(farms: Farms) -> None:
    farms.run("apply", a_farm(flavors={}, images={}, aggregates={}))
    larger = a_farm()
    larger["flavors"]["f.gpu"]["vcpus"] = 3
    for document in (a_farm(), larger):
        running = [farms.popen(document) for _ in range(3)]
        errors = [each.communicate(timeout=120)[1] for each in running]
        assert [each.returncode for each in running] == [0, 0, 0], "\n".join(errors)
        assert farms.changes("plan", document) == []
        names = [each.name for each in farms.lab.connection.compute.flavors(is_public=None)]
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith("gpufarm-replacing")]
        assert len(list(farms.lab.connection.image.images(name="f-image"))) == 1


def test_killed_in_the_middle_the_next_apply_finishes(farms: Farms) -> None:
    farms.run("apply", a_farm(flavors={}, images={}, aggregates={}))
    larger = a_farm()
    larger["flavors"]["f.private"]["memory_mb"] = 128
    larger["aggregates"]["f-hosts"]["properties"]["more"] = "x"
    killed = 0
    for line in (3, 8):
        killed += kill_at(farms.popen(a_farm()), line)
        farms.run("apply", a_farm())
        assert farms.changes("plan", a_farm()) == []
        farms.content("two")
        killed += kill_at(farms.popen(larger), line)
        farms.run("apply", larger, "--replace")
        assert farms.changes("plan", larger) == []
        farms.content("one")
        forget(farms.lab, FARM)
    assert killed >= 3


def kill_at(process: subprocess.Popen[str], line: int) -> bool:
    """SIGKILL when it has told that many steps; False where it ended before."""
    assert process.stderr is not None
    for _ in range(line):
        if not process.stderr.readline():
            break
    process.kill()
    process.communicate()
    return process.returncode != 0


def test_objects_of_others_are_left_alone(farms: Farms) -> None:
    compute = farms.lab.connection.compute
    stranger = compute.create_flavor(name="stranger", vcpus=1, ram=64, disk=1)
    try:
        farms.run("apply", a_farm())
        farms.run("apply", a_farm(flavors={}), "--prune")
        assert compute.find_flavor("stranger") is not None
        theirs = a_farm(name="another")
        refused = farms.run("apply", theirs, check=False)
        assert refused.returncode == 1
        assert f"belongs to farm {FARM}" in refused.stderr
        taken = a_farm(flavors={"stranger": {"vcpus": 1, "memory_mb": 64, "disk_gb": 1}})
        (change,) = farms.changes("apply", taken)
        assert (change["action"], change["reason"]) == (
            "change",
            "was there before the farm: taken over",
        )
    finally:
        compute.delete_flavor(stranger.id, ignore_missing=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"aggregates": {"a": {"hosts": ["nowhere"]}}}, "host nowhere has no nova-compute"),
        (
            {"cards": {"k40c": {"vendor_id": "10de", "product_id": "ffff"}}},
            "card k40c: no host has",
        ),
        (
            {"cards": {"k40c": {"vendor_id": "10de", "product_id": "1024", "hosts": ["hgx-01"]}}},
            "card k40c: host hgx-01 does not have a device 10de:1024",
        ),
        (
            {"cards": {"k40c": {"vendor_id": "10de", "product_id": "2330"}}},
            "hgx-01 has it as type-PF: set device_type",
        ),
        ({"images": {"no-such-image": {}}}, "Glance has no public image of this name"),
        ({"images": {"i": {"file": "no-such-file"}}}, "no-such-file cannot be read"),
        ({"release": 28}, "release: 28 is not in the table"),
        ({"flavours": {}}, "unknown field `flavours`"),
    ],
)
def test_what_cannot_be_is_one_message_and_changes_nothing(
    farms: Farms, changed: Document, message: str
) -> None:
    before = CloudCatalog(farms.lab.connection, FARM, ()).read()
    done = farms.run("apply", a_farm(**changed), check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert CloudCatalog(farms.lab.connection, FARM, ()).read() == before


def with_clouds(lab: RunningLab, folder: Path, **auth: str) -> RunningLab:
    """The lab as somebody sees it whose clouds.yaml has something else under `auth`."""
    clouds = yaml.safe_load((lab.state / "clouds.yaml").read_text())
    for cloud in clouds["clouds"].values():
        cloud["auth"] |= auth
    path = folder / "clouds.yaml"
    path.write_text(yaml.safe_dump(clouds))
    return RunningLab(lab.state, {"OS_CLIENT_CONFIG_FILE": str(path)})


@pytest.mark.parametrize("command", ["plan", "apply", "check"])
def test_wrong_credentials(farms: Farms, command: str, tmp_path: Path) -> None:
    farms.lab = with_clouds(farms.lab, tmp_path, password="wrong")
    done = farms.run(command, a_farm(), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "credentials were not accepted" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_cloud(farms: Farms, tmp_path: Path) -> None:
    farms.lab = with_clouds(farms.lab, tmp_path, auth_url="http://127.0.0.1:9/v3")
    start = time.monotonic()
    done = farms.run("plan", a_farm(), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Unable to establish connection to http://127.0.0.1:9/v3" in done.stderr
    assert time.monotonic() - start < 20


def test_a_cloud_that_is_not_the_lab_is_told_how_to_get_its_settings(
    farms: Farms, tmp_path: Path
) -> None:
    """The lab under another address: its settings and hardware cannot be seen then."""
    url = farms.lab.connection.session.auth.auth_url
    farms.lab = with_clouds(farms.lab, tmp_path, auth_url=url.replace("127.0.0.1", "localhost"))
    done = farms.run("plan", a_farm())
    assert "gpufarm farm render" in done.stderr
    assert "nova-settings" not in done.stdout
    unknown = a_farm(cards={"k40c": {"vendor_id": "ffff", "product_id": "ffff"}}, flavors={})
    drift = {each["kind"]: each for each in farms.changes("check", unknown)}
    assert drift["card"]["name"] == "k40c"
    assert "no host reports any" in drift["card"]["reason"]
