"""Databases without the wait: copied from a template, then made this lab's own.

A template is what `inside.databases` made once for one set of package versions. What differs
between labs is written into the copies here, at every start, since ports may have changed.
"""

import base64
import datetime as dt
import hashlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import platformdirs

from gpufarm.lab import config
from gpufarm.lab.state import PRIVATE, Lab, Secrets
from gpufarm.system import files

# Raised whenever inside/databases.py writes something else.
RECIPE = 2
PACKAGES = ("keystone", "openstack-placement", "glance", "neutron", "nova", "SQLAlchemy", "alembic")


def folder() -> Path:
    """Where the template for the packages installed here lies, made or not."""
    versions = [f"{name}={importlib.metadata.version(name)}" for name in PACKAGES]
    key = hashlib.sha256(f"{RECIPE} {sys.version_info[:2]} {versions}".encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("gpufarm")) / "lab-databases" / key


def copy(lab: Lab) -> bool:
    """Lay the template's databases where the lab has none; whether it has all of them now."""
    source = folder()
    for name in config.DATABASES:
        target = lab.path("db", f"{name}.sqlite")
        if not target.exists() and (source / target.name).exists():
            building = target.with_suffix(".copy")
            shutil.copyfile(source / target.name, building)
            building.chmod(files.SECRET)
            building.replace(target)
    return all(lab.path("db", f"{name}.sqlite").exists() for name in config.DATABASES)


def keep(lab: Lab, names: Iterable[str]) -> None:
    """Put the lab's databases `names`, just made and not used yet, into the template."""
    target = folder()
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        building = Path(tempfile.mkdtemp(dir=target)) / "copy"
        source = lab.path("db", f"{name}.sqlite")
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(building)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = WAL")
        building.replace(target / source.name)
        building.parent.rmdir()


def make_own(lab: Lab, secrets: Secrets, database: str) -> None:
    """Write this lab's addresses, passwords and hosts into its copy of `database`."""
    owner = {"keystone": _own_keystone, config.NOVA_API_DATABASE: _own_nova_api}.get(database)
    if owner is not None:
        path = lab.path("db", f"{database}.sqlite")
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            owner(connection, lab, secrets)


def _own_keystone(connection: sqlite3.Connection, lab: Lab, secrets: Secrets) -> None:
    for service in ("keystone", "placement", "glance", "neutron", "nova-api"):
        connection.execute(
            "UPDATE endpoint SET url = ? WHERE service_id IN "
            "(SELECT id FROM service WHERE json_extract(extra, '$.name') = ?)",
            (lab.url(service), service),
        )
    for user, password in {"admin": secrets.admin, **secrets.services}.items():
        _set_password(connection, user, password)


def _set_password(connection: sqlite3.Connection, user: str, password: str) -> None:
    """Hash anew where the hash is not of this password, so that a user's own change stands."""
    import bcrypt

    rows = connection.execute(
        "SELECT password.id, password_hash FROM password JOIN local_user "
        "ON local_user.id = password.local_user_id WHERE local_user.name = ?",
        (user,),
    ).fetchall()
    for identifier, found in rows:
        if not bcrypt.checkpw(password.encode(), found.encode()):
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
            connection.execute(
                "UPDATE password SET password_hash = ? WHERE id = ?", (hashed, identifier)
            )


def _own_nova_api(connection: sqlite3.Connection, lab: Lab, secrets: Secrets) -> None:
    """Point the cells at this lab and map its hosts to cell1.

    The mapping is what `nova-manage cell_v2 discover_hosts` writes once a compute node exists;
    written beforehand it saves that wait and its process.
    """
    cells = {
        "cell0": (config.NOVA_CELL0_DATABASE, "none:///"),
        "cell1": (config.NOVA_CELL_DATABASE, config.transport_url(lab, secrets)),
    }
    for cell, (database, transport) in cells.items():
        connection.execute(
            "UPDATE cell_mappings SET database_connection = ?, transport_url = ? WHERE name = ?",
            (config.database_url(lab, database), transport, cell),
        )
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    connection.executemany(
        "INSERT OR IGNORE INTO host_mappings (created_at, cell_id, host) "
        "SELECT ?, id, ? FROM cell_mappings WHERE name = 'cell1'",
        [(now, host) for host in (*lab.hosts, *lab.real)],
    )


def make_keys(lab: Lab) -> None:
    """Keystone's keys, where there are none: 0 is staged, 1 is in use."""
    lab.path("keys").mkdir(exist_ok=True)
    lab.path("keys").chmod(PRIVATE)
    for name in ("fernet", "credential"):
        repository = lab.path("keys", name)
        repository.mkdir(exist_ok=True, mode=PRIVATE)
        for number in ("0", "1"):
            if not (repository / number).exists():
                key = base64.urlsafe_b64encode(os.urandom(32))
                files.write(repository / number, key, files.SECRET)
