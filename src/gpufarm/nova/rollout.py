"""A farm's settings on hosts with Nova's own packages: which file goes where, who has to read it.

What is decided here, from what runs on a host and the farm file: the host's role, the drop-ins of
that role, and the services to restart. A host whose settings a deployment tool renders into
containers is left to that tool.
"""

from collections.abc import Iterator
from typing import Final

from gpufarm.model import hardware, reserve
from gpufarm.model.change import differences
from gpufarm.model.farm import Farm, named_hosts
from gpufarm.model.finding import Finding
from gpufarm.model.host_change import HostPlan, Step, WriteFile
from gpufarm.model.reserve import Machine
from gpufarm.model.services import Service, Services, restart
from gpufarm.nova import layouts
from gpufarm.nova import plan as settings_plan
from gpufarm.nova.layouts import DROP_IN

NOVA: Final = f"/etc/nova/nova.conf.d/{DROP_IN}"
PLACEMENT: Final = f"/etc/placement/placement.conf.d/{DROP_IN}"
PROVIDERS: Final = f"/etc/nova/{layouts.PROVIDERS}"
FILES: Final = (NOVA, PLACEMENT, PROVIDERS)

KOLLA: Final = "/etc/kolla"
"""Where kolla-ansible keeps what it mounts into its containers."""

COMPUTES: Final = ("nova-compute", "openstack-nova-compute")
"""Of Debian, Ubuntu and openstack-ansible; of the RHEL family (RDO). So on in what follows."""
CONTROLLERS: Final = (
    *("nova-api", "nova-api-os-compute", "openstack-nova-api"),
    *("nova-scheduler", "openstack-nova-scheduler"),
    *("nova-conductor", "openstack-nova-conductor"),
    *("nova-novncproxy", "openstack-nova-novncproxy"),
    *("nova-spicehtml5proxy", "nova-spiceproxy", "openstack-nova-spicehtml5proxy"),
)
PLACEMENTS: Final = ("placement-api", "openstack-placement-api")
SERVICES: Final = (*COMPUTES, *CONTROLLERS, *PLACEMENTS)


def is_compute_only(found: Services) -> bool:
    """Whether it is to come before the others: the scheduler looks for what computes report."""
    return bool(_of(found, COMPUTES)) and not _of(found, (*CONTROLLERS, *PLACEMENTS))


def plan(farm: Farm, found: Services, name: str, *, prune: bool) -> HostPlan:
    """The steps, or why there are none. `name` is what the inventory calls the host.

    A file that says the same in other words stays, and nobody is restarted for it.
    """
    refused = tuple(_refusals(farm, found, name))
    if refused:
        return HostPlan(refusals=refused)
    files = tuple(_file_steps(farm, found, prune=prune))
    return HostPlan((*files, *_restarts(found, {each.path for each in files})))


def verify(farm: Farm, found: Services, name: str, *, prune: bool) -> tuple[Finding, ...]:
    """Everything that is not as the farm file says; empty when all is well."""
    planned = plan(farm, found, name, prune=prune)
    return (
        *planned.refusals,
        *(_left(step) for step in planned.steps),
        *(_down(each) for each in _of(found, SERVICES) if not each.runs),
    )


def _of(found: Services, names: tuple[str, ...]) -> tuple[Service, ...]:
    return tuple(each for each in found.services if each.name in names and each.wanted)


def _refusals(farm: Farm, found: Services, name: str) -> Iterator[Finding]:
    if not _of(found, SERVICES):
        if KOLLA in found.paths:
            yield _finding(
                "OTHER_TOOL",
                "Nova runs in containers of kolla-ansible, which renders their settings",
                "`gpufarm farm render --layout kolla`, then kolla-ansible reconfigure",
            )
        else:
            yield _finding(
                "NO_NOVA",
                "no service of Nova or Placement is meant to run on this host",
                f"install and enable one of {', '.join(COMPUTES)}, or leave this host out",
            )
    elif _of(found, COMPUTES) and name in named_hosts(farm) and found.host != name:
        yield _finding(
            "COMPUTE_NAME",
            f"its nova-compute calls itself {found.host}, which is not the {name} of the farm file",
            "name hosts in the farm file as `openstack compute service list` does",
        )
    yield from _aliases_elsewhere(farm, found)
    yield from _unkeepable(farm, found)


def _aliases_elsewhere(farm: Farm, found: Services) -> Iterator[Finding]:
    """Nova takes no alias from two files (nova/pci/request.py, _validate_multispec)."""
    for path, values in found.aliases.items():
        names = {str((settings_plan.fields(value) or {}).get("name")) for value in values}
        both = sorted(names.intersection(farm.cards))
        if both and path not in FILES:
            yield _finding(
                "ALIAS_ELSEWHERE",
                f"{path} has an alias of the farm's cards too: {', '.join(both)}",
                "take it out of there, without a restart: the farm's settings bring it",
            )


def _unkeepable(farm: Farm, found: Services) -> Iterator[Finding]:
    """What keeps a hard reserve from being put on the host."""
    if farm.keeping.mode != "hard" or not _of(found, COMPUTES):
        return
    if found.hardware is None:
        yield _finding(
            "HARDWARE_UNKNOWN",
            "its kernel does not tell CPUs and memory, on which a hard reserve depends",
            "read it as root, with /proc and /sys there",
        )
    elif found.cpu_sets and reserve.on(farm, _machines(farm, found)[found.host]):
        # nova/virt/libvirt/driver.py, _check_cpu_set_configuration
        yield _finding(
            "CPU_SETS",
            "its nova-compute would not start: reserved_host_cpus, by which a hard reserve is "
            f"kept, is forbidden beside {', '.join(found.cpu_sets)}",
            "take the set away, or use `reserve: dynamic`",
        )


def _machines(farm: Farm, found: Services) -> dict[str, Machine]:
    if found.hardware is None:
        return {}
    return {found.host: hardware.machine(farm, found.host, found.hardware)}


def _file_steps(farm: Farm, found: Services, *, prune: bool) -> Iterator[WriteFile]:
    machines = _machines(farm, found)
    for path, role in _roles(found).items():
        now = found.files.get(path, "")
        (text,) = settings_plan.wanted(
            farm, (role,), {role: now}, prune=prune, machines=machines
        ).values()
        said = settings_plan.said(role, text)
        if differences(settings_plan.said(role, now), said):
            yield WriteFile(
                path=path,
                text=text if said else None,
                was=found.files.get(path),
                reason=f"{role.partition('/')[0]} settings of farm {farm.name}",
            )


def _roles(found: Services) -> dict[str, str]:
    """{path: role}. One file where one machine is both: an alias in two of them is refused."""
    computes, controllers = _of(found, COMPUTES), _of(found, CONTROLLERS)
    roles = {}
    if computes:
        roles[NOVA] = f"{'all-in-one' if controllers else 'compute'}/{found.host}"
        roles[PROVIDERS] = settings_plan.PROVIDERS + found.host
    elif controllers:
        roles[NOVA] = "controller"
    if _of(found, PLACEMENTS):
        roles[PLACEMENT] = "placement"
    return roles


def _restarts(found: Services, changed: set[str]) -> Iterator[Step]:
    """Of what runs or has failed; a service that was stopped reads its file when it is started."""
    readers = {NOVA: (*COMPUTES, *CONTROLLERS), PLACEMENT: PLACEMENTS, PROVIDERS: COMPUTES}
    stale = {name for path in changed for name in readers[path]} | found.due
    names = tuple(
        each.name
        for each in _of(found, SERVICES)
        if each.failed or (each.name in stale and each.active != "inactive")
    )
    if names:
        yield restart(names, "settings are read at the start" if stale else "it has failed")


def _left(step: Step) -> Finding:
    if isinstance(step, WriteFile):
        return _finding(
            "SETTINGS_DIFFER",
            f"{step.path} does not say what the farm file needs",
            "`gpufarm host apply --farm`",
        )
    return _finding(
        "RESTART_DUE", f"a restart is due: {step.reason}", "`gpufarm host apply --farm`"
    )


def _down(service: Service) -> Finding:
    return _finding(
        "SERVICE_DOWN",
        f"{service.name} is enabled and {service.active} ({service.sub})",
        f"see `journalctl -u {service.name}` and start it",
    )


def _finding(code: str, message: str, fix: str) -> Finding:
    return Finding(code=code, severity="error", address=None, message=message, fix=fix, blocks=True)
