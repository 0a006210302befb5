"""Repairs: what is done, what is left, and what a fault at each step leaves behind."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from claims_layers import NOW, layers

from gpufarm.claims import repair as repairs
from gpufarm.claims.findings import Finding, findings
from gpufarm.claims.steps import EndMigration, GiveBack, Release
from gpufarm.model.claims import Layers, ServerState
from gpufarm.model.errors import CloudConflict, CloudUnreachable, DatabaseError, RepairStopped
from gpufarm.system import ledger

CASES = Path(__file__).parents[2] / "cases" / "claims"
PATIENCE = 600.0
STUCK = "killed-in-finish-migration"
REPAIRABLE = (
    "card-of-the-scheduler-and-card-of-the-compute",
    "left-behind-on-the-source",
    "given-to-another",
    STUCK,
    "killed-before-it-arrived",
    "killed-in-confirm",
    "row-kept-for-a-move-that-failed",
    "migration-of-a-deleted-server",
    "killed-in-spawn",
    "error-after-the-restart",
    "consumer-of-nobody",
    "host-gone",
)


def case(name: str) -> Layers:
    facts: dict[str, Any] = yaml.safe_load((CASES / f"{name}.yaml").read_text())
    return layers(facts)


class ModelCloud:
    """The layers themselves, changed as the services would; each call may fail or be refused."""

    def __init__(self, facts: Layers) -> None:
        self.facts = facts
        self.calls: list[str] = []
        self.writes: list[str] = []
        self.fails: dict[int, Exception] = {}

    def found(self) -> tuple[Finding, ...]:
        return findings(self.facts, PATIENCE)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        fault = self.fails.get(len(self.calls) - 1)
        if fault:
            raise fault

    def still(self, finding: Finding) -> bool:
        self._call("still")
        return finding in self.found()

    def server(self, server_id: str) -> ServerState | None:
        self._call("server")
        return self.facts.nova.servers.get(server_id)

    def _nova(self, **changed: Any) -> None:
        nova = msgspec.structs.replace(self.facts.nova, **changed)
        self.facts = msgspec.structs.replace(self.facts, nova=nova)

    def set_state(self, server_id: str, state: str) -> None:
        self._call("set_state")
        self.writes.append(f"{state} {server_id}")
        status = {"error": "ERROR", "active": "ACTIVE"}[state]
        server = self.facts.nova.servers[server_id]
        server = msgspec.structs.replace(server, status=status, task=None)
        self._nova(servers={**self.facts.nova.servers, server_id: server})

    def delete(self, server_id: str) -> None:
        self._call("delete")
        self.writes.append(f"delete {server_id}")
        servers = {key: each for key, each in self.facts.nova.servers.items() if key != server_id}
        rows = tuple(row for row in self.facts.nova.rows or () if row.server != server_id)
        self._nova(servers=servers, rows=rows)
        self._release(server_id, None)

    def release(self, step: Release) -> Any:
        self._call("release")
        held = self._held(step.consumer, step.held)
        self.writes.append(f"release {step.consumer}")
        self._release(step.consumer, None if step.everything else set(step.held))
        return held

    def give_back(self, step: GiveBack) -> Any:
        self._call("give_back")
        held = self._held(step.migration, step.held)
        self.writes.append(f"give back {step.migration} to {step.server}")
        self._release(step.migration, None)
        self._release(step.server, None)
        placement = tuple(
            msgspec.structs.replace(
                each, allocations={**each.allocations, step.server: held[each.uuid]}
            )
            if each.uuid in held
            else each
            for each in self.facts.placement
        )
        self.facts = msgspec.structs.replace(self.facts, placement=placement)
        return None

    def _held(self, consumer: str, expected: Any) -> Any:
        """What the consumer holds, by provider; CloudConflict where that is not as expected."""
        held = {
            each.uuid: each.allocations[consumer]
            for each in self.facts.placement
            if consumer in each.allocations
        }
        if any(held.get(uuid) != amounts for uuid, amounts in expected.items()):
            raise CloudConflict("409")
        return held

    def _release(self, consumer: str, uuids: set[str] | None) -> None:
        placement = tuple(
            msgspec.structs.replace(
                each,
                allocations={
                    key: amounts
                    for key, amounts in each.allocations.items()
                    if key != consumer or (uuids is not None and each.uuid not in uuids)
                },
            )
            for each in self.facts.placement
        )
        self.facts = msgspec.structs.replace(self.facts, placement=placement)

    def end_migration(self, step: EndMigration) -> bool:
        self._call("end_migration")
        migrations = dict(self.facts.nova.migrations)
        if migrations.pop(step.migration.uuid, None) != step.migration:
            return False
        self.writes.append(f"end {step.migration.uuid}")
        # nova-compute frees at its next report what the migration held on the other side.
        server = self.facts.nova.servers[step.migration.server]
        rows = tuple(
            row
            for row in self.facts.nova.rows or ()
            if row.server != server.id or row.hypervisor == f"{server.host}.example"
        )
        self._nova(migrations=migrations, rows=rows)
        return True

    def remove_provider(self, uuid: str) -> None:
        self._call("remove_provider")
        if any(each.uuid == uuid and each.allocations for each in self.facts.placement):
            raise CloudConflict("409")
        self.writes.append(f"remove {uuid}")
        placement = tuple(each for each in self.facts.placement if each.uuid != uuid)
        self.facts = msgspec.structs.replace(self.facts, placement=placement)


def run(cloud: ModelCloud, folder: Path, *, write: bool = True) -> tuple[repairs.Outcome, ...]:
    book = ledger.Ledger(folder, "repair")
    return repairs.repair(cloud, cloud.found(), book, lambda _: None, database_write=write)


def written(folder: Path) -> list[dict[str, Any]]:
    if not folder.exists():
        return []
    return [entry for path in sorted(folder.iterdir()) for entry in ledger.read(path)]


@pytest.mark.parametrize("name", REPAIRABLE)
def test_repaired_there_is_nothing_more_to_do(name: str, tmp_path: Path) -> None:
    cloud = ModelCloud(case(name))
    assert any(outcome.done for outcome in run(cloud, tmp_path))
    left = [each for each in cloud.found() if each.steps]
    assert left == []
    writes = list(cloud.writes)
    run(cloud, tmp_path)
    assert cloud.writes == writes
    assert [entry["state"] for entry in written(tmp_path)].count("begun") >= 1


@pytest.mark.parametrize("name", REPAIRABLE)
@pytest.mark.parametrize(
    "fault",
    [
        CloudUnreachable("no answer"),
        CloudConflict("409"),
        DatabaseError("gone"),
        KeyboardInterrupt(),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_at_any_call_and_the_next_run_finishes(
    name: str, fault: Exception, tmp_path: Path
) -> None:
    calls = ModelCloud(case(name))
    run(calls, tmp_path / "all")
    for number in range(len(calls.calls)):
        cloud = ModelCloud(case(name))
        cloud.fails = {number: fault}
        folder = tmp_path / str(number)
        if isinstance(fault, CloudConflict):
            assert not all(outcome.done for outcome in run(cloud, folder))
        else:
            with pytest.raises(type(fault)):
                run(cloud, folder)
        # Nothing was written that the ledger did not hold before.
        begun = [each for each in written(folder) if each["state"] == "begun"]
        assert len(begun) * 2 >= len(cloud.writes)
        cloud.fails = {}
        run(cloud, folder)
        assert [each for each in cloud.found() if each.steps] == []


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_what_is_not_safe_is_never_touched(name: str, tmp_path: Path) -> None:
    cloud = ModelCloud(case(name))
    unsafe = [each for each in cloud.found() if not each.safe]
    outcomes = run(cloud, tmp_path)
    if len(unsafe) == len(outcomes):
        assert cloud.writes == []
    assert all(not outcome.done for outcome in outcomes if not outcome.finding.safe)


def test_the_database_is_written_only_where_it_is_allowed(tmp_path: Path) -> None:
    cloud = ModelCloud(case(STUCK))
    (outcome,) = run(cloud, tmp_path, write=False)
    assert "--allow-database-write" in outcome.said
    assert cloud.writes == []
    run(cloud, tmp_path)
    assert cloud.writes == ["active s", "end m", "release m"]


def test_what_went_away_meanwhile_is_left_alone(tmp_path: Path) -> None:
    cloud = ModelCloud(case("consumer-of-nobody"))
    found = cloud.found()
    cloud.facts = msgspec.structs.replace(cloud.facts, at=NOW + 1)
    cloud._release("ghost", None)
    book = ledger.Ledger(tmp_path, "repair")
    (outcome,) = repairs.repair(cloud, found, book, lambda _: None, database_write=True)
    assert "meanwhile" in outcome.said
    assert cloud.writes == []


def test_nothing_is_done_that_cannot_be_written_down(tmp_path: Path) -> None:
    cloud = ModelCloud(case("consumer-of-nobody"))
    (tmp_path / "file").write_text("")
    with pytest.raises(RepairStopped, match="cannot be written"):
        run(cloud, tmp_path / "file")
    assert cloud.writes == []


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    book = ledger.Ledger(tmp_path, "repair")
    book.write(state="begun")
    book.write(state="done")
    whole = book.path.read_bytes()
    book.path.write_bytes(whole[:-5])
    assert [entry["state"] for entry in ledger.read(book.path)] == ["begun"]
    assert json.loads(whole.splitlines()[1])["state"] == "done"
