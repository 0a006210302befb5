"""The parent of every process of a lab.

It imports what the services share once and forks them from there, which halves the time of a start
and the memory. What is to run stands in `run/wanted.json`; SIGHUP has it read again: a process that
is missing, or at another generation than wanted, is started anew. What runs is written to
`run/<process>.json`. A process that dies is reported, not restarted: `lab up` does that.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from gpufarm.lab import ports, state
from gpufarm.lab.inside import run
from gpufarm.lab.services import Process, processes
from gpufarm.lab.state import Lab, Run
from gpufarm.system import files
from gpufarm.system.processes import ProcessId, identify

SHARED = (
    "sqlalchemy.orm",
    "alembic",
    "oslo_config.cfg",
    "oslo_log.log",
    "oslo_db.sqlalchemy.enginefacade",
    "oslo_policy.policy",
    "oslo_middleware",
    "oslo_cache",
    "oslo_context.context",
    "keystoneauth1.session",
    "keystonemiddleware.auth_token",
    "cryptography.fernet",
    "jsonschema",
    "requests",
    "routes",
    "webob.dec",
    "paste.deploy",
    "waitress",
)
"""What two or more services import; none registers an option that another would repeat, and none
imports eventlet, which Nova refuses to find imported (nova/monkey_patch.py)."""


class Supervisor:
    def __init__(self, folder: Path, sockets: run.Sockets) -> None:
        self.folder = folder
        self.sockets = sockets
        self.children: dict[int, tuple[Process, Run]] = {}
        self.stopping: set[int] = set()
        """Processes that were told to end: who connects meanwhile waits for the next one."""
        self.nova_preloaded = False

    def serve(self) -> None:
        """Run what is wanted until SIGTERM."""
        watched = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        self.reconcile()
        while True:
            number = signal.sigwaitinfo(watched).si_signo
            if number == signal.SIGTERM:
                self.stop(list(self.children))
                return
            if number == signal.SIGHUP:
                self.reconcile()
            self.reap()

    def reconcile(self) -> None:
        lab = state.load(self.folder)
        generations = state.wanted(self.folder).generations
        current = {process.name: pid for pid, (process, _) in self.children.items()}
        outdated = [
            pid
            for pid, (process, found) in self.children.items()
            if generations.get(process.name) != found.generation
        ]
        self.stop(outdated)
        for process in processes(lab):
            pid = current.get(process.name)
            if process.name in generations and (pid is None or pid in outdated):
                self.start(lab, process, generations[process.name])

    def start(self, lab: Lab, process: Process, generation: int) -> None:
        for service in process.services:
            state.ready_path(self.folder, service.key).unlink(missing_ok=True)
            if service.key in self.sockets:
                self.sockets[service.key].listen(ports.BACKLOG)
        if process.name.startswith("nova") and not self.nova_preloaded:
            from gpufarm.lab.inside import nova

            nova.preload()
            gc.freeze()
            self.nova_preloaded = True
        pid = self.fork(run.Runner(lab, process, generation, self.sockets))
        identity = identify(pid) or ProcessId(pid, time.time())
        self.note(process, Run(process=identity, generation=generation))

    def fork(self, runner: run.Runner) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            self.to_log(runner.process.name)
            gc.enable()
            if self.nova_preloaded and not runner.process.name.startswith("nova"):
                # Nova has registered its options here by now and forbidden eventlet.
                run.exec_anew(runner)
            run.main(runner)
        except BaseException:  # noqa: BLE001 - the last word of a process that is about to end
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)

    def to_log(self, name: str) -> None:
        """Send standard output and error to the process's own file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.folder / "log" / f"{name}.out", flags, files.SECRET)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def refuse(self, process: Process) -> None:
        """Refuse who connects to a process that died: nobody would ever answer."""
        for service in process.services:
            if service.key in self.sockets:
                # On Linux it ends the listening and no more; listen() begins it again.
                self.sockets[service.key].shutdown(socket.SHUT_RDWR)

    def stop(self, pids: list[int]) -> None:
        self.stopping |= set(pids)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while any(pid in self.children for pid in pids):
            self.reap()
            if time.monotonic() > deadline:
                for pid in set(pids) & self.children.keys():
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                process, found = self.children.pop(pid)
                ended = msgspec.structs.replace(
                    found, exit_status=os.waitstatus_to_exitcode(status)
                )
                self.write(process, ended)
                if pid not in self.stopping:
                    self.refuse(process)
                self.stopping.discard(pid)

    def note(self, process: Process, found: Run) -> None:
        self.children[found.process.pid] = (process, found)
        self.write(process, found)

    def write(self, process: Process, found: Run) -> None:
        files.write(self.folder / "run" / f"{process.name}.json", msgspec.json.encode(found))


def main(arguments: list[str]) -> int:
    """`supervisor STATE SOCKETS`: SOCKETS is JSON {service: inherited descriptor}.

    Standard input says when the state folder is prepared: a line "go" means so, and an end without
    it means that the command which started this is gone.
    """
    folder, descriptors = Path(arguments[0]), json.loads(arguments[1])
    os.umask(0o077)  # databases and logs of the services are nobody else's either
    gc.disable()
    sockets = {name: socket.socket(fileno=number) for name, number in descriptors.items()}
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()
    if sys.stdin.readline() != "go\n":
        return 1
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    Supervisor(folder, sockets).serve()
    return 0


def launch(folder: Path, sockets: run.Sockets) -> Callable[[], None]:
    """Start the supervisor of that lab, in a session of its own; returns what tells it to go."""
    descriptors = {name: found.fileno() for name, found in sockets.items()}
    reading, writing = os.pipe()
    with (folder / "log" / "supervisor.out").open("a") as log:
        launched = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, str(folder), json.dumps(descriptors)],
            stdin=reading,
            stdout=log,
            stderr=log,
            pass_fds=list(descriptors.values()),
            start_new_session=True,
            cwd="/",
            env={**os.environ, "EVENTLET_NO_GREENDNS": "yes", "PYTHONUNBUFFERED": "1"},
        )
    os.close(reading)
    identity = identify(launched.pid) or ProcessId(launched.pid, time.time())
    files.write(folder / "run" / "supervisor.json", msgspec.json.encode(identity))

    def go() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
            pipe.write("go\n")

    return go


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
