"""Nova's database: what no API tells, and the one thing that no API can put right.

What is decided here: which tables and columns are looked at, and which rights that takes. Reading
needs SELECT on the columns of `READ`; ending a migration needs UPDATE on two columns more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gpufarm.cloud.database import connect
from gpufarm.model.claims import DeviceRow, Migration
from gpufarm.model.errors import DatabaseError

READ: dict[str, tuple[str, ...]] = {
    "pci_devices": (
        *("id", "compute_node_id", "address", "parent_addr", "status", "instance_uuid"),
        *("created_at", "updated_at", "deleted"),
    ),
    "compute_nodes": ("id", "hypervisor_hostname", "deleted"),
    "migrations": ("id", "uuid", "status"),
}
WRITE: dict[str, tuple[str, ...]] = {"migrations": ("status", "updated_at")}

ENDED = "failed"
"""A state in which the source's nova-compute frees what the migration held (nova/db/main/api.py,
migration_get_in_progress_and_error_by_host_and_node; nova/pci/manager.py, clean_usage)."""

_ROWS = """
SELECT p.id, c.hypervisor_hostname, p.address, p.parent_addr, p.status, p.instance_uuid,
       p.created_at, p.updated_at
FROM pci_devices p JOIN compute_nodes c ON c.id = p.compute_node_id
WHERE p.deleted = 0 AND c.deleted = 0
"""


def rows(urls: Sequence[str]) -> tuple[DeviceRow, ...]:
    """pci_devices of every cell. Raises DatabaseError."""
    found: list[DeviceRow] = []
    for url in urls:
        with connect(url) as connection:
            found += [_row(each) for each in connection.exec_driver_sql(_ROWS)]
    return tuple(found)


def migration_status(urls: Sequence[str], migration: Migration) -> str | None:
    """Its status now; None where no cell has it. Raises DatabaseError."""
    for url in urls:
        with connect(url) as connection:
            found = connection.execute(_text(_STATUS), _key(migration)).scalar()
            if found is not None:
                return str(found)
    return None


def set_migration_status(urls: Sequence[str], migration: Migration, before: str, to: str) -> bool:
    """Whether the migration went from `before` to `to`, in one transaction; False: it was another.

    Raises DatabaseError.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    for url in urls:
        with connect(url) as connection:
            values = {**_key(migration), "before": before, "after": to, "now": now}
            changed = connection.execute(_text(_UPDATE), values).rowcount
            if changed > 1:
                raise DatabaseError(f"migration {migration.uuid}: {changed} rows: nothing changed")
            if changed == 1:
                return True
    return False


_STATUS = "SELECT status FROM migrations WHERE id = :id AND uuid = :uuid"
_UPDATE = (
    "UPDATE migrations SET status = :after, updated_at = :now "
    "WHERE id = :id AND uuid = :uuid AND status = :before"
)


def _key(migration: Migration) -> dict[str, Any]:
    return {"id": migration.id, "uuid": migration.uuid}


def _text(statement: str) -> Any:
    from sqlalchemy import text

    return text(statement)


def _row(found: Any) -> DeviceRow:
    number, hypervisor, address, parent, status, server, created, updated = found
    return DeviceRow(
        id=number,
        hypervisor=hypervisor,
        address=address.lower(),
        parent=parent.lower() if parent else None,
        status=status,
        server=server,
        updated=_seconds(updated or created),
    )


def _seconds(when: Any) -> float:
    """Nova writes UTC without saying so; SQLite hands out text. 0 where nothing is written."""
    if when is None:
        return 0.0
    try:
        found = when if isinstance(when, datetime) else datetime.fromisoformat(str(when))
    except ValueError as error:
        raise DatabaseError(f"pci_devices: {when!r} is no time") from error
    return found.replace(tzinfo=UTC).timestamp()
