"""In which order the layers are read, and that only what two looks find alike is shown."""

from typing import Any
from unittest import mock

import pytest
from claims_layers import NOW, layers

from gpufarm.claims import reading
from gpufarm.claims.reading import Sources
from gpufarm.model.claims import Layers

ADDRESS = "0000:05:00.0"
GHOST: dict[str, Any] = {
    "hosts": {"h": {"cards": {ADDRESS: {"held": {"ghost": 1}}}, "guests": {}}},
    "rows": [{"host": "h", "address": ADDRESS}],
}


class Cloud:
    """Placement, Nova and its database, as the functions that read them; one reading a look."""

    def __init__(self, *looks: Layers) -> None:
        self.looks = list(looks)
        self.asked = mock.Mock()
        self.asked.time.time.return_value = NOW
        self.asked.placement.providers.side_effect = self._look
        self.asked.catalog.compute_hosts.side_effect = lambda _: self.looks[0].nova.hosts
        self.asked.compute.server_states.side_effect = lambda _: tuple(
            self.now.nova.servers.values()
        )
        self.asked.compute.migrations.side_effect = lambda _: tuple(
            self.now.nova.migrations.values()
        )
        self.asked.compute.states_of.return_value = {}
        self.asked.compute.deleted_since.side_effect = lambda *_: self.now.nova.deleted
        self.asked.nova_database.rows.side_effect = lambda _: self.now.nova.rows
        self.now = self.looks[0]

    def _look(self, *_: object) -> object:
        if len(self.looks) > 1:
            self.now = self.looks.pop(0)
        else:
            self.now = self.looks[0]
        return self.now.placement

    def check(self, monkeypatch: pytest.MonkeyPatch, patience: float = 600.0) -> list[str]:
        for module in ("placement", "compute", "catalog", "nova_database", "time"):
            monkeypatch.setattr(reading, module, getattr(self.asked, module))
        sources = Sources(databases=("url",), guests=lambda: self.now.guests)
        connection: Any = mock.sentinel.connection
        return [found.code for found in reading.check(connection, sources, patience)]


def test_what_is_seen_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Cloud(layers(GHOST), layers(GHOST)).check(monkeypatch) == ["CONSUMER_UNKNOWN"]


def test_what_is_seen_once_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {**GHOST, "hosts": {"h": {"cards": {ADDRESS: {}}, "guests": {}}}}
    cloud = Cloud(layers(GHOST), layers(free))
    assert cloud.check(monkeypatch) == []
    cloud.asked.time.sleep.assert_called_once_with(reading.SECOND_LOOK_SECONDS)


def test_where_all_is_right_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {**GHOST, "hosts": {"h": {"cards": {ADDRESS: {}}, "guests": {}}}}
    cloud = Cloud(layers(free))
    assert cloud.check(monkeypatch) == []
    cloud.asked.time.sleep.assert_not_called()
    cloud.asked.compute.deleted_since.assert_not_called()


def test_a_holder_that_was_deleted_a_moment_ago_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud(layers({**GHOST, "deleted": ["ghost"]}))
    assert cloud.check(monkeypatch) == []
    cloud.asked.compute.deleted_since.assert_called_once_with(mock.sentinel.connection, NOW - 600)


def test_placement_is_read_before_nova(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud(layers(GHOST))
    cloud.check(monkeypatch)
    names = [call[0] for call in cloud.asked.method_calls]
    assert names.index("placement.providers") < names.index("compute.server_states")
    assert names.index("compute.server_states") < names.index("compute.states_of")


def test_without_a_database_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud(layers(GHOST))
    for module in ("placement", "compute", "catalog", "nova_database", "time"):
        monkeypatch.setattr(reading, module, getattr(cloud.asked, module))
    connection: Any = mock.sentinel.connection
    assert reading.read(connection, Sources(), 600.0).nova.rows is None
    cloud.asked.nova_database.rows.assert_not_called()
