"""Making the databases of a service, in a process that has its modules already.

Each project's own migrations make its schema, except Neutron's: its scripts alter constraints,
which SQLite cannot, so its schema is made from the models and stamped as current.

What is written here holds for every lab (schema, users, roles, catalogue, cells, a network); what
differs between labs (addresses, passwords, hosts) is filled in by `lab.template`.
"""

import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from gpufarm.lab import config
from gpufarm.lab.state import SERVICE_USERS, Lab

CATALOG = {
    "keystone": "identity",
    "nova-api": "compute",
    "placement": "placement",
    "glance": "image",
    "neutron": "network",
}
"""{service: its type in the catalogue}; the service's name there is the same as here."""

OWNER = "lab"
"""The network's project, which need not exist: it is shared with all of them."""

NOVA_DATABASES = (
    config.NOVA_API_DATABASE,
    config.NOVA_CELL0_DATABASE,
    config.NOVA_CELL_DATABASE,
)


def of_process(name: str) -> tuple[str, ...]:
    """The databases that the process `name` makes where they are missing."""
    if name in {"nova", "nova-conductor"}:
        return NOVA_DATABASES
    return (name,) if name in _MAKERS else ()


def missing(lab: Lab, name: str) -> bool:
    return any(not path(lab, database).exists() for database in of_process(name))


def path(lab: Lab, database: str) -> Path:
    return lab.path("db", f"{database}.sqlite")


def make(lab: Lab, name: str) -> None:
    """Make the databases of the process `name`; to be called in a process of its own.

    They are made under another name first, so that one that exists is whole.
    """
    folder = lab.path("db")
    building = lab.path("db", f"building-{name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    _MAKERS["nova" if name.startswith("nova") else name](lab, building)
    for file in building.glob("*.sqlite"):
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        file.replace(folder / file.name)
    shutil.rmtree(building)


def _url(folder: Path, database: str) -> str:
    return f"sqlite:///{folder / database}.sqlite"


def _keystone(lab: Lab, folder: Path) -> None:
    import keystone.server
    from keystone.cmd.bootstrap import Bootstrapper
    from keystone.common import provider_api
    from keystone.common.sql import upgrades
    from keystone.conf import CONF

    keystone.server.configure(config_files=[str(lab.path("etc", "keystone", "keystone.conf"))])
    CONF.set_override("connection", _url(folder, "keystone"), "database")
    upgrades.offline_sync_database_to_version()
    bootstrap = Bootstrapper()
    bootstrap.admin_username = "admin"
    bootstrap.admin_password = uuid.uuid4().hex  # replaced by `lab.template` before anyone asks
    bootstrap.project_name = "admin"
    bootstrap.admin_role_name = "admin"
    bootstrap.region_id = config.REGION
    bootstrap.bootstrap()
    _service_users(provider_api.ProviderAPIs, bootstrap)
    _catalogue(provider_api.ProviderAPIs.catalog_api)


def _service_users(providers: object, bootstrap: object) -> None:
    """The users that the services know each other by, admins of the project `service`."""
    resource, identity = providers.resource_api, providers.identity_api  # type: ignore[attr-defined]
    assignment = providers.assignment_api  # type: ignore[attr-defined]
    domain = bootstrap.default_domain_id  # type: ignore[attr-defined]
    project = {"id": uuid.uuid4().hex, "name": "service", "domain_id": domain, "enabled": True}
    resource.create_project(project["id"], project)
    for name in SERVICE_USERS:
        user = identity.create_user(
            {"name": name, "password": uuid.uuid4().hex, "domain_id": domain, "enabled": True}
        )
        for role in (bootstrap.admin_role_id, bootstrap.service_role_id):  # type: ignore[attr-defined]
            assignment.add_role_to_user_and_project(user["id"], project["id"], role)


def _catalogue(catalog: object) -> None:
    for name, kind in CATALOG.items():
        service = {"id": uuid.uuid4().hex, "type": kind, "name": name, "enabled": True}
        catalog.create_service(service["id"], service)  # type: ignore[attr-defined]
        for interface in ("public", "internal", "admin"):
            endpoint = {
                "id": uuid.uuid4().hex,
                "interface": interface,
                "url": f"http://127.0.0.1/{name}",
                "region_id": config.REGION,
                "service_id": service["id"],
                "enabled": True,
            }
            catalog.create_endpoint(endpoint["id"], endpoint)  # type: ignore[attr-defined]


def _placement(lab: Lab, folder: Path) -> None:
    from oslo_config import cfg
    from placement import conf, db_api
    from placement.db.sqlalchemy import migration

    options = cfg.ConfigOpts()
    conf.register_opts(options)
    options([], default_config_files=[str(lab.path("etc", "placement", "placement.conf"))])
    options.set_override("connection", _url(folder, "placement"), "placement_database")
    db_api.configure(options)
    migration.upgrade("head")


def _glance(lab: Lab, folder: Path) -> None:
    from glance.cmd.manage import DbCommands
    from glance.common import config as glance_config

    glance_config.set_config_defaults()
    glance_config.CONF(
        [],
        project="glance",
        prog="glance-manage",
        default_config_files=[str(lab.path("etc", "glance", "glance-api.conf"))],
    )
    glance_config.CONF.set_override("connection", _url(folder, "glance"), "database")
    DbCommands().sync()


def _neutron(lab: Lab, folder: Path) -> None:
    import sqlalchemy
    from neutron.db.migration import cli
    from neutron.db.migration.models import head

    url = _url(folder, "neutron")
    head.get_metadata().create_all(sqlalchemy.create_engine(url))
    file = str(lab.path("etc", "neutron", "neutron.conf"))
    cli.CONF(["--config-file", file, "stamp", "heads"], project="neutron")
    cli.CONF.set_override("connection", url, "database")
    for alembic in cli.get_alembic_configs():
        cli.do_stamp(alembic, "stamp")
    _network(lab, url)


def _network(lab: Lab, url: str) -> None:
    """A network that every project may use, so that a server can have an address.

    Guests make it themselves of the prefix and their MAC, as Neutron knows beforehand (SLAAC): no
    agent has to tell them.
    """
    from neutron import manager
    from neutron.common import config as neutron_config
    from neutron_lib import constants, context
    from neutron_lib.api import attributes
    from neutron_lib.api.definitions import external_net
    from neutron_lib.plugins import directory, utils
    from oslo_config import cfg
    from oslo_db import options

    neutron_config.register_common_config_options()
    neutron_config.init([], default_config_files=[str(lab.path("etc", "neutron", "neutron.conf"))])
    cfg.CONF.register_opts(options.database_opts, "database")
    cfg.CONF.set_override("connection", url, "database")
    neutron_config.set_config_defaults()
    manager.init()
    plugin, admin = directory.get_plugin(), context.get_admin_context()
    shared = {"name": "lab", "project_id": OWNER, "tenant_id": OWNER}
    # Loaded as an extension, this attribute would have a default.
    attributes.RESOURCES["networks"]["router:external"] = external_net.RESOURCE_ATTRIBUTE_MAP[
        "networks"
    ]["router:external"]
    network = utils.create_network(plugin, admin, {"network": {**shared, "shared": True}})
    subnet = {
        "network_id": network["id"],
        "cidr": config.GUEST_PREFIX,
        "ip_version": 6,
        "ipv6_address_mode": constants.IPV6_SLAAC,
        "gateway_ip": None,
    }
    utils.create_subnet(plugin, admin, {"subnet": {**shared, **subnet}})


def _nova(lab: Lab, folder: Path) -> None:
    from nova import config as nova_config
    from nova import context, objects
    from nova.db import migration
    from nova.db.api import api as api_database
    from nova.db.main import api as main_database

    file = str(lab.path("etc", "nova", "nova.conf"))
    nova_config.parse_args(["nova-manage"], default_config_files=[file], configure_db=False)
    options = nova_config.CONF
    options.set_override("connection", _url(folder, config.NOVA_API_DATABASE), "api_database")
    options.set_override("connection", _url(folder, config.NOVA_CELL_DATABASE), "database")
    api_database.configure(options)
    main_database.configure(options)
    migration.db_sync(database="api")
    migration.db_sync(database="main")
    # cell0 has the schema of every other cell: a copy saves running its migrations again.
    shutil.copyfile(
        folder / f"{config.NOVA_CELL_DATABASE}.sqlite",
        folder / f"{config.NOVA_CELL0_DATABASE}.sqlite",
    )
    objects.register_all()
    for name, cell in (("cell0", objects.CellMapping.CELL0_UUID), ("cell1", str(uuid.uuid4()))):
        objects.CellMapping(
            context.RequestContext(),
            uuid=cell,
            name=name,
            transport_url="none:///",
            database_connection="sqlite://",
        ).create()


_MAKERS: dict[str, Callable[[Lab, Path], None]] = {
    "keystone": _keystone,
    "placement": _placement,
    "glance": _glance,
    "neutron": _neutron,
    "nova": _nova,
}
