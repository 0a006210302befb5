"""What is done to one host of many, from its first change to the proof after the reboot."""

import msgspec

from gpufarm.host.apply import Applied, prepare, reboot, refuse_guests, roll_back
from gpufarm.host.ids import Names
from gpufarm.host.target import Target
from gpufarm.host.verify import verify
from gpufarm.model.errors import HostUnequal
from gpufarm.model.finding import Finding
from gpufarm.model.host_spec import HostSpec
from gpufarm.system import journal


class Looked(msgspec.Struct, frozen=True):
    findings: tuple[Finding, ...]

    @property
    def words(self) -> str:
        return f"{len(self.findings)} findings" if self.findings else "in order"


class TakenBack(msgspec.Struct, frozen=True):
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"{len(self.lines)} changes taken back" if self.lines else "nothing to take back"


def look(target: Target, spec: HostSpec, names: Names) -> Looked:
    """Verify it, with what its journal remembers."""
    notes = journal.parse(target.name, target.ask("show")).notes
    return Looked(verify(target.facts(), spec, notes, names))


def prepare_and_reboot(target: Target, spec: HostSpec, names: Names) -> Applied:
    """Prepare it, reboot it where that changed something or is due, and verify it.

    Raises HostHeld before the reboot where a VM has a card, HostUnequal where verify finds
    anything, and what `prepare` and `reboot` raise.
    """
    applied = prepare(target, spec, names)
    if applied.steps or applied.needs_reboot:
        refuse_guests(target)
        reboot(target)
    found = look(target, spec, names).findings
    if found:
        raise HostUnequal(target.name, tuple(f"{each.code}: {each.message}" for each in found))
    return msgspec.structs.replace(applied, needs_reboot=False)


def take_back(target: Target, *, reboots: bool) -> TakenBack:
    lines, warnings = roll_back(target)
    if lines and reboots:
        refuse_guests(target)
        reboot(target)
    return TakenBack(lines, warnings)
