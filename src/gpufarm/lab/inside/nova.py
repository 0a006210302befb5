"""Nova's services: all of them in one process, or one of them."""

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from gpufarm.lab import config
from gpufarm.lab.environment import paste_files
from gpufarm.lab.inside.run import Runner, serve
from gpufarm.lab.services import COMPUTE, Service

FINISH_SECONDS = 4.0
"""Below the supervisor's patience with a process that it ends."""

MODULES = (
    "nova.api.openstack.compute.routes",
    "nova.api.openstack.wsgi_app",
    "nova.compute.manager",
    "nova.conductor.manager",
    "nova.scheduler.manager",
)


def preload() -> None:
    """Import what every Nova process needs; nothing here reads a configuration."""
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    from nova.conf import CONF

    CONF.set_default("update_resources_interval", config.REPORT_SECONDS)
    for name in MODULES:
        importlib.import_module(name)
    from nova import objects

    from gpufarm.lab.inside import driver

    objects.register_all()
    # Nova prefixes compute_driver with `nova.virt.` and imports that.
    sys.modules["nova.virt.gpufarm_lab"] = driver


def run(runner: Runner) -> None:
    """Start the services of this process in their order; ends on SIGTERM."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    preload()
    from gpufarm.lab.inside import driver, verdicts

    driver.FOLDER = runner.lab.state
    verdicts.record(runner.lab.state)
    runner.own_databases()
    runner.wait_for(runner.process.after)
    started = [_START[service.name](runner, service) for service in runner.process.services]
    if len(started) > 1:
        # The last nova-compute's own settings are not those that requests are to meet from here on.
        _configure(runner, None)
    ending.wait()
    _finish([service.manager for service in started if service is not None])
    os._exit(0)


def _finish(managers: list[Any]) -> None:
    """Let what is under way come to its end: a server whose build is cut off ends in ERROR.

    Twice, since a task of the conductor ends by handing one to a nova-compute.
    """
    deadline = time.monotonic() + FINISH_SECONDS
    for manager in (*managers, *managers):
        manager._wait_for_in_progress_tasks(max(0.0, deadline - time.monotonic()))


def _arguments(runner: Runner) -> list[str]:
    return ["--log-file", str(runner.lab.path("log", f"{runner.process.name}.log"))]


def _configure(runner: Runner, host: str | None) -> None:
    """Read the configuration of that host (None: of the controller) into Nova's CONF.

    Nova reads a nova-compute's own settings while that starts (resource tracker, PCI tracker,
    provider.yaml), so the computes of one process are configured one after another.
    """
    from nova import config as nova_config
    from oslo_log import log

    arguments, files = _arguments(runner), config.nova_files(runner.lab, host)
    if runner.configured:
        nova_config.CONF(arguments, project="nova", prog="nova", default_config_files=files)
    else:
        nova_config.parse_args(["nova", *arguments], default_config_files=files, prog="nova")
        log.setup(nova_config.CONF, "nova")
        runner.configured = True


def _api(runner: Runner, service: Service) -> None:
    # Nova's own start of its WSGI application reads these; the paste file has to come first.
    paste = paste_files(runner.lab.mode)["nova"]
    files = [str(paste), *config.nova_files(runner.lab, None)]
    os.environ["OS_NOVA_CONFIG_FILES"] = ";".join(files)
    sys.argv = ["nova-api", *_arguments(runner)]
    from nova.api.openstack import wsgi_app

    application = wsgi_app.init_application("osapi_compute", "nova-api")
    runner.configured = True
    listening = runner.sockets["nova-api"]
    threading.Thread(target=serve, args=(application, listening), daemon=True).start()
    runner.ready(service)


def _starter(binary: str, rpcapi: str) -> Callable[[Runner, Service], Any]:
    def start(runner: Runner, service: Service) -> Any:
        from nova import service as nova_service

        _configure(runner, service.host)
        module = importlib.import_module(rpcapi)
        made = nova_service.Service.create(
            binary=binary,
            host=service.host or _controller(service),
            topic=module.RPC_TOPIC,
            topic_alt=getattr(module, "RPC_TOPIC_ALT", None),
        )
        made.start()
        runner.ready(service)
        return made

    return start


def _controller(service: Service) -> str:
    """As Nova knows it: each of several services of one name needs a host name of its own."""
    return config.CONTROLLER + service.title.removeprefix(service.name)


_START: dict[str, Callable[[Runner, Service], Any]] = {
    "nova-api": _api,
    "nova-conductor": _starter("nova-conductor", "nova.conductor.rpcapi"),
    "nova-scheduler": _starter("nova-scheduler", "nova.scheduler.rpcapi"),
    COMPUTE: _starter("nova-compute", "nova.compute.rpcapi"),
}
