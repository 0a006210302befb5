"""Which consumers of cards are lost, and which only look so for a moment."""

from unittest import mock

import pytest
from capacity_snapshots import snapshot

from gpufarm.capacity import facts
from gpufarm.capacity.cards import cards

CONNECTION = mock.Mock(current_project_id="project")
HOST = {
    "h": {
        "stock": {"VCPU": {"total": 8}},
        "devices": {
            f"0000:0{number}:00.0": {"CUSTOM_H": {"held": {consumer: 1}}}
            for number, consumer in enumerate(
                ("server", "migration", "soft-deleted", "going", "leaked"), 1
            )
        },
    }
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Placement and Nova, as the functions that read them."""
    reading, asked = snapshot({"hosts": HOST}), mock.Mock()
    asked.placement.providers.return_value = reading.providers
    asked.compute.server_ids.return_value = frozenset({"server", "another"})
    asked.catalog.compute_hosts.return_value = reading.hosts
    asked.catalog.flavors.return_value = asked.catalog.aggregates.return_value = ()
    asked.compute.migration_ids.return_value = frozenset({"migration"})
    asked.compute.servers_among.return_value = frozenset({"soft-deleted"})
    asked.placement.held_by.return_value = {"going": {}, "leaked": {"uuid": {"CUSTOM_H": 1}}}
    asked.placement.with_traits.return_value = {}
    asked.quota.limits.return_value = ()
    for module in ("placement", "compute", "catalog", "quota", "time"):
        monkeypatch.setattr(facts, module, getattr(asked, module))
    return asked


def test_lost_is_what_nobody_knows_at_a_second_look(cloud: mock.Mock) -> None:
    reading = facts.read(CONNECTION)
    assert reading.lost == {"leaked"}
    (line,) = cards(reading)
    assert (line.total, line.used, line.leaked, line.free) == (5, 3, 1, 1)


def test_placement_is_read_before_nova(cloud: mock.Mock) -> None:
    facts.read(CONNECTION)
    names = [call[0] for call in cloud.method_calls]
    assert names.index("placement.providers") < names.index("compute.server_ids")
    assert names.index("time.sleep") < names.index("placement.held_by")


def test_only_suspects_are_asked_about(cloud: mock.Mock) -> None:
    facts.read(CONNECTION)
    cloud.compute.servers_among.assert_called_once_with(
        CONNECTION, ["going", "leaked", "soft-deleted"]
    )
    cloud.placement.held_by.assert_called_once_with(CONNECTION, ["going", "leaked"])


def test_no_second_look_where_all_are_known(cloud: mock.Mock) -> None:
    every = {"server", "migration", "soft-deleted", "going", "leaked"}
    cloud.compute.server_ids.return_value = frozenset(every)
    assert facts.read(CONNECTION).lost == frozenset()
    cloud.compute.migration_ids.assert_not_called()
    cloud.time.sleep.assert_not_called()
