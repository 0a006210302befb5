"""Applies that are interrupted, that meet another apply, and that the cloud refuses."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from model_cloud import Killed, ModelCloud

from gpufarm.catalog import apply as apply_module
from gpufarm.catalog.apply import apply
from gpufarm.catalog.plan import plan
from gpufarm.catalog.plan.images import image_ids
from gpufarm.model import consistency
from gpufarm.model.catalog import ImageFile
from gpufarm.model.errors import CloudConflict, CloudError, FarmError, NotInCloud
from gpufarm.model.farm import Farm

OLD = ImageFile(path="old.img", md5="aaaa", sha256="11", size=1)
NEW = ImageFile(path="new.img", md5="bbbb", sha256="22", size=1)
HOSTS = ("a", "b", "c")


def a_farm(**parts: Any) -> Farm:
    farm = msgspec.convert({"version": 1, "name": "ours", "release": 34, **parts}, Farm)
    consistency.check(farm)
    return farm


CARDS = {"k40c": {"vendor_id": "10de", "product_id": "1024"}}
FIRST = a_farm(
    cards=CARDS,
    flavors={
        "g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 40, "cards": {"k40c": 1}},
        "secret": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0, "public": False},
        "left": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0},
    },
    aggregates={
        "GPU": {"zone": "east", "hosts": ["a", "b"], "properties": {"gpu": "true"}},
        "zoned": {"zone": "west", "hosts": ["c"]},
        "left": {"hosts": ["a"]},
    },
    images={"os": {"file": "os.img", "properties": {"hw_video_model": "qxl"}}},
)
SECOND = a_farm(
    cards=CARDS,
    flavors={
        "g1": {
            "vcpus": 4,
            "memory_mb": 4096,
            "disk_gb": 40,
            "cards": {"k40c": 2},
            "hide_kvm": True,
        },
        "secret": {"vcpus": 2, "memory_mb": 1, "disk_gb": 0, "public": False},
        "more": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0},
    },
    aggregates={
        "GPU": {"zone": "north", "hosts": ["b", "c"], "properties": {"gpu": "yes"}},
        "zoned": {"hosts": ["c", "a"]},
        "more": {"zone": "north", "hosts": ["b"]},
    },
    images={
        "os": {"file": "os.img", "min_disk_gb": 5},
        "more": {"file": "os.img", "public": False},
    },
)
EMPTY = a_farm()
FILES = {
    "first": {"os": OLD},
    "second": {"os": NEW, "more": OLD},
    "empty": dict[str, ImageFile](),
}
TRANSITIONS = {
    "nothing to first": (None, (FIRST, FILES["first"])),
    "first to second": ((FIRST, FILES["first"]), (SECOND, FILES["second"])),
    "second to first": ((SECOND, FILES["second"]), (FIRST, FILES["first"])),
    "first to nothing": ((FIRST, FILES["first"]), (EMPTY, FILES["empty"])),
}
Step = tuple[Farm, dict[str, ImageFile]]


def a_cloud() -> ModelCloud:
    return ModelCloud(hosts=HOSTS, files={"old.img": OLD, "new.img": NEW})


def prepared(before: Step | None) -> ModelCloud:
    cloud = a_cloud()
    if before:
        carry_out(cloud, before)
        for flavor in cloud.flavors.values():
            if flavor.name == "secret":
                cloud.access[flavor.id] = {"project-1", "project-2"}
    return cloud


def carry_out(cloud: ModelCloud, step: Step) -> None:
    apply(step[0], cloud, step[1], prune=True, replace=True)


def moments_of(before: Step | None, after: Step) -> tuple[int, dict[str, Any]]:
    """How many moments the apply has, and what the cloud is like afterwards."""
    cloud = prepared(before)
    start = cloud.moments
    carry_out(cloud, after)
    assert plan(after[0], cloud.read(), after[1], prune=True) == ()
    return cloud.moments - start, cloud.content()


@pytest.mark.parametrize("name", TRANSITIONS)
def test_killed_at_any_moment_the_next_apply_finishes(name: str) -> None:
    before, after = TRANSITIONS[name]
    moments, wanted = moments_of(before, after)
    assert moments > 20
    for number in range(1, moments + 1):
        cloud = prepared(before)
        cloud.before_moment = at(cloud.moments + number, kill)
        with pytest.raises(Killed):
            carry_out(cloud, after)
        cloud.before_moment = lambda _: None
        carry_out(cloud, after)
        assert cloud.content() == wanted, number


@pytest.mark.parametrize("name", TRANSITIONS)
def test_killed_twice_it_still_finishes(name: str) -> None:
    before, after = TRANSITIONS[name]
    moments, wanted = moments_of(before, after)
    for number in range(1, moments + 1, 3):
        for again in (1, 2, 5, 8):
            cloud = prepared(before)
            for moment in (number, again):
                cloud.before_moment = at(cloud.moments + moment, kill)
                try:
                    carry_out(cloud, after)
                except Killed:
                    continue
            cloud.before_moment = lambda _: None
            carry_out(cloud, after)
            assert cloud.content() == wanted, (number, again)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_another_apply_of_the_same_farm_at_any_moment_does_no_harm(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply_module, "STUCK_SECONDS", 0)
    before, after = TRANSITIONS[name]
    moments, wanted = moments_of(before, after)
    for number in range(1, moments + 1):
        cloud = prepared(before)

        def other(cloud: ModelCloud = cloud) -> None:
            cloud.before_moment = lambda _: None
            carry_out(cloud, after)

        cloud.before_moment = at(cloud.moments + number, other)
        carry_out(cloud, after)
        assert cloud.content() == wanted, number


def at(moment: int, do: Callable[[], None]) -> Callable[[int], None]:
    def look(number: int) -> None:
        if number == moment:
            do()

    return look


def kill() -> None:
    raise Killed


def test_any_failure_of_the_cloud_ends_the_apply_and_the_next_one_finishes() -> None:
    before, after = TRANSITIONS["first to second"]
    moments, wanted = moments_of(before, after)
    for number in range(1, moments + 1):
        cloud = prepared(before)

        def fail() -> None:
            raise CloudError("the service is away")

        cloud.before_moment = at(cloud.moments + number, fail)
        with pytest.raises(CloudError, match="the service is away"):
            carry_out(cloud, after)
        cloud.before_moment = lambda _: None
        carry_out(cloud, after)
        assert cloud.content() == wanted, number


def test_what_was_done_is_returned_and_each_call_is_told() -> None:
    told: list[str] = []
    done = apply(FIRST, a_cloud(), FILES["first"], told=told.append)
    assert {(change.action, change.kind, change.name) for change in done} == {
        ("create", "flavor", "g1"),
        ("create", "flavor", "secret"),
        ("create", "flavor", "left"),
        ("create", "aggregate", "GPU"),
        ("create", "aggregate", "zoned"),
        ("create", "aggregate", "left"),
        ("create", "image", "os"),
    }
    assert "create flavor g1" in told
    assert "upload image os (1 bytes)" in told


def test_without_replace_nothing_at_all_is_changed() -> None:
    cloud = prepared((FIRST, FILES["first"]))
    start = cloud.moments
    with pytest.raises(FarmError, match=r"flavor g1 .*flavor secret .*--replace"):
        apply(SECOND, cloud, FILES["second"], prune=True)
    assert cloud.moments == start


def test_without_prune_nothing_is_removed() -> None:
    cloud = prepared((FIRST, FILES["first"]))
    content = cloud.content()
    assert apply(EMPTY, cloud, {}) == ()
    assert cloud.content() == content


def test_a_private_flavors_projects_outlive_its_replacement() -> None:
    cloud = prepared((FIRST, FILES["first"]))
    carry_out(cloud, (SECOND, FILES["second"]))
    names = {flavor.name: flavor for flavor in cloud.flavors.values()}
    assert names["secret"].vcpus == 2
    assert cloud.access[names["secret"].id] == {"project-1", "project-2"}
    assert set(names) == set(SECOND.flavors)


def test_an_image_is_never_public_without_its_content() -> None:
    cloud = a_cloud()
    seen: list[tuple[str, bool]] = []

    def look(_: int) -> None:
        seen.extend((image.status, image.public) for image in cloud.images.values())

    cloud.before_moment = look
    apply(FIRST, cloud, FILES["first"])
    assert ("queued", False) in seen
    assert ("queued", True) not in seen


def test_a_new_image_is_there_before_the_old_one_goes() -> None:
    cloud = prepared((FIRST, FILES["first"]))
    contents: list[set[str | None]] = []

    def look(_: int) -> None:
        contents.append({image.checksum for image in cloud.images.values() if image.public})

    cloud.before_moment = look
    carry_out(cloud, (SECOND, FILES["second"]))
    assert all(contents)


def test_a_zone_that_nova_refuses_to_change_is_reported_in_its_words() -> None:
    cloud = prepared((FIRST, FILES["first"]))
    cloud.servers = {"a": 3}
    moved = a_farm(aggregates={"GPU": {"zone": "north", "hosts": ["a", "b"]}})
    with pytest.raises(CloudError, match="contain instances in this zone"):
        apply(moved, cloud, {})


def test_a_host_that_nova_refuses_to_move_is_tried_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apply_module, "STUCK_SECONDS", 0)
    cloud = a_cloud()
    cloud.servers = {"a": 3}
    moved = a_farm(aggregates={"GPU": {"zone": "north", "hosts": ["a"]}})
    with pytest.raises(CloudConflict, match=r"already has instances.*tried 4 times"):
        apply(moved, cloud, {})


def test_a_cloud_that_does_not_keep_what_it_is_given_is_reported() -> None:
    class Forgetful(ModelCloud):
        def set_flavor_properties(self, flavor_id: str, properties: dict[str, str]) -> None:
            pass

    farm = a_farm(flavors={"m1": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0}})
    with pytest.raises(CloudError, match="still differs from the farm file in flavor m1"):
        apply(farm, Forgetful(), {})


def test_somebody_who_keeps_changing_the_same_ends_the_apply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apply_module, "STUCK_SECONDS", 0)

    class Contested(ModelCloud):
        turn = 0

        def create_flavor(self, flavor: Any) -> str:
            self.turn += 1
            self.hosts = (f"h{self.turn}",)
            raise NotInCloud("flavor", flavor.name)

    farm = a_farm(flavors={"m1": {"vcpus": 1, "memory_mb": 1, "disk_gb": 0}})
    with pytest.raises(CloudConflict, match="tried 4 times"):
        apply(farm, Contested(), {})


def test_an_upload_by_another_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = a_cloud()
    farm = a_farm(images={"os": {"file": "os.img"}})
    image_id = image_ids(farm, "os", OLD)[0]
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        image = cloud.images[image_id]
        if len(looks) == 3:
            done = msgspec.structs.replace(image, status="active", checksum=OLD.md5)
            cloud.images[image_id] = done

    monkeypatch.setattr("gpufarm.catalog.apply.images.time.sleep", sleep)

    def start_upload(_: int) -> None:
        if image_id in cloud.images and cloud.images[image_id].status == "queued" and not looks:
            cloud.images[image_id] = msgspec.structs.replace(
                cloud.images[image_id], status="saving"
            )

    cloud.before_moment = start_upload
    apply(farm, cloud, {"os": OLD})
    assert len(looks) == 3
    assert cloud.images[image_id].public


def test_an_upload_that_never_ends_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufarm.catalog.apply.images.time.sleep", lambda _: None)
    farm = a_farm(images={"os": {"file": "os.img"}})
    cloud = a_cloud()
    cloud.create_image(image_ids(farm, "os", OLD)[0], _stuck(farm))
    image_id = next(iter(cloud.images))
    cloud.images[image_id] = msgspec.structs.replace(cloud.images[image_id], status="saving")
    with pytest.raises(CloudError, match=f"stays in saving.*openstack image delete {image_id}"):
        apply(farm, cloud, {"os": OLD})


def _stuck(farm: Farm) -> Any:
    from gpufarm.catalog.plan.images import wanted_image

    return wanted_image(farm, "os", OLD)


def test_all_ids_of_a_content_used_up_says_what_to_do() -> None:
    farm = a_farm(images={"os": {"file": "os.img"}})
    cloud = a_cloud()
    cloud.dead_images = set(image_ids(farm, "os", OLD))
    with pytest.raises(CloudError, match="glance-manage db purge"):
        apply(farm, cloud, {"os": OLD})
