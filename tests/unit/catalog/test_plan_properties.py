"""Whatever the farm and whatever the cloud: once carried out, a plan is empty."""

from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_cloud import ModelCloud

from gpufarm.catalog.apply import apply
from gpufarm.catalog.plan import plan
from gpufarm.model import consistency
from gpufarm.model.catalog import Catalog, ImageFile
from gpufarm.model.cloud import CloudAggregate, CloudFlavor, CloudImage, ComputeHost
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm

HOSTS = ("a", "b", "c")
NAMES = ("one", "two", "drei; --", "{4}")
MARKS: tuple[dict[str, str], ...] = ({}, {"gpufarm:farm": "ours"})
CONTENTS = {
    "x": ImageFile(path="x", md5="aa", sha256="11", size=1),
    "y": ImageFile(path="y", md5="bb", sha256="22", size=1),
}

values = st.text("ab1 ,=:%$", max_size=6)
names = st.sampled_from(NAMES)
hosts = st.lists(st.sampled_from(HOSTS), unique=True, max_size=3)
zones = st.sampled_from([None, "east", "west"])
properties = st.dictionaries(st.sampled_from(["gpu", "rack row", "x:y"]), values, max_size=2)
sizes = st.sampled_from([1, 2])

cards = st.fixed_dictionaries(
    {"vendor_id": st.just("10de"), "product_id": st.sampled_from(["1024", "1b80", "2330"])}
)
flavors = st.fixed_dictionaries(
    {"vcpus": sizes, "memory_mb": sizes, "disk_gb": st.sampled_from([0, 1])},
    optional={
        "cards": st.dictionaries(st.sampled_from(["k", "h"]), sizes, max_size=2),
        "aggregate": properties,
        "hide_kvm": st.booleans(),
        "public": st.booleans(),
    },
)
aggregates = st.fixed_dictionaries({}, optional={"zone": zones, "hosts": hosts})
images = st.fixed_dictionaries(
    {"file": st.sampled_from(["x", "y"])},
    optional={
        "min_disk_gb": sizes,
        "public": st.booleans(),
        "disk_format": st.sampled_from(["raw", "qcow2"]),
        "properties": st.dictionaries(st.sampled_from(["hw_a", "hw_b"]), values, max_size=2),
    },
)


@st.composite
def farms(draw: st.DrawFn) -> Farm:
    document: dict[str, Any] = {
        "version": 1,
        "name": "ours",
        "release": 34,
        "cards": draw(st.dictionaries(st.sampled_from(["k", "h"]), cards, max_size=2)),
        "flavors": draw(st.dictionaries(names, flavors, max_size=3)),
        "aggregates": draw(st.dictionaries(names, aggregates, max_size=3)),
        "images": draw(st.dictionaries(names, images, max_size=2)),
    }
    farm = msgspec.convert(document, Farm)
    try:
        consistency.check(farm)
    except FarmError:
        assume(False)
    return farm


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """What others made, and what an earlier farm file of ours may have left."""
    marks = st.sampled_from(MARKS)
    found_flavors = [
        CloudFlavor(
            id=name,
            name=name,
            vcpus=draw(sizes),
            memory_mb=draw(sizes),
            disk_gb=draw(st.sampled_from([0, 1])),
            public=draw(st.booleans()),
            properties=draw(marks) | draw(properties),
        )
        for name in draw(st.lists(names, unique=True, max_size=3))
    ]
    found_aggregates: list[CloudAggregate] = []
    for number, name in enumerate(draw(st.lists(names, unique=True, max_size=3)), 1):
        zone = draw(zones)
        elsewhere = [each for each in found_aggregates if each.zone not in (None, zone)]
        taken = {host for each in elsewhere for host in each.hosts}
        inside = frozenset(draw(hosts)) - (taken if zone else set())
        found_aggregates.append(
            CloudAggregate(
                id=number,
                name=name,
                zone=zone,
                hosts=inside,
                properties=draw(marks) | draw(properties),
            )
        )
    found_images = [
        CloudImage(
            id=name,
            name=name,
            status="active",
            disk_format="raw",
            min_disk_gb=draw(sizes),
            min_memory_mb=0,
            public=draw(st.booleans()),
            checksum=draw(st.sampled_from(["aa", "bb", "cc"])),
            properties={key.replace(":", "_"): value for key, value in draw(marks).items()},
        )
        for name in draw(st.lists(names, unique=True, max_size=2))
    ]
    return Catalog(
        flavors=tuple(found_flavors),
        aggregates=tuple(found_aggregates),
        images=tuple(found_images),
        hosts=tuple(
            ComputeHost(name=host, hypervisor_hostname=host, up=True, enabled=True)
            for host in HOSTS
        ),
    )


@settings(max_examples=300, deadline=None)
@given(farm=farms(), catalog=catalogs(), prune=st.booleans())
def test_after_apply_the_plan_is_empty(farm: Farm, catalog: Catalog, prune: bool) -> None:
    files = {name: CONTENTS[image.file or "x"] for name, image in farm.images.items()}
    cloud = ModelCloud.holding(catalog, files=CONTENTS)
    try:
        plan(farm, catalog, files, prune=prune)
    except FarmError:
        assume(False)
    theirs = [each for each in cloud.flavors.values() if not each.properties.get("gpufarm:farm")]
    apply(farm, cloud, files, prune=prune, replace=True)
    assert plan(farm, cloud.read(), files, prune=prune) == ()
    for flavor in theirs:
        assert flavor.name in farm.flavors or flavor in cloud.flavors.values()


@settings(max_examples=100, deadline=None)
@given(farm=farms(), catalog=catalogs())
def test_planning_changes_nothing_and_is_the_same_every_time(farm: Farm, catalog: Catalog) -> None:
    files = {name: CONTENTS[image.file or "x"] for name, image in farm.images.items()}
    before = msgspec.json.encode(catalog, order="deterministic")
    try:
        first = plan(farm, catalog, files, prune=True)
    except FarmError:
        return
    assert plan(farm, catalog, files, prune=True) == first
    assert msgspec.json.encode(catalog, order="deterministic") == before
