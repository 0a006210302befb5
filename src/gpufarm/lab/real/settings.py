"""nova.conf of a real host: a pure function of the lab and its passwords.

A real host sees the lab's services at one address of its own network (`qemu.SERVICES_ADDRESS`), on
the ports that OpenStack's installation guide gives them. The catalogue has the lab's addresses on
this machine, so every service is named here by an `endpoint_override`.
"""

from gpufarm.lab.config import Section, credentials, settings
from gpufarm.lab.real import network
from gpufarm.lab.state import Lab, Secrets
from gpufarm.lab.virthost.machine import Reach
from gpufarm.lab.virthost.qemu import SERVICES_ADDRESS
from gpufarm.model.settings import render

PORTS = {"keystone": 5000, "placement": 8778, "glance": 9292, "neutron": 9696, "rabbitmq": 5672}
"""{service: the port at which a real host finds it}"""

STATE = "/var/lib/nova"
LOG = "/var/log/nova/nova-compute.log"
CONFIG = "/etc/nova/nova.conf"
HELPER = "/usr/bin/python3 -c 'from oslo_privsep import daemon; daemon.helper_main()'"
"""nova-compute is root there, so that no sudo stands before it."""

RESERVED_MB = 512
"""Of a real host's memory, for nova-compute and libvirt."""

RATIO = 16
"""Processors and disk may be promised so often: guests of a virtual host only print a few lines."""


def reaches(lab: Lab) -> tuple[Reach, ...]:
    """The lab's services that a real host reaches."""
    return tuple(Reach(port, lab.ports[service]) for service, port in PORTS.items())


def nova_conf(lab: Lab, secrets: Secrets, host: str) -> str:
    """It holds passwords: to be written with rights 0600."""
    return render(settings(_sections(lab, secrets, host)))


def _url(service: str) -> str:
    path = "/v3" if service == "keystone" else ""
    return f"http://{SERVICES_ADDRESS}:{PORTS[service]}{path}"


def _credentials(lab: Lab, secrets: Secrets, user: str, service: str | None = None) -> Section:
    found = {**credentials(lab, secrets, user), "auth_url": _url("keystone")}
    return {**found, "endpoint_override": _url(service)} if service else found


def _sections(lab: Lab, secrets: Secrets, host: str) -> dict[str, Section]:
    broker = f"{SERVICES_ADDRESS}:{PORTS['rabbitmq']}"
    return {
        "DEFAULT": {
            "host": host,
            "my_ip": network.address(host),
            "transport_url": f"rabbit://gpufarm:{secrets.broker}@{broker}/",
            "compute_driver": "libvirt.LibvirtDriver",
            "state_path": STATE,
            "log_file": LOG,
            "force_raw_images": False,
            "reserved_host_memory_mb": RESERVED_MB,
            "reserved_host_disk_mb": 0,
            "cpu_allocation_ratio": RATIO,
            "disk_allocation_ratio": RATIO,
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "running_deleted_instance_action": "reap",
            "resume_guests_state_on_host_boot": True,
            # The tiny guest does not listen to ACPI.
            "shutdown_timeout": 1,
        },
        "vnc": {"enabled": False},
        "spice": {"enabled": False},
        "libvirt": {
            "virt_type": "kvm",
            "cpu_mode": "host-passthrough",
            "hw_machine_type": "x86_64=q35",
            "images_type": "qcow2",
        },
        "oslo_concurrency": {"lock_path": f"{STATE}/lock"},
        "oslo_messaging_rabbit": {"heartbeat_in_pthread": False},
        "placement": _credentials(lab, secrets, "placement", "placement"),
        "service_user": {
            **_credentials(lab, secrets, "nova"),
            "send_service_user_token": True,
        },
        "neutron": _credentials(lab, secrets, "neutron", "neutron"),
        "glance": _credentials(lab, secrets, "glance", "glance"),
        "nova_sys_admin": {"helper_command": HELPER},
        "privsep_osbrick": {"helper_command": HELPER},
    }
