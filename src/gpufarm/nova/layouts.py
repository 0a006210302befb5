"""The settings of a farm as the files that other deployment tools read.

What is decided here: names of files and their form. What stands in them is decided in `settings`.

plain   drop-in folders of oslo.config (oslo_config/cfg.py, find_config_dirs): every service reads
        /etc/nova/nova.conf.d/*.conf beside nova.conf.
kolla   below /etc/kolla: kolla-ansible's roles nova, nova-cell and placement merge
        config/nova.conf, config/nova/SERVICE.conf and config/nova/INVENTORY_HOSTNAME/nova.conf in
        this order (tasks/config.yml). Of an option that stands in two of them the later file's
        values count, all of them (action_plugins/merge_configs.py).
osa     below /etc/openstack_deploy: openstack-ansible takes user_*.yml for all hosts and
        host_vars/HOST.yml for one; the former win (reference/configuration/using-overrides). The
        overrides are ansible-config_template's: of an option that may stand several times the
        values are the keys of a mapping to nothing. For provider.yaml it has no variable: that
        file is HOST/provider_config/, to be copied to /etc/nova of the host.

kolla-ansible's variable for provider.yaml is nova_cell_compute_provider_config (nova-cell,
tasks/config.yml).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import yaml

from gpufarm.model import release
from gpufarm.model.errors import FarmError
from gpufarm.model.farm import Farm, card_hosts
from gpufarm.model.reserve import Machine
from gpufarm.model.settings import MULTIPLE, Options, Settings, merge, render
from gpufarm.nova import settings

Layout = Literal["plain", "kolla", "osa"]
Machines = Mapping[str, Machine]

DROP_IN = "50-gpufarm.conf"
PROVIDERS = "provider_config/50-gpufarm.yaml"
"""Below /etc/nova: [compute]provider_config_location's default (nova/conf/compute.py)."""

OSA_FILTERS = frozenset({*release.DEFAULT_FILTERS, settings.NUMA_FILTER})
"""Ours that nova_scheduler_default_filters of openstack-ansible-os_nova has already."""


def files(
    farm: Farm, layout: Layout, hosts: Iterable[str], machines: Machines | None = None
) -> dict[str, str]:
    """{relative path: text}, for the compute hosts `hosts` and for any other.

    Raises FarmError where the reserve is hard and no `machines` say what the hosts are.
    """
    if farm.keeping.mode == "hard" and not machines:
        raise FarmError(
            "reserve",
            "hard, which depends on the CPUs, memory and cards of each host: name host files "
            "(--hosts)",
        )
    known = machines or {}
    names = tuple(sorted({*hosts, *(name for name, each in known.items() if any(each.cards))}))
    return LAYOUTS[layout](farm, names, known)


def bound_to_hosts(farm: Farm) -> bool:
    """Whether some card is offered by some hosts only, so that hosts need files of their own."""
    return any(card_hosts(farm, card) is not None for card in farm.cards.values())


def _plain(farm: Farm, hosts: tuple[str, ...], machines: Machines) -> dict[str, str]:
    controller = settings.controller(farm)
    written = {f"controller/nova.conf.d/{DROP_IN}": controller}
    for host in (None, *hosts):
        folder = f"{host}/" if host else ""
        compute = settings.compute(farm, host, machines.get(host or ""))
        written[f"compute/{folder}nova.conf.d/{DROP_IN}"] = compute
        # One file where one machine is both: an alias that stands in two is refused.
        written[f"all-in-one/{folder}nova.conf.d/{DROP_IN}"] = merge(controller, compute)
    written[f"placement/placement.conf.d/{DROP_IN}"] = settings.placement(farm)
    providers = {
        f"{role}/{host}/{PROVIDERS}": text
        for host, text in _providers(farm, machines).items()
        for role in ("compute", "all-in-one")
    }
    return _ini(farm, written) | providers


def _providers(farm: Farm, machines: Machines) -> dict[str, str]:
    """{host: text of its provider.yaml}, for those that have one."""
    found = {host: settings.providers(farm, machine) for host, machine in machines.items()}
    return {host: text for host, text in sorted(found.items()) if text}


def _kolla(farm: Farm, hosts: tuple[str, ...], machines: Machines) -> dict[str, str]:
    everywhere = _without_console(settings.controller(farm))
    compute = _without_console(settings.compute(farm, None))
    compute.sections["pci"].pop("alias", None)  # stands in nova.conf
    written = {
        "config/nova.conf": everywhere,
        "config/nova/nova-compute.conf": compute,
        "config/placement.conf": settings.placement(farm),
    }
    for host in hosts:
        of_host = _kept_back(farm, machines.get(host))
        specs = _device_specs(farm, host)
        if specs != _device_specs(farm, None):
            of_host["pci"] = {"device_spec": specs}
        written[f"config/nova/{host}/nova.conf"] = Settings(of_host)
    texts = _ini(farm, written)
    variables: dict[str, Any] = {}
    if farm.console:
        # The variable brings the proxy's container with it, which an override would not.
        variables["nova_console"] = "spice" if farm.console == "spice" else "novnc"
    providers = _providers(farm, machines)
    if providers:
        variables["nova_cell_compute_provider_config"] = (
            "{{ gpufarm_providers[inventory_hostname] | default(gpufarm_no_providers) }}"
        )
        variables["gpufarm_no_providers"] = {"meta": {"schema_version": "1.0"}}
        variables["gpufarm_providers"] = {
            host: yaml.safe_load(text) for host, text in providers.items()
        }
    if variables:
        texts["globals.d/gpufarm.yml"] = _yaml(farm, variables)
    return texts


def _osa(farm: Farm, hosts: tuple[str, ...], machines: Machines) -> dict[str, str]:
    nova = merge(
        _without_console(settings.controller(farm)), _without_console(settings.compute(farm, None))
    )
    overrides = {section: _overrides(options) for section, options in nova.sections.items()}
    del overrides["filter_scheduler"]["enabled_filters"]  # openstack-ansible's has more
    variables: dict[str, Any] = {
        "nova_nova_conf_overrides": overrides,
        "nova_scheduler_extra_filters": [
            name for name in settings.filters(farm) if name not in OSA_FILTERS
        ],
    }
    if bound_to_hosts(farm):
        # Variables of a host lose against these, unless these ask for them.
        variables["gpufarm_device_spec_anywhere"] = _several(_device_specs(farm, None))
        overrides["pci"]["device_spec"] = (
            "{{ gpufarm_device_spec | default(gpufarm_device_spec_anywhere) }}"
        )
    if farm.console:
        variables["nova_console_type"] = "spice" if farm.console == "spice" else "novnc"
    placement = settings.placement(farm)
    if placement.sections:
        variables["placement_placement_conf_overrides"] = {
            section: _overrides(options) for section, options in placement.sections.items()
        }
    if farm.keeping.mode == "hard":
        own = {"reserved_host_cpus": "0", "reserved_host_memory_mb": "nova_reserved_host_memory_mb"}
        overrides["DEFAULT"] = {
            option: f"{{{{ gpufarm_{option} | default({without}) }}}}"
            for option, without in own.items()
        }
    texts = {"user_variables_gpufarm.yml": _yaml(farm, variables)}
    for host in hosts:
        of_host: dict[str, Any] = {}
        if bound_to_hosts(farm):
            of_host["gpufarm_device_spec"] = _several(_device_specs(farm, host))
        for options in _kept_back(farm, machines.get(host)).values():
            of_host |= {f"gpufarm_{option}": values[0] for option, values in options.items()}
        if of_host:
            texts[f"host_vars/{host}.yml"] = _yaml(farm, of_host)
    # There is no variable for these files.
    texts |= {f"{host}/{PROVIDERS}": text for host, text in _providers(farm, machines).items()}
    return texts


LAYOUTS: Final[dict[Layout, Callable[[Farm, tuple[str, ...], Machines], dict[str, str]]]] = {
    "plain": _plain,
    "kolla": _kolla,
    "osa": _osa,
}


def _device_specs(farm: Farm, host: str | None) -> tuple[str, ...]:
    return settings.compute(farm, host).sections["pci"].get("device_spec", ())


def _kept_back(farm: Farm, machine: Machine | None) -> dict[str, Options]:
    """What of a host's settings is its reserve."""
    sections = settings.compute(farm, None, machine).sections
    return {name: dict(options) for name, options in sections.items() if name == "DEFAULT"}


def _without_console(part: Settings) -> Settings:
    return Settings(
        {
            section: dict(options)
            for section, options in part.sections.items()
            if section not in ("vnc", "spice")
        }
    )


def _overrides(options: Options) -> dict[str, Any]:
    """As config_template wants it, also what may stand several times."""
    return {
        option: _several(values) if option in MULTIPLE else values[0]
        for option, values in options.items()
    }


def _several(values: tuple[str, ...]) -> dict[str, None]:
    return dict.fromkeys(values)


def _ini(farm: Farm, parts: dict[str, Settings]) -> dict[str, str]:
    """As text; a file that would say nothing is left out."""
    return {
        path: render(part, comment=settings.heading(farm))
        for path, part in parts.items()
        if part.sections
    }


def _yaml(farm: Farm, variables: dict[str, Any]) -> str:
    # Unlimited width: a key that is folded is hard to read, and is one alias.
    dumped = yaml.safe_dump(variables, sort_keys=False, width=10_000, allow_unicode=True)
    heading = "".join(f"# {line}\n" for line in settings.heading(farm).splitlines())
    return f"---\n{heading}{dumped}"
