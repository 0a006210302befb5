"""Plans of hosts as data: a machine and a host spec in, steps or refusals out (cases/host_plan).

`machine` is what differs from a fresh machine of `system` (see host_machines), `host` names one of
tests/hosts instead. `--regenerate` writes the outcome of each case anew.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from host_machines import HOSTS, build, describe, load

from gpufarm.host import facts
from gpufarm.host.plan import plan
from gpufarm.model.facts import HostFacts
from gpufarm.model.host_change import HostPlan, RunCommand, Step, WriteFile, diff, shown
from gpufarm.model.host_spec import HostSpec
from gpufarm.system.capture import open_root
from gpufarm.system.root import Folder

CASES = sorted((Path(__file__).parents[2] / "cases" / "host_plan").glob("*.yaml"))
EXPECTED = "\noutcome:"

FRESH: dict[str, Any] = {
    "functions": {
        "0000:42:00.0": {"driver": "nouveau"},
        "0000:42:00.1": {"driver": "snd_hda_intel"},
    },
    "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet",
    "vfio": [],
    "files": {
        "/etc/default/grub": None,
        "/etc/modprobe.d/vfio.conf": None,
        "/etc/os-release": "ID=debian\n",
    },
}
DEBIAN = {
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
    "/boot/grub/grub.cfg": "\tlinux\t/vmlinuz root=/dev/sda1 ro quiet\n",
    "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
    "/usr/sbin/update-grub": "",
    "/usr/sbin/update-initramfs": "",
}
RHEL = {
    "/etc/os-release": "ID=rhel\nVERSION_ID=9.4\n",
    "/etc/default/grub": "GRUB_ENABLE_BLSCFG=true\n",
    "/boot/loader/entries/a.conf": "version 6.1.0-18-amd64\noptions root=/dev/sda1 ro\n",
    "/usr/sbin/grubby": "",
    "/usr/bin/dracut": "",
}
SYSTEMS: dict[str, dict[str, Any]] = {"debian": DEBIAN, "rhel": RHEL, "unknown": {}}


class Case(msgspec.Struct, forbid_unknown_fields=True):
    spec: dict[str, Any]
    system: str = "debian"
    machine: dict[str, Any] = {}
    host: str | None = None
    outcome: Any = None


def read(path: Path) -> Case:
    return msgspec.convert(yaml.safe_load(path.read_text()), Case)


def facts_of(case: Case, top: Path) -> HostFacts:
    if case.host and case.host.endswith(".json"):
        return facts.read(open_root(HOSTS / case.host))
    if case.host:
        return facts.read(Folder(build(top, load(HOSTS / case.host))))
    fresh = describe(FRESH)
    fresh["files"] |= SYSTEMS[case.system]
    return facts.read(Folder(build(top, describe(case.machine, fresh))))


def spec_of(case: Case) -> HostSpec:
    return msgspec.convert({"version": 1, **case.spec}, HostSpec)


def summary(found: HostPlan) -> dict[str, list[str]]:
    """Steps in one line each, the texts of files that say which functions, and refusals."""
    told: dict[str, list[str]] = {}
    if found.steps:
        told["steps"] = [line for step in found.steps for line in _lines(step)]
    if found.refusals:
        told["refusals"] = [
            f"{each.code} {each.address or '-'}: {each.message}" for each in found.refusals
        ]
    return told


SHOWN = ("functions", "gpufarm.cfg", "kernel-words")


def _lines(step: Step) -> list[str]:
    change = shown(step)
    fields = ", ".join(f"{each.field}: {each.from_} -> {each.to}" for each in change.changes)
    waits = " (at boot)" if change.needs_reboot else ""
    if isinstance(step, WriteFile):
        whole = step.path.endswith(SHOWN)
        text = [line for line in diff(step).splitlines()[3:] if line[:2] not in ("+#", "-#", " #")]
        return [f"{change.action} {step.path}{waits}", *(text if whole else ())]
    if isinstance(step, RunCommand):
        return [f"run {change.name}{waits}"]
    return [f"{change.action} {change.name} {fields}{waits}: {change.reason}"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_is_as_the_case_says(path: Path, tmp_path: Path, regenerate: bool) -> None:
    case = read(path)
    outcome = summary(plan(facts_of(case, tmp_path), spec_of(case)))
    if regenerate:
        start = path.read_text().partition(EXPECTED)[0].rstrip("\n")
        found = {"outcome": outcome}
        dumped = yaml.safe_dump(found, sort_keys=False, width=10_000, allow_unicode=True)
        path.write_text(f"{start}\n{dumped}")
    assert read(path).outcome == outcome


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_nothing_unsafe_is_ever_set(path: Path, tmp_path: Path) -> None:
    case = read(path)
    for step in plan(facts_of(case, tmp_path), spec_of(case)).steps:
        text = " ".join(step.words) if isinstance(step, RunCommand) else ""
        text += (step.text or "") if isinstance(step, WriteFile) else ""
        assert "allow_unsafe_interrupts" not in text
        assert "pcie_acs_override" not in text
        assert "noiommu" not in text


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 30
