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
├── NotAdmitted           a server that cannot have its GPU now
├── ServerFailed          a server that Nova gave up on
└── LabError
    ├── LabNotRunning
    ├── LabIncomplete     a part of the environment that the lab needs is missing
    ├── LabBusy           another command changes the same lab
    ├── PortTaken
    ├── DiskFull
    └── ServiceDied

`code` is stable and meant for scripts; the facts are attributes; the text says what is wrong,
where, and what to do.
"""

from typing import ClassVar


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

    def __init__(self, path: str, needed_mb: int, free_mb: int) -> None:
        self.path = path
        self.needed_mb = needed_mb
        self.free_mb = free_mb
        super().__init__(
            f"{path}: {free_mb} MB free, the lab needs {needed_mb} MB: free some, or name another "
            "folder with --state"
        )


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
