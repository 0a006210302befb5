"""Configuration files of the lab's services: a pure function of the lab and its passwords.

Facts that the settings rest on, found with nova 34, placement 16, keystone 30, glance 33 and
neutron 29:

- `fake://` carries RPC between the services of one process; it is what makes `single` mode do
  without a broker.
- Hashing a password at bcrypt's default of 12 rounds takes a quarter of a second for each new
  token. The lab's passwords are 192 random bits, which no number of rounds makes harder to guess.
- SQLite needs writes to begin with BEGIN IMMEDIATE (see `inside.sqlite`).
"""

from collections.abc import Mapping
from pathlib import Path

from gpufarm.lab.state import Lab, Secrets
from gpufarm.model.settings import Options, Settings, merge, render

REGION = "RegionOne"
NOVA_API_DATABASE = "nova_api"
NOVA_CELL_DATABASE = "nova_cell1"
NOVA_CELL0_DATABASE = "nova_cell0"
DATABASES = (
    "keystone",
    "placement",
    "glance",
    "neutron",
    NOVA_API_DATABASE,
    NOVA_CELL0_DATABASE,
    NOVA_CELL_DATABASE,
)
FARM_FOLDER = "farm"
CONTROLLER = "controller"
PLACEMENT = "placement"
PLACEMENT_FILE = "etc/placement/placement.conf"
REPORT_SECONDS = 10
"""Between two reports of a nova-compute. Not in its file: Nova reads update_resources_interval when
its manager is imported (nova/compute/manager.py), before any file."""
GUEST_PREFIX = "fd67:7075:6661:726d::/64"
"""Of the lab's one network: a unique local prefix (RFC 4193), so no network of the user's."""
NONE = Settings({})

Section = Mapping[str, str | int | bool]


def database_url(lab: Lab, name: str) -> str:
    return f"sqlite:///{lab.path('db', name + '.sqlite')}?timeout=60&plugin=gpufarm_lab"


def transport_url(lab: Lab, secrets: Secrets) -> str:
    if lab.mode == "single":
        return "fake://"
    return f"rabbit://gpufarm:{secrets.broker}@127.0.0.1:{lab.ports['rabbitmq']}/"


def configuration(
    lab: Lab, secrets: Secrets, paste: Mapping[str, Path], placement: Settings = NONE
) -> dict[str, str]:
    """{path below the state folder: text}. `paste` gives the paste files of nova, glance, neutron,
    `placement` what the farm file says of Placement, which reads one file only.

    Every file holds passwords, so every one is to be written with rights 0600.
    """
    parts = {
        "etc/keystone/keystone.conf": _keystone(lab),
        PLACEMENT_FILE: _placement(lab, secrets),
        "etc/glance/glance-api.conf": _glance(lab, secrets, paste["glance"]),
        "etc/neutron/neutron.conf": _neutron(lab, secrets, paste["neutron"]),
        "etc/nova/nova.conf": _nova(lab, secrets, paste["nova"]),
        **{f"etc/nova/{host}.conf": _compute(lab, host) for host in lab.hosts},
    }
    texts = {name: render(settings(sections)) for name, sections in parts.items()}
    own = settings(parts[PLACEMENT_FILE])
    texts[PLACEMENT_FILE] = render(merge(own, placement))
    texts["clouds.yaml"] = clouds_yaml(lab, secrets)
    if lab.mode == "split":
        texts["rabbit/rabbitmq.conf"] = rabbitmq_conf(lab, secrets)
    return texts


def clouds_yaml(lab: Lab, secrets: Secrets) -> str:
    return (
        "clouds:\n"
        f"  {_CLOUD}:\n"
        "    auth:\n"
        f"      auth_url: {lab.url('keystone')}\n"
        "      username: admin\n"
        f"      password: {secrets.admin}\n"
        "      project_name: admin\n"
        "      user_domain_id: default\n"
        "      project_domain_id: default\n"
        f"    region_name: {REGION}\n"
        "    identity_api_version: 3\n"
        "    interface: public\n"
    )


_CLOUD = "gpufarm-lab"


def rabbitmq_conf(lab: Lab, secrets: Secrets) -> str:
    return (
        f"listeners.tcp.1 = 127.0.0.1:{lab.ports['rabbitmq']}\n"
        "default_user = gpufarm\n"
        f"default_pass = {secrets.broker}\n"
        "log.console = true\n"
        "log.console.level = warning\n"
        "log.file = false\n"
    )


def settings(sections: Mapping[str, Section | Mapping[str, tuple[str, ...]]]) -> Settings:
    """{section: {option: value or values}} as settings."""
    written: dict[str, Options] = {}
    for name, options in sections.items():
        written[name] = {
            option: value if isinstance(value, tuple) else (str(value),)
            for option, value in options.items()
        }
    return Settings(written)


def _database(lab: Lab, name: str) -> Section:
    return {"connection": database_url(lab, name), "sqlite_synchronous": False}


def credentials(lab: Lab, secrets: Secrets, user: str) -> Section:
    """The options with which a service speaks to the others as `user`."""
    return {
        "auth_type": "password",
        "auth_url": lab.url("keystone"),
        "username": user,
        "password": secrets.services[user],
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def _authtoken(lab: Lab, secrets: Secrets, user: str) -> Section:
    return {
        **credentials(lab, secrets, user),
        "www_authenticate_uri": lab.url("keystone"),
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }


def _log(lab: Lab, service: str) -> Section:
    return {"log_file": str(lab.path("log", f"{service}.log"))}


def _keystone(lab: Lab) -> dict[str, Section]:
    keys = {name: {"key_repository": str(lab.path("keys", name))} for name in ("fernet",)}
    return {
        "DEFAULT": {**_log(lab, "keystone"), "transport_url": "fake://"},
        "database": _database(lab, "keystone"),
        # One process serves it, so what it remembers is never outdated by another.
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "identity": {"password_hash_rounds": 4},
        "token": {"provider": "fernet"},
        "fernet_tokens": keys["fernet"],
        "fernet_receipts": keys["fernet"],
        "credential": {"key_repository": str(lab.path("keys", "credential"))},
    }


def _placement(lab: Lab, secrets: Secrets) -> dict[str, Section]:
    return {
        "DEFAULT": _log(lab, "placement"),
        "placement_database": _database(lab, "placement"),
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _authtoken(lab, secrets, "placement"),
    }


def _glance(lab: Lab, secrets: Secrets, paste: Path) -> dict[str, Section]:
    staging = str(lab.path("images", "staging"))
    return {
        "DEFAULT": {
            **_log(lab, "glance"),
            "transport_url": "fake://",
            "enabled_backends": "file:file",
            "node_staging_uri": f"file://{staging}",
        },
        "database": _database(lab, "glance"),
        "glance_store": {"default_backend": "file"},
        "file": {"filesystem_store_datadir": str(lab.path("images", "store"))},
        "os_glance_tasks_store": {"filesystem_store_datadir": str(lab.path("images", "tasks"))},
        "os_glance_staging_store": {"filesystem_store_datadir": staging},
        "paste_deploy": {"flavor": "keystone", "config_file": str(paste)},
        "keystone_authtoken": _authtoken(lab, secrets, "glance"),
    }


def _neutron(lab: Lab, secrets: Secrets, paste: Path) -> dict[str, Section]:
    return {
        "DEFAULT": {
            **_log(lab, "neutron"),
            "transport_url": "fake://",
            "auth_strategy": "keystone",
            "core_plugin": "ml2",
            "service_plugins": "",
            "state_path": str(lab.path("compute", "neutron")),
            "api_paste_config": str(paste),
            "notify_nova_on_port_data_changes": False,
            "dhcp_agent_notification": False,
            "rpc_workers": 0,
        },
        "oslo_concurrency": {"lock_path": str(lab.path("compute", "neutron", "lock"))},
        "database": _database(lab, "neutron"),
        "nova": credentials(lab, secrets, "nova"),
        "placement": credentials(lab, secrets, "placement"),
        "keystone_authtoken": _authtoken(lab, secrets, "neutron"),
        "ml2": {
            "type_drivers": "local,flat,vlan",
            "tenant_network_types": "local",
            "mechanism_drivers": "gpufarm_lab",
            "extension_drivers": "port_security",
        },
        "quotas": {"default_port": -1},
    }


def _nova(lab: Lab, secrets: Secrets, paste: Path) -> dict[str, Section]:
    return {
        "DEFAULT": {
            "host": CONTROLLER,
            "my_ip": "127.0.0.1",
            "transport_url": transport_url(lab, secrets),
            "state_path": str(lab.path("compute", CONTROLLER)),
            "periodic_fuzzy_delay": 5,
        },
        "wsgi": {"api_paste_config": str(paste)},
        "api_database": _database(lab, NOVA_API_DATABASE),
        "database": _database(lab, NOVA_CELL_DATABASE),
        "oslo_concurrency": {"lock_path": str(lab.path("compute", CONTROLLER, "lock"))},
        "keystone_authtoken": _authtoken(lab, secrets, "nova"),
        "placement": credentials(lab, secrets, "placement"),
        "service_user": {
            **credentials(lab, secrets, "nova"),
            "send_service_user_token": True,
        },
        "neutron": credentials(lab, secrets, "neutron"),
        "glance": credentials(lab, secrets, "glance"),
        "conductor": {"workers": 1},
        "scheduler": {
            "workers": 1,
            "limit_tenants_to_placement_aggregate": False,
            # The lab writes the host mappings itself.
            "discover_hosts_in_cells_interval": -1,
        },
        # The default of 20 cores would refuse the third server of a host.
        "quota": {"cores": -1, "ram": -1, "instances": -1},
        "compute": {"live_migration_wait_for_vif_plug": False},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": False},
        # So that a cordon counts at once, as everything else does in a lab.
        "gpufarm": {"refresh_seconds": 1},
    }


def _compute(lab: Lab, host: str) -> dict[str, Section]:
    folder = lab.path("compute", host)
    return {
        "DEFAULT": {
            "host": host,
            "compute_driver": "gpufarm_lab.SimulatedDriver",
            "state_path": str(folder),
            "instances_path": str(folder / "instances"),
            "running_deleted_instance_action": "reap",
        },
        "compute": {"provider_config_location": str(providers(lab, host))},
        "oslo_concurrency": {"lock_path": str(folder / "lock")},
    }


def providers(lab: Lab, host: str) -> Path:
    """Where the nova-compute of `host` reads provider.yaml files."""
    return lab.path("compute", host, "provider_config")


def nova_files(lab: Lab, host: str | None) -> list[str]:
    """Configuration files, in order, of a nova-compute (`host`) or of the other Nova services.

    In `single` mode one process is both, so what the farm file says for the two roles is merged
    into one file for each host (an alias that stands in two files is refused by Nova).
    """
    nova, name = lab.path("etc", "nova"), host or CONTROLLER
    if lab.mode == "single":
        farm = f"merged-{name}.conf"
    else:
        farm = f"{CONTROLLER}.conf" if host is None else f"compute-{host}.conf"
    found = [nova / "nova.conf", nova / f"{name}.conf", nova / FARM_FOLDER / farm]
    return [str(path) for path in found if path.exists()]
