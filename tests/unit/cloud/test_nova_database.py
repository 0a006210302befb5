"""Nova's database: rows as they are, the guarded write, and passwords that no message has."""

from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from gpufarm.cloud import nova_database
from gpufarm.model.claims import Migration
from gpufarm.model.errors import DatabaseError

MOVE = Migration(
    id=7, uuid="m", server="s", status="post-migrating", kind="", source="h", target="k", updated=0
)


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, ...]:
    """Two cells, with the tables as Nova's own models make them."""
    from nova.db.main import models

    found = []
    for cell in ("one", "two"):
        url = f"sqlite:///{tmp_path / cell}.sqlite"
        engine = sa.create_engine(url)
        tables = [models.PciDevice, models.ComputeNode, models.Migration, models.Service]
        models.BASE.metadata.create_all(engine, [each.__table__ for each in tables])
        node = dict.fromkeys(("vcpus", "memory_mb", "local_gb"), 1) | dict.fromkeys(
            ("vcpus_used", "memory_mb_used", "local_gb_used", "hypervisor_version"), 0
        )
        device = {
            "vendor_id": "10de",
            "product_id": "1024",
            "dev_type": "type-PCI",
            "label": "",
            "status": "allocated",
            "instance_uuid": "s",
            "compute_node_id": 1,
            "created_at": datetime(2026, 11, 21, 3, 0, 0, 500000),  # noqa: DTZ001  (as Nova does)
        }
        with engine.begin() as connection:
            connection.execute(
                sa.insert(models.ComputeNode),
                {
                    "id": 1,
                    "hypervisor_hostname": f"{cell}.example",
                    "deleted": 0,
                    **node,
                    "hypervisor_type": "q",
                    "cpu_info": "",
                },
            )
            for address, deleted in (("0000:3B:00.0", 0), ("0000:3c:00.0", 2)):
                connection.execute(
                    sa.insert(models.PciDevice),
                    {**device, "address": address, "deleted": deleted},
                )
        found.append(url)
    with sa.create_engine(found[1]).begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO migrations (id, uuid, status, deleted) "
            "VALUES (7, 'm', 'post-migrating', 0), (8, 'n', 'post-migrating', 0)"
        )
    return tuple(found)


def test_rows_of_every_cell_without_those_deleted(urls: tuple[str, ...]) -> None:
    first, second = nova_database.rows(urls)
    assert (first.hypervisor, first.address, first.status, first.server) == (
        "one.example",
        "0000:3b:00.0",
        "allocated",
        "s",
    )
    assert first.updated == 1795230000.5
    assert second.hypervisor == "two.example"


def test_one_migration_is_ended_and_only_from_the_status_that_was_seen(
    urls: tuple[str, ...],
) -> None:
    assert not nova_database.set_migration_status(urls, MOVE, "migrating", "failed")
    assert nova_database.set_migration_status(urls, MOVE, "post-migrating", "failed")
    assert not nova_database.set_migration_status(urls, MOVE, "post-migrating", "failed")
    with sa.create_engine(urls[1]).connect() as connection:
        found = connection.exec_driver_sql("SELECT uuid, status FROM migrations").all()
    assert [tuple(each) for each in found] == [("m", "failed"), ("n", "post-migrating")]
    assert nova_database.set_migration_status(urls, MOVE, "failed", "post-migrating")


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://nova:hunter2@127.0.0.1:1/nova",
        "mysql+nothing://nova:hunter2@127.0.0.1:1/nova",
        "sqlite:////nowhere/hunter3/x.sqlite",
        "hunter2",
        "",
    ],
)
def test_a_database_that_is_not_there(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        nova_database.rows([url])
    assert "hunter2" not in str(caught.value)


def test_a_database_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no such table"):
        nova_database.rows([f"sqlite:///{tmp_path}/empty.sqlite"])


def test_every_column_that_is_granted_is_there() -> None:
    from nova.db.main import models

    tables = models.BASE.metadata.tables
    for granted in (nova_database.READ, nova_database.WRITE):
        for table, columns in granted.items():
            assert set(columns) <= set(tables[table].columns.keys())
