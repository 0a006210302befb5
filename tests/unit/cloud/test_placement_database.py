"""Placement's database: the columns that are granted are Placement's, and nothing else is read."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from placement.db.sqlalchemy import models

from gpufarm.cloud import placement_database
from gpufarm.cloud.placement import PCI_TRAIT
from gpufarm.model.cloud import Inventory, Provider
from gpufarm.model.errors import DatabaseError

CARD = "CUSTOM_PCI_10DE_1024"


def test_every_column_that_is_granted_is_there_and_is_enough(tmp_path: Path) -> None:
    tables = models.BASE.metadata.tables
    url = f"sqlite:///{tmp_path}/placement.sqlite"
    with sa.create_engine(url).begin() as connection:
        for table, columns in placement_database.READ.items():
            assert set(columns) <= set(tables[table].columns.keys())
            connection.exec_driver_sql(f"CREATE TABLE {table} ({', '.join(columns)})")
    assert placement_database.providers(url) == ()


def test_a_database_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no such table"):
        placement_database.providers(f"sqlite:///{tmp_path}/empty.sqlite")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A host with two cards, one of them held; a second host without cards."""
    found = f"sqlite:///{tmp_path / 'placement.sqlite'}"
    engine = sa.create_engine(found)
    models.BASE.metadata.create_all(engine)
    rows = {
        models.Trait: [{"id": 1, "name": PCI_TRAIT}, {"id": 2, "name": "CUSTOM_X"}],
        models.ResourceClass: [{"id": 1, "name": "VCPU"}, {"id": 2, "name": CARD}],
        models.ResourceProvider: [
            {"id": 1, "uuid": "r", "name": "h", "generation": 5, "root_provider_id": 1},
            {"id": 2, "uuid": "a", "name": "h_0000:3B:00.0", "root_provider_id": 1},
            {"id": 3, "uuid": "b", "name": "h_0000:5E:00.0", "root_provider_id": 1},
            {"id": 4, "uuid": "o", "name": "k", "generation": 0, "root_provider_id": 4},
        ],
        models.ResourceProviderTrait: [
            {"resource_provider_id": 2, "trait_id": 1},
            {"resource_provider_id": 3, "trait_id": 1},
            {"resource_provider_id": 4, "trait_id": 2},
        ],
        models.Inventory: [
            {"resource_provider_id": 1, "resource_class_id": 1, "total": 8, "reserved": 0},
            {"resource_provider_id": 2, "resource_class_id": 2, "total": 1, "reserved": 0},
            {"resource_provider_id": 3, "resource_class_id": 2, "total": 1, "reserved": 1},
        ],
        models.Allocation: [
            {"resource_provider_id": 1, "resource_class_id": 1, "consumer_id": "s", "used": 2},
            {"resource_provider_id": 2, "resource_class_id": 2, "consumer_id": "s", "used": 1},
        ],
    }
    defaults = {
        models.Inventory: {"min_unit": 1, "max_unit": 8, "step_size": 1, "allocation_ratio": 1.0},
        models.ResourceProvider: {"generation": 0},
    }
    with engine.begin() as connection:
        for model, given in rows.items():
            for row in given:
                connection.execute(sa.insert(model), {**defaults.get(model, {}), **row})
    return found


def test_cards_and_their_hosts_with_who_holds_them(url: str) -> None:
    host, held, closed = placement_database.providers(url)
    assert host == Provider(
        uuid="r",
        name="h",
        root_uuid="r",
        generation=5,
        inventories={"VCPU": Inventory(total=8, reserved=0, used=2)},
        allocations={"s": {"VCPU": 2}},
    )
    assert (held.uuid, held.root_uuid, held.allocations) == ("a", "r", {"s": {CARD: 1}})
    assert closed.inventories == {CARD: Inventory(total=1, reserved=1, used=0)}
