"""Placement's database: the columns that are granted are Placement's, and nothing else is read."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from gpufarm.cloud import placement_database
from gpufarm.model.errors import DatabaseError


def test_every_column_that_is_granted_is_there_and_is_enough(tmp_path: Path) -> None:
    from placement.db.sqlalchemy import models

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
