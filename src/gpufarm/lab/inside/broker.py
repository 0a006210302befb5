"""RabbitMQ from the distribution's package, on a port and in a folder of the lab's own.

Erlang's port mapper (epmd) would otherwise be started as a daemon that outlives everybody; here it
is a process of the lab like the others.
"""

import os
import shutil
from pathlib import Path

from gpufarm.lab.state import Lab
from gpufarm.model.errors import LabIncomplete

PROCESSES = ("epmd", "rabbitmq")


def rabbitmq_server() -> Path:
    """The server's own script: the one on the PATH insists on root or the user rabbitmq."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found or shutil.which("epmd") is None:
        raise LabIncomplete(
            "split mode needs RabbitMQ, which is not installed here: "
            "`apt-get install rabbitmq-server`, or use --mode single"
        )
    return found[-1]


def become(lab: Lab, name: str) -> None:
    """Turn this process into epmd or RabbitMQ; does not return."""
    folder, port = lab.path("rabbit"), str(lab.ports["epmd"])
    if name == "epmd":
        program = shutil.which("epmd") or "epmd"
        os.execve(program, ["epmd", "-port", port, "-address", "127.0.0.1"], dict(os.environ))
    program = str(rabbitmq_server())
    os.execve(program, [program], {**os.environ, **_environment(lab, folder)})


def _environment(lab: Lab, folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder),  # where Erlang keeps the cookie, random and 0400
        "ERL_EPMD_PORT": str(lab.ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"gpufarm{lab.ports['rabbitmq']}@localhost",
        "RABBITMQ_DIST_PORT": str(lab.ports["rabbitmq-peers"]),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # The script then becomes the server instead of staying its parent, so that the lab's
        # signals reach it.
        "RUNNING_UNDER_SYSTEMD": "true",
        # One scheduler that sleeps when idle: a broker for a handful of processes.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 1:1 +sbwt none +P 65536 +t 1048576 -kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }
