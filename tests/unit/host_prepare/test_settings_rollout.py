"""A farm's settings on hosts: what goes where, what is restarted, and every interruption.

The host is a folder; its services remember what they read when they were started.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_host import ModelHost

from gpufarm.cli.host_work import Settings
from gpufarm.host import services
from gpufarm.host.apply import Applied
from gpufarm.host.rollout import TakenBack
from gpufarm.model.errors import (
    HostError,
    HostInterrupted,
    HostNotChanged,
    HostRefused,
    JournalInvalid,
    ServiceNotUp,
)
from gpufarm.model.farm import Farm
from gpufarm.model.host_change import RunCommand, WriteFile
from gpufarm.model.services import Service, Services, restart, restarted
from gpufarm.model.settings import parse
from gpufarm.nova import rollout
from gpufarm.system.agent import Answer

NOVA = rollout.NOVA.lstrip("/")
PLACEMENT = rollout.PLACEMENT.lstrip("/")
RUNS = "active running enabled 1\n"


def farm(**more: Any) -> Farm:
    content = {
        "version": 1,
        "name": "f",
        "release": 34,
        "cards": {
            "k40c": {"vendor_id": "10de", "product_id": "1024"},
            "h100": {"vendor_id": "10de", "product_id": "2330", "hosts": ["hyper2"]},
        },
    }
    return msgspec.convert(content | more, Farm)


def nova_host(top: Path, *names: str, hostname: str = "hyper1") -> ModelHost:
    host = ModelHost(top, "settings")
    host.put("proc/sys/kernel/hostname", f"{hostname}\n")
    host.put("etc/nova/nova.conf", "[DEFAULT]\ntransport_url = rabbit://a:secret@b\n")
    for folder in ("var/lib", "run/services"):
        (host.top / folder).mkdir(parents=True)
    for name in names:
        host.put(f"run/services/{name}", RUNS)
    return host


@pytest.fixture
def compute(tmp_path: Path) -> ModelHost:
    return nova_host(tmp_path / "first" / "root", "nova-compute")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SETTLE_SECONDS", 0.0)


def put(host: ModelHost, wanted: Farm | None = None, *, prune: bool = False) -> Applied:
    return Settings(wanted or farm(), prune=prune).apply(host)


def take_back(host: ModelHost) -> TakenBack:
    return Settings(farm(), prune=False).take_back(host)


def has_read(host: ModelHost, name: str = "nova-compute") -> str | None:
    path = host.top / f"run/services/{name}.read"
    return path.read_text() if path.exists() else None


def run_of(host: ModelHost, name: str = "nova-compute") -> int:
    return int((host.top / "run/services" / name).read_text().split()[-1])


def findings(host: ModelHost) -> list[str]:
    return [each.code for each in Settings(farm(), prune=False).look(host).findings]


def test_a_compute_gets_its_settings_and_reads_them(compute: ModelHost) -> None:
    assert findings(compute) == ["SETTINGS_DIFFER", "RESTART_DUE"]
    done = put(compute)
    assert [type(step) for step in done.steps] == [WriteFile, RunCommand]
    text = (compute.top / NOVA).read_text()
    assert has_read(compute) == text
    (spec,) = parse(text).sections["pci"]["device_spec"]
    assert "1024" in spec
    assert findings(compute) == []


def test_the_second_time_nothing_is_changed_and_nothing_restarted(compute: ModelHost) -> None:
    put(compute)
    before = compute.content()
    assert put(compute).steps == ()
    assert run_of(compute) == 2
    assert compute.content() == before


def test_other_words_for_the_same_restart_nobody(compute: ModelHost) -> None:
    put(compute)
    text = (compute.top / NOVA).read_text()
    (compute.top / NOVA).write_text(f"# a word\n{text.replace(' = ', '=')}")
    assert put(compute).steps == ()


def test_a_host_gets_what_the_name_that_nova_gives_it_is_to_get(tmp_path: Path) -> None:
    host = nova_host(tmp_path / "root", "openstack-nova-compute")
    host.put("etc/nova/nova-compute.conf", "[libvirt]\nhost = no\n[DEFAULT]\nhost = hyper2")
    put(host)
    specs = parse((host.top / NOVA).read_text()).sections["pci"]["device_spec"]
    assert len(specs) == 2
    host.name = "hyper2"
    assert put(host).steps == ()


def test_a_host_that_the_farm_file_calls_otherwise_is_refused(compute: ModelHost) -> None:
    compute.name = "hyper2"
    with pytest.raises(HostRefused, match="calls itself hyper1, which is not the hyper2"):
        put(compute)


@pytest.mark.parametrize(
    ("names", "files", "restarts"),
    [
        (("nova-scheduler", "nova-api"), {NOVA}, "nova-api nova-scheduler"),
        (("openstack-nova-conductor",), {NOVA}, "openstack-nova-conductor"),
        (("nova-compute", "nova-api"), {NOVA}, "nova-compute nova-api"),
        (("placement-api",), set(), ""),
    ],
)
def test_roles(names: tuple[str, ...], files: set[str], restarts: str, tmp_path: Path) -> None:
    host = nova_host(tmp_path / "root", *names)
    words = [step.words for step in put(host).steps if isinstance(step, RunCommand)]
    assert words == ([("systemctl", "restart", *restarts.split())] if restarts else [])
    assert {path for path in (NOVA, PLACEMENT) if (host.top / path).exists()} == files


def test_where_one_machine_is_both_an_alias_stands_once(tmp_path: Path) -> None:
    host = nova_host(tmp_path / "root", "nova-compute", "nova-scheduler")
    put(host)
    sections = parse((host.top / NOVA).read_text()).sections
    assert len(sections["pci"]["alias"]) == 2
    assert sections["filter_scheduler"]["pci_in_placement"] == ("true",)


def test_settings_that_are_needed_no_more_go(tmp_path: Path) -> None:
    host = nova_host(tmp_path / "root", "placement-api")
    flavor = {"vcpus": 1, "memory_mb": 1, "disk_gb": 1, "cards": {"k40c": 8}}
    put(host, farm(flavors={"wide": flavor}))
    assert (host.top / PLACEMENT).exists()
    put(host, farm(flavors={"wide": flavor | {"cards": {"k40c": 1}}}))
    assert not (host.top / PLACEMENT).exists()
    assert run_of(host, "placement-api") == 3


def test_settings_of_other_cards_stay_unless_pruned(compute: ModelHost) -> None:
    other = '{"vendor_id": "1002", "product_id": "740f"}'
    compute.put(NOVA, f"[pci]\ndevice_spec = {other}\n")
    put(compute)
    assert other in (compute.top / NOVA).read_text()
    put(compute, prune=True)
    assert other not in (compute.top / NOVA).read_text()


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("pci", 'alias = {"vendor_id": "10de", "name": "k40c"}'),
        ("pci", 'alias:{"vendor_id": "10de",\n  "name":\n\t"k40c"}\nreport_in_placement = true'),
        ("DEFAULT", 'pci_alias={"name": "k40c"}'),
    ],
)
def test_an_alias_that_stands_elsewhere_too_is_refused(
    section: str, line: str, compute: ModelHost
) -> None:
    path = "etc/nova/nova.conf.d/10-own.conf"
    other = '[pci]\nalias = {"name": "theirs"}\nalias = no JSON\n'
    compute.put(path, f"{other}[{section}]\n{line}\n[x]\nalias = {{}}\n")
    with pytest.raises(HostRefused, match=rf"ALIAS_ELSEWHERE: /{path} has .* too: k40c "):
        put(compute)
    compute.put(path, other)
    put(compute)
    assert findings(compute) == []


def test_a_service_that_was_stopped_stays_so_and_is_found(compute: ModelHost) -> None:
    compute.put("run/services/nova-compute", "inactive dead enabled -\n")
    assert [type(step) for step in put(compute).steps] == [WriteFile]
    assert findings(compute) == ["SERVICE_DOWN"]


def test_what_is_installed_and_not_meant_to_run_counts_for_nothing(compute: ModelHost) -> None:
    compute.put("run/services/nova-api", "inactive dead disabled -\n")
    put(compute)
    assert "filter_scheduler" not in (compute.top / NOVA).read_text()
    compute.put("run/services/nova-compute", "inactive dead disabled -\n")
    with pytest.raises(HostRefused, match="NO_NOVA"):
        put(compute)
    (compute.top / "etc/kolla").mkdir()
    with pytest.raises(HostRefused, match="OTHER_TOOL"):
        put(compute)


def test_a_service_that_does_not_take_them_is_an_error_and_restarted_once_more(
    compute: ModelHost,
) -> None:
    compute.put("run/services/nova-compute.dislikes", "device_spec")
    with pytest.raises(ServiceNotUp, match=r"nova-compute \(activating\)"):
        put(compute)
    assert findings(compute) == ["RESTART_DUE", "SERVICE_DOWN"]
    compute.put("run/services/nova-compute.dislikes", "nothing like it")
    (step,) = put(compute).steps
    assert step.reason == "it has failed"
    assert findings(compute) == []


def test_a_service_that_starts_again_and_again_is_not_up(compute: ModelHost) -> None:
    def crash(_: float) -> None:
        compute.put("run/services/nova-compute", "active running enabled 99\n")

    work = Settings(farm(), prune=False)
    with pytest.raises(ServiceNotUp, match=r"nova-compute \(active\)"):
        services.put(
            compute,
            lambda host: services.look(host, rollout.FILES, rollout.SERVICES),
            lambda found: rollout.plan(farm(), found, "model", prune=False),
            wait=crash,
        )
    assert work.apply(compute).steps == ()


def test_a_restart_that_fails_says_why_and_is_due(compute: ModelHost) -> None:
    script = compute.script
    compute.script = lambda: script().replace("m_restart() {", "m_restart() { call fails; return")  # type: ignore[method-assign]
    with pytest.raises(HostNotChanged, match="systemctl restart nova-compute ended") as caught:
        put(compute)
    assert caught.value.warnings == ("no room",)
    compute.script = script  # type: ignore[method-assign]
    (step,) = put(compute).steps
    assert isinstance(step, RunCommand)
    assert has_read(compute) == (compute.top / NOVA).read_text()


def test_cards_are_taken_back_without_the_settings(compute: ModelHost) -> None:
    put(compute)
    before = compute.content()
    ModelHost(compute.top).ask("rollback")
    assert compute.content() == before


def stopped(host: ModelHost, change: Callable[[ModelHost], Any]) -> Iterator[tuple[ModelHost, str]]:
    """Copies of `host` on which `change` was killed at one moment each."""
    whole = host.copy("whole")
    told: list[str] = []
    ask = whole.ask

    def listening(verb: Any, orders: bytes = b"") -> Answer:
        answer = ask(verb, orders)
        if verb in ("apply", "rollback"):
            told.extend(whole.moments())
        return answer

    whole.ask = listening  # type: ignore[method-assign]
    change(whole)
    assert told
    for number, name in enumerate(told, 1):
        killed = Killed(host.copy(f"killed-{number}").top, "settings")
        killed.at = number
        with pytest.raises(HostInterrupted):
            change(killed)
        yield ModelHost(killed.top, "settings"), f"{number}: {name}"


class Killed(ModelHost):
    """Stops where something changes, not where something is looked at."""

    at = 0

    def ask(self, verb: Any, orders: bytes = b"") -> Answer:
        self.stop = self.at if verb in ("apply", "rollback") else 0
        return super().ask(verb, orders)


def check_read(host: ModelHost, moment: str) -> None:
    """Whoever was restarted at all reads what is there now."""
    path = host.top / NOVA
    now = path.read_text() if path.exists() else ""
    if has_read(host) is not None:
        assert has_read(host) == now, moment


@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_an_apply_that_is_killed_can_be_gone_on_with_and_taken_back(
    compute: ModelHost, second: bool
) -> None:
    before = compute.content()
    wanted = farm(console="spice") if second else farm()
    if second:
        put(compute)
    after = compute.copy("after")
    put(after, wanted)
    text = (after.top / NOVA).read_text()
    for killed, moment in stopped(compute, lambda host: put(host, wanted)):
        other = killed.copy(f"{killed.top.parent.name}-again")
        take_back(killed)
        assert killed.content() == before, moment
        check_read(killed, moment)
        put(other, wanted)
        assert (other.top / NOVA).read_text() == text, moment
        assert has_read(other) == text, moment
        assert put(other, wanted).steps == (), moment
        take_back(other)
        assert other.content() == before, moment
        check_read(other, moment)


def test_a_rollback_that_is_killed_goes_on(compute: ModelHost) -> None:
    before = compute.content()
    put(compute)
    for killed, moment in stopped(compute, take_back):
        other = killed.copy(f"{killed.top.parent.name}-again")
        take_back(killed)
        assert killed.content() == before, moment
        check_read(killed, moment)
        put(other)
        assert has_read(other) == (other.top / NOVA).read_text(), moment


@pytest.mark.parametrize("line", ["nonsense", "service a b", "text x", "service a b c d e f"])
def test_an_answer_that_says_something_else_is_an_error(line: str, compute: ModelHost) -> None:
    compute.ask = lambda *_: Answer((line,), ())  # type: ignore[method-assign]
    with pytest.raises(JournalInvalid):
        services.look(compute, (), ())


def test_nothing_of_nova_conf_is_told_but_the_name(compute: ModelHost) -> None:
    asked = b"file /etc/nova/nova.conf.d/x.conf\nservice nova-compute\n"
    said = "\n".join(compute.ask("services", asked).lines)
    assert "hyper1" in said
    assert "secret" not in said


def test_a_host_without_a_name_is_left_alone(compute: ModelHost) -> None:
    compute.put("proc/sys/kernel/hostname", "\n")
    with pytest.raises(HostError, match="no name"):
        put(compute)


def test_a_command_is_a_restart_or_not() -> None:
    assert restarted(restart(("a", "b"), "").words) == {"a", "b"}
    assert restarted(("systemctl", "restart")) == frozenset()
    assert restarted(("update-grub",)) == frozenset()
    assert restarted(()) == frozenset()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Service,
            st.sampled_from(rollout.SERVICES),
            st.sampled_from(["active", "inactive", "failed", "activating"]),
            st.sampled_from(["running", "dead", "auto-restart"]),
            st.booleans(),
            st.just("1"),
        ),
        unique_by=lambda each: each.name,
        max_size=6,
    ),
    st.dictionaries(st.sampled_from(rollout.FILES), st.text(max_size=40)),
    st.booleans(),
)
def test_a_plan_that_was_carried_out_leaves_nothing_to_write(
    found: list[Service], files: dict[str, str], prune: bool
) -> None:
    services_found = Services(host="hyper1", files=files, services=tuple(found))
    planned = rollout.plan(farm(), services_found, "h", prune=prune)
    for step in planned.steps:
        if isinstance(step, WriteFile):
            files[step.path] = step.text or ""
    again = rollout.plan(
        farm(), Services(host="hyper1", files=files, services=tuple(found)), "h", prune=prune
    )
    assert not [step for step in again.steps if isinstance(step, WriteFile)]


PROVIDERS = rollout.PROVIDERS.lstrip("/")
GPU = {"g1": {"vcpus": 2, "memory_mb": 4096, "disk_gb": 0, "cards": {"k40c": 1}}}


def with_cards(host: ModelHost, *products: str) -> None:
    host.put("proc/cpuinfo", "processor : 0\nflags : x\nprocessor : 1\n" * 12)
    host.put("proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\n")
    for number, product in enumerate(products):
        device = f"sys/bus/pci/devices/0000:0{number}:00.0"
        host.put(f"{device}/vendor", "0x10de\n")
        host.put(f"{device}/device", f"0x{product}\n")


def test_a_hard_reserve_is_put_on_a_host_and_taken_back(compute: ModelHost) -> None:
    with_cards(compute, "1024", "1024", "1b80")
    compute.put("sys/bus/pci/devices/0000:00:00.1/vendor", "0x10de\n")
    compute.put("sys/bus/pci/devices/0000:00:00.1/device", "0x1024\n")
    compute.put("sys/bus/pci/devices/0000:00:00.1/sriov_totalvfs", "16\n")
    hard = farm(flavors=GPU, reserve="hard")
    assert len(put(compute, hard).steps) == 3
    kept = parse((compute.top / NOVA).read_text()).sections["DEFAULT"]
    assert kept == {"reserved_host_cpus": ("4",), "reserved_host_memory_mb": ("8704",)}
    assert "CUSTOM_GPU_VCPU:\n        total: 4" in (compute.top / PROVIDERS).read_text()
    assert put(compute, hard).steps == ()
    put(compute, farm(flavors=GPU))
    assert not (compute.top / PROVIDERS).exists()
    take_back(compute)
    take_back(compute)
    assert not (compute.top / NOVA).exists()


@pytest.mark.parametrize("option", ["cpu_shared_set", "cpu_dedicated_set"])
def test_a_hard_reserve_and_sets_of_cpus_are_refused(compute: ModelHost, option: str) -> None:
    hard = farm(flavors=GPU, reserve="hard")
    compute.put("etc/nova/nova.conf", f"[compute]\n{option} = 0-3\n")
    with pytest.raises(HostRefused, match="does not tell CPUs and memory"):
        put(compute, hard)
    with_cards(compute, "1024")
    with pytest.raises(HostRefused, match=f"forbidden beside {option} in /etc/nova/nova.conf"):
        put(compute, hard)
    with_cards(compute, "1b80")
    put(compute, hard)
    assert not (compute.top / PROVIDERS).exists()
