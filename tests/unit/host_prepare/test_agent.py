"""How the agent is started and what its answers mean."""

import subprocess
from pathlib import Path

import pytest

from gpufarm.model.errors import HostInterrupted, HostNotChanged, JournalInvalid
from gpufarm.system import agent, journal
from gpufarm.system.agent import Answer
from gpufarm.system.run import Done


def answering(stdout: bytes, status: int = 0, stderr: bytes = b"") -> agent.Runner:
    def start(verb: str, orders: bytes) -> Done:
        return Done(status, stdout, stderr)

    return start


def test_what_a_login_shell_says_first_is_passed_over() -> None:
    runner = answering(b"welcome\nfailed login: 3\ngpufarm-agent 1\nstep 1 a\nwarning w\nend\n")
    assert agent.ask(runner, "h", "apply") == Answer(("step 1 a",), ("w",))


@pytest.mark.parametrize(
    "stdout", [b"", b"gpufarm-agent 1\n", b"gpufarm-agent 1\nstep 1 a\n", b"end\n"]
)
def test_an_answer_without_an_end_is_an_interruption(stdout: bytes) -> None:
    with pytest.raises(HostInterrupted, match=r"h: apply was interrupted \(status -9: sh: no\)"):
        agent.ask(answering(stdout, -9, b"sh: no\n"), "h", "apply")


def test_what_an_agent_says_cannot_drive_a_terminal() -> None:
    runner = answering(b"gpufarm-agent 1\nfailed \x1b[2J\xff\nend\n", 3)
    with pytest.raises(HostNotChanged) as caught:
        agent.ask(runner, "h", "apply")
    assert caught.value.problem == "\\x1b[2J\\xff"


@pytest.mark.parametrize(
    "orders",
    [b"", b"gpufarm-orders 2\nend\n", b"gpufarm-orders 1\nfile 0644 3 /etc/x\nonly one\n"],
)
def test_orders_that_end_early_or_are_others_change_nothing(orders: bytes, tmp_path: Path) -> None:
    with pytest.raises(HostNotChanged):
        agent.ask(agent.here(str(tmp_path)), "h", "apply", orders)
    assert {path.name for path in tmp_path.rglob("*")} <= {"run", "gpufarm.lock", "var", "lib"}


def test_values_are_never_read_as_shell(tmp_path: Path) -> None:
    evil = "$(touch hacked) `touch hacked` '; touch hacked; # \" \\ * ~ ${IFS}"
    orders = f"gpufarm-orders 1\nnote {evil}\nfile 0600 1 /etc/{evil}\n{evil}\nend\n".encode()
    runner = agent.here(str(tmp_path))
    agent.ask(runner, "h", "apply", orders)
    assert (tmp_path / f"etc/{evil}").read_text() == f"{evil}\n"
    assert journal.parse("h", agent.ask(runner, "h", "show")).notes == (evil,)
    agent.ask(runner, "h", "rollback")
    assert not [path for path in tmp_path.rglob("*") if "hacked" in path.name]
    assert not (tmp_path / "etc").exists()
    assert not Path("hacked").exists()


def test_one_at_a_time_and_the_next_one_waits(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run/gpufarm.lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "1"]):
        while subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode == 0:
            pass
        orders = b"gpufarm-orders 1\nfile 0600 1 /x\nx\nend\n"
        agent.ask(agent.here(str(tmp_path)), "h", "apply", orders)
        assert subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode == 0


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x").symlink_to("/dev/null")
    with pytest.raises(HostNotChanged, match="/etc/x is no plain file"):
        agent.ask(
            agent.here(str(tmp_path)), "h", "apply", b"gpufarm-orders 1\nabsent /etc/x\nend\n"
        )
    assert (tmp_path / "etc/x").is_symlink()


def test_a_file_that_others_changed_is_made_anew_instead_of_put_back(tmp_path: Path) -> None:
    """A kernel that was installed meanwhile must not leave the boot menu with a rollback."""
    (tmp_path / "boot").mkdir()
    image, other = tmp_path / "boot/initrd.img-1", tmp_path / "boot/initrd.img-2"
    image.write_text("old\n")
    make, remake = (
        ("sh", "-c", f"for i in {tmp_path}/boot/initrd.img-*; do echo {word} >$i; done")
        for word in ("ours", "remade")
    )
    lines = ["run 1 3 3", "/boot/initrd.img-*", *make, *remake]
    orders = "\n".join(["gpufarm-orders 1", *lines, "end", ""]).encode()
    runner = agent.here(str(tmp_path))
    agent.ask(runner, "h", "apply", orders)
    assert image.read_text() == "ours\n"
    other.write_text("of a newer kernel, with ours in it\n")
    answer = agent.ask(runner, "h", "rollback")
    assert any("undone by sh -c" in line for line in answer.lines)
    assert (image.read_text(), other.read_text()) == ("remade\n", "remade\n")
    assert not (tmp_path / "var/lib/gpufarm").exists()


@pytest.mark.parametrize(
    "line", ["step", "step 1 odd file x", "apply", "apply x", "note x", "nonsense"]
)
def test_a_journal_that_says_something_else_is_an_error(line: str) -> None:
    with pytest.raises(JournalInvalid):
        journal.parse("h", Answer((line,), ()))


def test_every_part_is_in_the_text_and_it_ends_with_main() -> None:
    folder = Path(agent.__file__).parent
    assert {path.stem for path in folder.glob("*.sh")} == set(agent.PARTS)
    assert agent.text().endswith("\nmain\n")
