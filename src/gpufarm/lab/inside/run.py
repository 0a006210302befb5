"""What each process of the lab does once the supervisor has forked it."""

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from gpufarm.lab import state, template
from gpufarm.lab.inside import broker, databases
from gpufarm.lab.services import BROKER, Process, Service, processes, serves
from gpufarm.lab.state import Lab

WSGI_THREADS = 8
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

Sockets = Mapping[str, socket.socket]


class Runner:
    """One process of the lab, in that process."""

    def __init__(self, lab: Lab, process: Process, generation: int, sockets: Sockets) -> None:
        self.lab = lab
        self.process = process
        self.generation = generation
        self.sockets = sockets
        self.configured = False
        """Whether Nova's CONF was parsed once in this process."""

    def ready(self, service: Service) -> None:
        """Tell everybody who waits that `service` serves."""
        state.ready_path(self.lab.state, service.key).write_text(str(self.generation))

    def wait_for(self, services: tuple[str, ...]) -> None:
        """Return once all of `services` serve, at whatever generation they are."""
        for service in services:
            while not serves(self.lab, service):
                time.sleep(0.01)

    def own_databases(self) -> None:
        """Make the databases of this process where they are missing, and make them this lab's."""
        names = databases.of_process(self.process.name)
        if databases.missing(self.lab, self.process.name):
            in_child(lambda: databases.make(self.lab, self.process.name))
            template.keep(self.lab, names)
        for name in names:
            template.make_own(self.lab, state.lab_secrets(self.lab.state), name)


def exec_anew(runner: Runner) -> None:
    """Replace this process by a fresh interpreter that runs the same; does not return."""
    descriptors = {name: found.fileno() for name, found in runner.sockets.items()}
    for descriptor in descriptors.values():
        os.set_inheritable(descriptor, True)
    arguments = [str(runner.lab.state), runner.process.name, str(runner.generation)]
    command = [sys.executable, "-W", "ignore", "-m", __name__, *arguments]
    os.execv(sys.executable, [*command, json.dumps(descriptors)])


def from_arguments(arguments: list[str]) -> Runner:
    """What `exec_anew` replaced: state folder, process, generation, JSON {service: descriptor}."""
    lab = state.load(Path(arguments[0]))
    process = next(found for found in processes(lab) if found.name == arguments[1])
    descriptors = json.loads(arguments[3])
    sockets = {name: socket.socket(fileno=number) for name, number in descriptors.items()}
    return Runner(lab, process, int(arguments[2]), sockets)


def main(runner: Runner) -> None:
    """Run the process's services; does not return."""
    end_with_parent(runner.process.name)
    environment(runner.lab)
    name = runner.process.name
    if name in _WSGI:
        serve_api(runner)
    elif name in BROKER:
        runner.wait_for(("epmd",) if name != "epmd" else ())
        broker.become(runner.lab, name)
    else:
        from gpufarm.lab.inside import nova

        nova.run(runner)


def end_with_parent(name: str) -> None:
    """Name the process for `ps`, and have the kernel end it where its supervisor dies."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NAME, name.encode()[:15])


def in_child(work: Callable[[], None]) -> None:
    """Do `work` in a forked process, so that what it configures does not stay here.

    Ends this process where it fails.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            end_with_parent("databases")
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the last word of a process that is about to end
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        os._exit(1)  # the child has said why


def environment(lab: Lab) -> None:
    """Where each project looks for its configuration."""
    for project in ("keystone", "placement", "glance", "neutron"):
        os.environ[f"OS_{project.upper()}_CONFIG_DIR"] = str(lab.path("etc", project))
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"


_WSGI = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
}
_BEFORE_DATABASES = {
    "keystone": ("keystone.server.wsgi", "keystone.cmd.bootstrap"),
    "placement": ("placement.deploy",),
    "glance": ("glance.common.wsgi_app",),
    "neutron": ("neutron.server.api", "neutron.plugins.ml2.plugin"),
}
"""Modules whose import needs no database; imported once, for making databases and for serving."""


def serve_api(runner: Runner) -> None:
    name = runner.process.name
    sys.argv = [name]
    for module in _BEFORE_DATABASES[name]:
        importlib.import_module(module)
    runner.own_databases()
    application = importlib.import_module(_WSGI[name]).application
    runner.ready(runner.process.services[0])
    serve(application, runner.sockets[name])


def serve(application: object, listening: socket.socket) -> None:
    """Serve `application` on a socket that listens already; does not return."""
    import waitress

    waitress.serve(application, sockets=[listening], threads=WSGI_THREADS, _quiet=True)


if __name__ == "__main__":
    main(from_arguments(sys.argv[1:]))
