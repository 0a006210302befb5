"""nova-compute on a real host, with its imports done before it is wanted.

It runs there, with that host's Python and nothing of gpufarm. The modules are in memory when a
host's state is saved, and stay there over restarts: SIGHUP starts nova-compute anew in a child of
this process, which ends with it.
"""

import ctypes
import importlib
import os
import signal
import sys
import time
from pathlib import Path

CONFIGURED = Path("/etc/nova/nova.conf")
"""Without it there is nothing to start yet."""
IMPORTED = Path("/run/nova-compute.imported")
STARTED = Path("/run/nova-compute.started")
"""Written with each start, once the one before has ended."""

PATIENCE = 2.0
"""Seconds for nova-compute to end by itself; it takes five with nothing under way, else minutes."""
PR_SET_PDEATHSIG = 1

REPORT_SECONDS = 10
"""Between two reports of what the host has; Nova reads it when its manager is imported, before any
file (nova/compute/manager.py)."""
FIRST_REPORT_SECONDS = 0.1
"""From its start to the first sign of life of the service; five in nova/servicegroup/api.py."""

MODULES = (
    "alembic",
    "cinderclient.client",
    "glanceclient.v2.client",
    "keystoneauth1.identity.v3",
    "keystoneauth1.loading",
    "libvirt",
    "lxml.etree",
    "neutronclient.v2_0.client",
    "nova.compute.manager",
    "nova.compute.rpcapi",
    "nova.conductor.rpcapi",
    "nova.image.glance",
    "nova.network.neutron",
    "nova.objects",
    "nova.privsep.libvirt",
    "nova.scheduler.client.report",
    "nova.virt.libvirt.driver",
    "nova.virt.libvirt.imagebackend",
    "openstack",
    "os_brick.initiator.connector",
    "os_brick.initiator.connectors",
    "os_vif",
    "oslo_messaging._drivers.impl_rabbit",
    "sqlalchemy.orm",
)


def main() -> int:
    """Keep one nova-compute; returns its exit status where it ends by itself."""
    watched = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    from nova.cmd import compute
    from nova.conf import CONF
    from nova.servicegroup import api

    api.INITIAL_REPORTING_DELAY = FIRST_REPORT_SECONDS
    CONF.set_default("update_resources_interval", REPORT_SECONDS)
    for name in MODULES:
        importlib.import_module(name)
    from nova import objects

    objects.register_all()
    IMPORTED.touch()
    child = _start(compute, watched) if CONFIGURED.exists() else None
    while True:
        number = signal.sigwaitinfo(watched).si_signo
        if number == signal.SIGCHLD:
            status = _status(child)
            if status is not None:
                return status
            continue
        _end(child)
        if number == signal.SIGTERM:
            return 0
        child = _start(compute, watched)


def _start(compute: object, watched: set[signal.Signals]) -> int:
    pid = os.fork()
    if pid:
        STARTED.touch()
        return pid
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
        sys.argv = ["nova-compute"]
        compute.main()  # type: ignore[attr-defined]
    finally:
        sys.stderr.flush()
        os._exit(1)


def _status(child: "int | None") -> "int | None":
    """Its exit status; None while it runs, or where another process of ours has ended."""
    if child is None:
        return None
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _end(child: "int | None") -> None:
    if child is None:
        return
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main())
