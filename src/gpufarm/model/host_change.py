"""The steps that prepare a host, as values."""

import difflib
from typing import Any, Literal

import msgspec

from gpufarm.model.change import Action, FieldChange
from gpufarm.model.finding import Finding

Kind = Literal["file", "sysfs", "command", "reboot"]
DEVICES = "/sys/bus/pci/devices"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`needs_reboot`: takes effect with the next boot, not at once."""

    reason: str
    needs_reboot: bool = False


class WriteFile(Step, frozen=True, kw_only=True):
    """`text` None: the file goes. `was` None: there is none."""

    path: str
    text: str | None
    was: str | None
    mode: int = 0o644


class BindFunction(Step, frozen=True, kw_only=True):
    """A function goes to `driver`: at once, or at boot where `needs_reboot`."""

    address: str
    driver: str
    was: str | None
    override: str | None


class ReleaseFunction(Step, frozen=True, kw_only=True):
    """A function goes back to whichever driver of the host wants it."""

    address: str
    was: str | None
    override: str | None


class RemoveFunction(Step, frozen=True, kw_only=True):
    """A function is taken off the bus."""

    address: str
    was: str | None


class RestoreFunction(Step, frozen=True, kw_only=True):
    """The bus is looked through again for a function that was taken off it."""

    address: str


class RunCommand(Step, frozen=True, kw_only=True):
    """`alters` are patterns of paths of which it may write any; `undo` makes those files anew once
    what it was run for is gone."""

    words: tuple[str, ...]
    alters: tuple[str, ...]
    undo: tuple[str, ...]


class Reboot(Step, frozen=True, kw_only=True):
    pass


FunctionStep = BindFunction | ReleaseFunction | RemoveFunction | RestoreFunction


class HostPlan(msgspec.Struct, frozen=True):
    """Either `steps`, or `refusals` that say why there are none."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Finding, ...] = ()

    @property
    def feasible(self) -> tuple[Step, ...]:
        """What can be carried out now; empty where only a reboot is left to do."""
        left = [each for each in self.steps if not isinstance(each, Reboot)]
        waiting = all(isinstance(each, FunctionStep) and each.needs_reboot for each in left)
        return () if waiting else tuple(left)

    @property
    def words(self) -> str:
        return f"{len(self.steps)} changes" if self.steps else "nothing to do"

    @property
    def needs_reboot(self) -> bool:
        return any(isinstance(each, Reboot) for each in self.steps)


class HostChange(msgspec.Struct, frozen=True):
    """A step as it is shown, in the words of every plan."""

    action: Action
    kind: Kind
    name: str
    changes: tuple[FieldChange, ...]
    reason: str
    needs_reboot: bool


def shown(step: Step) -> HostChange:
    action, kind, name, changes = _parts(step)
    return HostChange(action, kind, name, changes, step.reason, step.needs_reboot)


def _parts(step: Step) -> tuple[Action, Kind, str, tuple[FieldChange, ...]]:
    match step:
        case WriteFile():
            return _file_action(step), "file", step.path, (FieldChange("diff", None, diff(step)),)
        case RunCommand():
            return "change", "command", " ".join(step.words), ()
        case BindFunction() | ReleaseFunction() | RemoveFunction() | RestoreFunction():
            action, changes = _of_function(step)
            return action, "sysfs", f"{DEVICES}/{step.address}", changes
        case _:
            return "change", "reboot", "host", ()


def _of_function(step: FunctionStep) -> tuple[Action, tuple[FieldChange, ...]]:
    match step:
        case BindFunction():
            driver, override = (step.was, step.driver), (step.override, step.driver)
            return "change", _changed(driver=driver, driver_override=override)
        case ReleaseFunction():
            changes = _changed(driver=(step.was, None), driver_override=(step.override, None))
            return "change", changes
        case RemoveFunction():
            return "remove", _changed(driver=(step.was, None))
    return "create", ()


def _file_action(step: WriteFile) -> Action:
    if step.text is None:
        return "remove"
    return "create" if step.was is None else "change"


def _changed(**fields: tuple[Any, Any]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(name, *pair) for name, pair in fields.items() if pair[0] != pair[1])


def diff(step: WriteFile) -> str:
    """Unified, with /dev/null for no file."""
    return "".join(
        difflib.unified_diff(
            (step.was or "").splitlines(keepends=True),
            (step.text or "").splitlines(keepends=True),
            "/dev/null" if step.was is None else step.path,
            "/dev/null" if step.text is None else step.path,
        )
    )
