"""The one tree of errors.

GpufarmError
├── DocumentError         a YAML document that cannot be taken as it is
├── HostImpossible        a simulated host that no machine could be
├── FarmError             a farm file whose parts contradict each other or the cloud
│   └── FeatureMissing    a farm asks for what its Nova release lacks
├── CloudError            OpenStack did not do what was asked
│   ├── CloudUnreachable
│   ├── CloudRefused      credentials wrong, or rights missing
│   ├── CloudConflict     somebody else changed the same thing
│   └── NotInCloud
├── ClaimsError           a claim that cannot be looked at or put right
│   ├── CordonError       a card that cannot be closed or opened as asked
│   ├── DatabaseError     Nova's database, or how it was named
│   ├── DomainInvalid     a text that is no libvirt domain
│   ├── LedgerInvalid     a file that is no ledger of a repair
│   └── RepairStopped     a repair met what it did not expect, and the rest was not begun
├── NotAdmitted           a server that cannot have its GPU now
├── ServerFailed          a server that Nova gave up on
├── ServerNotMoved        a server that is not on another host
├── HostError             a machine could not be looked at
│   ├── HostUnreachable   no answer over SSH, or not from a shell
│   ├── CaptureInvalid    a file that is no capture, or not a whole one
│   ├── ProgramError      a program on this machine did not do its work
│   │   ├── ProgramMissing
│   │   └── ProgramTimedOut
│   ├── HostRefused       a card cannot be given away
│   │   └── HostHeld      a process uses it
│   ├── HostNotChanged    a step could not be carried out
│   ├── HostInterrupted   what changes a host was ended before its end
│   ├── HostNotBack       a host did not come back from its reboot
│   ├── HostUnequal       a host is not as planned after everything was done
│   ├── ServiceNotUp      a service did not stay up after its restart
│   ├── JournalInvalid    what a host says of earlier changes cannot be read
│   └── InventoryInvalid  a list of hosts that cannot be taken as it is
├── SimulationError       a simulation that cannot be run
│   ├── TraceInvalid      a file of nodes or requests that cannot be taken as it is
│   ├── SimulationImpossible
│   └── PartMissing       a library that only this command needs
└── LabError
    ├── LabNotRunning
    ├── LabIncomplete     a part of the environment that the lab needs is missing
    ├── LabBusy           another command changes the same lab
    ├── PortTaken
    ├── DiskFull
    ├── ServiceDied
    ├── CommandFailed     a program that the lab runs failed or took too long
    ├── NoVirtualHost
    └── VirtualHostFailed a virtual host that did not come up, or ended

`code` is stable and meant for scripts; the facts are attributes; the text says what is wrong,
where, and what to do.
"""

from typing import ClassVar

from gpufarm.model.finding import Finding


class GpufarmError(Exception):
    """Anything that ends a command with exit status 1 and one message."""

    code: ClassVar[str] = "ERROR"


class DocumentError(GpufarmError):
    """`path` is where in the document (`$.cards.k40c.vendor_id`), `$` for all of it."""

    code = "DOCUMENT"

    def __init__(self, file: str, path: str, problem: str) -> None:
        self.file = file
        self.path = path
        self.problem = problem
        super().__init__(f"{file}: at {path}: {problem}")


class HostImpossible(GpufarmError):
    """`problems` names every contradiction found in the host file."""

    code = "HOST_IMPOSSIBLE"

    def __init__(self, file: str, host: str, problems: tuple[str, ...]) -> None:
        self.file = file
        self.host = host
        self.problems = problems
        super().__init__(f"{file}: host {host} cannot exist: {'; '.join(problems)}")


class FarmError(GpufarmError):
    """`subject` is what the farm file says it about (`flavor g1.gpu`)."""

    code = "FARM"

    def __init__(self, subject: str, problem: str) -> None:
        self.subject = subject
        self.problem = problem
        super().__init__(f"{subject}: {problem}")


class FeatureMissing(FarmError):
    """`since` is the Nova major version that brought `feature`."""

    code = "FEATURE_MISSING"

    def __init__(self, subject: str, feature: str, release: int, since: int, since_name: str):
        self.feature = feature
        self.release = release
        self.since = since
        super().__init__(
            subject,
            f"{feature} exists since Nova {since} ({since_name}), the farm file says release "
            f"{release}: drop it or upgrade Nova",
        )


class CloudError(GpufarmError):
    code = "CLOUD"


class CloudUnreachable(CloudError):
    code = "CLOUD_UNREACHABLE"


class CloudRefused(CloudError):
    code = "CLOUD_REFUSED"


class CloudConflict(CloudError):
    code = "CLOUD_CONFLICT"


class NotInCloud(CloudError):
    code = "NOT_IN_CLOUD"

    def __init__(self, kind: str, name: str, fix: str = "") -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"the cloud has no {kind} {name!r}" + (f": {fix}" if fix else ""))


class ClaimsError(GpufarmError):
    code = "CLAIMS"


class CordonError(ClaimsError):
    code = "CORDON"


class DatabaseError(ClaimsError):
    code = "DATABASE"


class DomainInvalid(ClaimsError):
    code = "DOMAIN_INVALID"

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class LedgerInvalid(ClaimsError):
    code = "LEDGER_INVALID"

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: no ledger of `gpufarm claims repair`: {problem}")


class RepairStopped(ClaimsError):
    code = "REPAIR_STOPPED"


class NotAdmitted(GpufarmError):
    """The server was not asked for, since it could not have started."""

    code = "NOT_ADMITTED"

    def __init__(self, flavor: str, problem: str) -> None:
        self.flavor = flavor
        self.problem = problem
        super().__init__(f"flavor {flavor}: {problem}")


class ServerFailed(GpufarmError):
    code = "SERVER_FAILED"

    def __init__(self, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"server {server}: {problem}")


class ServerNotMoved(GpufarmError):
    """`back`: it is where it was, and nothing is under way."""

    code = "SERVER_NOT_MOVED"

    def __init__(self, server: str, problem: str, *, back: bool = False) -> None:
        self.server = server
        self.problem = problem
        self.back = back
        super().__init__(f"server {server} was not moved: {problem}")


class HostError(GpufarmError):
    code = "HOST"


class HostUnreachable(HostError):
    """`destination` is what was given to ssh."""

    code = "HOST_UNREACHABLE"

    def __init__(self, destination: str, problem: str) -> None:
        self.destination = destination
        self.problem = problem
        super().__init__(f"{destination}: {problem}")


class CaptureInvalid(HostError):
    code = "CAPTURE_INVALID"

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class ProgramError(HostError):
    code = "PROGRAM"

    def __init__(self, program: str, problem: str) -> None:
        self.program = program
        self.problem = problem
        super().__init__(f"{program}: {problem}")


class ProgramMissing(ProgramError):
    code = "PROGRAM_MISSING"

    def __init__(self, program: str) -> None:
        super().__init__(program, "there is no such program on this machine: install it")


class ProgramTimedOut(ProgramError):
    """`seconds` is the limit that it was given."""

    code = "PROGRAM_TIMED_OUT"

    def __init__(self, program: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(program, f"did not end within {seconds:g} s and was killed")


class HostRefused(HostError):
    """`reasons` are findings that say why, and what to do."""

    code = "HOST_REFUSED"

    def __init__(self, host: str, reasons: tuple[Finding, ...]) -> None:
        self.host = host
        self.reasons = reasons
        listed = "; ".join(f"{each.code}: {each.message} (fix: {each.fix})" for each in reasons)
        super().__init__(f"{host}: nothing was changed. {listed}")


class HostHeld(HostRefused):
    """`held` says of each process `ADDRESS PID COMMAND`, or the node in place of the address."""

    code = "HOST_HELD"

    def __init__(self, host: str, held: tuple[str, ...]) -> None:
        self.held = held
        reasons = []
        for each in held:
            address, _, process = each.partition(" ")
            reasons.append(
                Finding(
                    code="CARD_IN_USE",
                    severity="error",
                    address=address,
                    message=f"{address} is used by process {process}",
                    fix="end it first",
                    blocks=True,
                )
            )
        super().__init__(host, tuple(reasons))


class HostNotChanged(HostError):
    """`warnings` are the last words of what failed."""

    code = "HOST_NOT_CHANGED"

    def __init__(self, host: str, problem: str, warnings: tuple[str, ...] = ()) -> None:
        self.host = host
        self.problem = problem
        self.warnings = warnings
        said = "".join(f"\n  {line}" for line in warnings)
        super().__init__(
            f"{host}: {problem}. What was done before it is kept: put it right and apply again, or "
            f"`gpufarm host rollback` with the same options{said}"
        )


class HostInterrupted(HostError):
    """`status` is the exit status, negative for a signal."""

    code = "HOST_INTERRUPTED"

    def __init__(self, host: str, verb: str, status: int, said: str) -> None:
        self.host = host
        self.verb = verb
        self.status = status
        super().__init__(
            f"{host}: {verb} was interrupted (status {status}{': ' if said else ''}{said}): apply "
            "again to go on, or `gpufarm host rollback` with the same options to go back"
        )


class HostNotBack(HostError):
    """`seconds` were waited."""

    code = "HOST_NOT_BACK"

    def __init__(self, host: str, seconds: float) -> None:
        self.host = host
        self.seconds = seconds
        super().__init__(
            f"{host}: not back {seconds:g} s after its reboot: look at its console; once it is up, "
            "`gpufarm host verify` or `gpufarm host rollback`"
        )


class HostUnequal(HostError):
    """`left` names what a new plan still wants to change."""

    code = "HOST_UNEQUAL"

    def __init__(self, host: str, left: tuple[str, ...]) -> None:
        self.host = host
        self.left = left
        super().__init__(
            f"{host}: everything was done, and still not as planned: {', '.join(left)}; "
            "`gpufarm host plan` shows it"
        )


class ServiceNotUp(HostError):
    """`services` are those that were restarted, with their state."""

    code = "SERVICE_NOT_UP"

    def __init__(self, host: str, services: tuple[str, ...]) -> None:
        self.host = host
        self.services = services
        name = services[0].split()[0]
        super().__init__(
            f"{host}: not up after a restart: {', '.join(services)}: see `journalctl -u {name}`; "
            "put it right and apply again, or `gpufarm host rollback` with the same options"
        )


class JournalInvalid(HostError):
    code = "JOURNAL_INVALID"

    def __init__(self, host: str, line: str) -> None:
        self.host = host
        self.line = line
        super().__init__(
            f"{host}: what its agent says of /var/lib/gpufarm cannot be read: {line[:80]!r}"
        )


class InventoryInvalid(HostError):
    code = "INVENTORY_INVALID"

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class SimulationError(GpufarmError):
    code = "SIMULATION"


class TraceInvalid(SimulationError):
    """`line` counts from 1; 0 for all of the file."""

    code = "TRACE_INVALID"

    def __init__(self, file: str, line: int, problem: str) -> None:
        self.file = file
        self.line = line
        self.problem = problem
        super().__init__(f"{file}: {f'line {line}: ' if line else ''}{problem}")


class SimulationImpossible(SimulationError):
    code = "SIMULATION_IMPOSSIBLE"


class PartMissing(SimulationError):
    """`extra` of gpufarm's brings it."""

    code = "PART_MISSING"

    def __init__(self, problem: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{problem}: `pip install 'gpufarm[{extra}]'`")


class LabError(GpufarmError):
    code = "LAB"


class LabNotRunning(LabError):
    code = "LAB_NOT_RUNNING"

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"no lab runs in {state}: start one with `gpufarm lab up`")


class LabIncomplete(LabError):
    code = "LAB_INCOMPLETE"


class LabBusy(LabError):
    code = "LAB_BUSY"


class PortTaken(LabError):
    code = "PORT_TAKEN"

    def __init__(self, service: str, port: int) -> None:
        self.service = service
        self.port = port
        super().__init__(
            f"{service}: port {port} on 127.0.0.1 is taken by another program: end it, or drop the "
            "fixed port to have one chosen"
        )


class DiskFull(LabError):
    code = "DISK_FULL"

    def __init__(
        self,
        path: str,
        needed_mb: int,
        free_mb: int,
        fix: str = "free some, or name another folder with --state",
    ) -> None:
        self.path = path
        self.needed_mb = needed_mb
        self.free_mb = free_mb
        super().__init__(f"{path}: {free_mb} MB free, the lab needs {needed_mb} MB: {fix}")


class ServiceDied(LabError):
    """`lines` are the last lines that the service wrote."""

    code = "SERVICE_DIED"

    def __init__(self, service: str, log: str, lines: tuple[str, ...]) -> None:
        self.service = service
        self.log = log
        self.lines = lines
        super().__init__(
            f"{service} died while the lab was starting; everything was stopped again. "
            f"Its last lines (whole log: {log}):\n  " + "\n  ".join(lines or ("(it wrote none)",))
        )


class CommandFailed(LabError):
    """`lines` are the last lines that `program` wrote."""

    code = "COMMAND_FAILED"

    def __init__(self, program: str, problem: str, lines: tuple[str, ...]) -> None:
        self.program = program
        self.problem = problem
        self.lines = lines
        super().__init__(
            f"{program} {problem}; its last lines:\n  " + "\n  ".join(lines or ("(it wrote none)",))
        )


class NoVirtualHost(LabError):
    code = "NO_VIRTUAL_HOST"

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        self.name = name
        self.names = names
        super().__init__(
            f"there is no virtual host {name}; "
            + (f"there are: {', '.join(names)}" if names else "`gpufarm lab host up` starts one")
        )


class VirtualHostFailed(LabError):
    """`folder` has its logs; `lines` are the last ones."""

    code = "VIRTUAL_HOST_FAILED"

    def __init__(self, name: str, problem: str, folder: str, lines: tuple[str, ...] = ()) -> None:
        self.name = name
        self.problem = problem
        self.folder = folder
        self.lines = lines
        super().__init__(
            f"virtual host {name}: {problem} (logs: {folder})" + "".join(f"\n  {x}" for x in lines)
        )
