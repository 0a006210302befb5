"""A cloud of any size in the databases of a lab: copies of one real host and one real server.

Nova and Placement then answer for it as for hosts and servers that they made themselves; nothing
runs on the copies. What is copied is every row that names the host or the server.
"""

import contextlib
import datetime as dt
import functools
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

OF_SERVER = ("instance_extra", "instance_info_caches", "instance_system_metadata")


class Cloud:
    """The databases of the lab in that state folder, where `host` has one server with one card, or
    none where no servers are to be copied."""

    def __init__(self, state: Path, host: str) -> None:
        self.host = host
        self.databases = {
            name: sqlite3.connect(state / "db" / f"{name}.sqlite", timeout=60)
            for name in ("nova_api", "nova_cell1", "placement")
        }
        for database in self.databases.values():
            database.row_factory = sqlite3.Row
        self.service = self.one("nova_cell1", "services", host=host)
        self.node = self.one("nova_cell1", "compute_nodes", host=host, deleted=0)
        self.mapping = self.one("nova_api", "host_mappings", host=host)
        self.devices = self.rows("nova_cell1", "pci_devices", compute_node_id=self.node["id"])
        self.root = self.one("placement", "resource_providers", uuid=self.node["uuid"])
        self.cards = [
            provider
            for provider in self.rows(
                "placement", "resource_providers", root_provider_id=self.root["id"]
            )
            if provider["id"] != self.root["id"]
        ]

    @functools.cached_property
    def server(self) -> Row:
        return self.one("nova_cell1", "instances", host=self.host, deleted=0)

    def rows(self, database: str, table: str, **where: Any) -> list[Row]:
        words = " and ".join(f"{column} = ?" for column in where)
        found = self.databases[database].execute(
            f"select * from {table} where {words}",  # noqa: S608 - names of this file
            tuple(where.values()),
        )
        return [dict(row) for row in found]

    def one(self, database: str, table: str, **where: Any) -> Row:
        (row,) = self.rows(database, table, **where)
        return row

    def insert(self, database: str, table: str, row: Row, **changed: Any) -> int:
        """A copy of `row` with other values; its id where the table gives one."""
        copy = {**row, **changed}
        if "id" in copy and "id" not in changed:
            del copy["id"]
        columns, marks = ", ".join(copy), ", ".join("?" * len(copy))
        cursor = self.databases[database].execute(
            f"insert into {table} ({columns}) values ({marks})",  # noqa: S608 - as above
            tuple(copy.values()),
        )
        return int(cursor.lastrowid or 0)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        yield
        for database in self.databases.values():
            database.commit()

    def copy_hosts(self, first: int, last: int, servers: int) -> None:
        """Hosts of those numbers, each with `servers` servers of one card."""
        with self.writing():
            for number in range(first, last):
                self._copy_host(f"bench-{number:04d}", servers)

    def _copy_host(self, name: str, servers: int) -> None:
        node_uuid = str(uuid.uuid4())
        service = self.insert(
            "nova_cell1", "services", self.service, host=name, uuid=str(uuid.uuid4())
        )
        named = {"host": name, "hypervisor_hostname": name}
        node = self.insert(
            "nova_cell1",
            "compute_nodes",
            self.node,
            **named,
            uuid=node_uuid,
            service_id=service if self.node["service_id"] else None,
        )
        self.insert("nova_api", "host_mappings", self.mapping, host=name)
        root = self._copy_provider(self.root, name, node_uuid, None)
        cards = {
            provider["name"].rpartition("_")[2]: self._copy_provider(
                provider, provider["name"].replace(self.host, name), str(uuid.uuid4()), root
            )
            for provider in self.cards
        }
        consumers = [self._copy_server(name, node, root) for _ in range(servers)]
        for device in self.devices:
            taken = consumers.pop() if consumers else None
            self.insert(
                "nova_cell1",
                "pci_devices",
                device,
                compute_node_id=node,
                status="allocated" if taken else "available",
                instance_uuid=taken,
                uuid=str(uuid.uuid4()),
            )
            if taken:
                self._allocate(taken, cards[device["address"].upper()])

    def _copy_provider(self, provider: Row, name: str, uuid_: str, root: int | None) -> int:
        made = self.insert(
            "placement",
            "resource_providers",
            provider,
            name=name,
            uuid=uuid_,
            root_provider_id=root,
            parent_provider_id=root,
        )
        if root is None:
            self.databases["placement"].execute(
                "update resource_providers set root_provider_id = id where id = ?", (made,)
            )
        for table in ("inventories", "resource_provider_traits"):
            for row in self.rows("placement", table, resource_provider_id=provider["id"]):
                self.insert("placement", table, row, resource_provider_id=made)
        return made

    def _copy_server(self, host: str, node: int, root: int) -> str:
        """Its uuid. It holds its share of `root`, and no card yet."""
        old, new = self.server["uuid"], str(uuid.uuid4())
        on = {"host": host, "node": host, "launched_on": host, "compute_id": node}
        self.insert("nova_cell1", "instances", self.server, uuid=new, **on)
        for table in OF_SERVER:
            for row in self.rows("nova_cell1", table, instance_uuid=old):
                self.insert("nova_cell1", table, row, instance_uuid=new)
        for table in ("instance_mappings", "request_specs"):
            row = self.one("nova_api", table, instance_uuid=old)
            text = {"spec": row["spec"].replace(old, new)} if "spec" in row else {}
            self.insert("nova_api", table, row, instance_uuid=new, **text)
        self.insert(
            "placement", "consumers", self.one("placement", "consumers", uuid=old), uuid=new
        )
        for row in self._allocations(self.root["id"]):
            self.insert("placement", "allocations", row, consumer_id=new, resource_provider_id=root)
        return new

    def _allocate(self, consumer: str, card: int) -> None:
        (row,) = (row for provider in self.cards for row in self._allocations(provider["id"]))
        self.insert(
            "placement", "allocations", row, consumer_id=consumer, resource_provider_id=card
        )

    def _allocations(self, provider: int) -> list[Row]:
        return self.rows(
            "placement",
            "allocations",
            resource_provider_id=provider,
            consumer_id=self.server["uuid"],
        )

    def report_up(self) -> None:
        """Every nova-compute has reported just now; Nova believes that for a minute."""
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        with self.writing():
            self.databases["nova_cell1"].execute(
                "update services set last_seen_up = ? where binary = 'nova-compute'",
                (now.isoformat(" "),),
            )
