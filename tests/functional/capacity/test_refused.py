"""Clouds that do not answer, and credentials that are not good enough."""

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gpu_farm import capacity, create_words
from running_lab import RunningLab

from gpufarm.lab import state
from gpufarm.system import files

pytestmark = pytest.mark.lab


def complain(lab: RunningLab, **environment: str) -> str:
    """What `gpufarm capacity` says, once it has failed as it should."""
    other = RunningLab(lab.state, {**lab.env, **environment})
    done = other.run("capacity", check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    message = done.stderr.strip()
    assert message.startswith("error: ")
    return message


def with_auth(lab: RunningLab, **changed: str) -> str:
    """Path of a clouds.yaml like the lab's, with that changed below `auth`."""
    clouds = yaml.safe_load((lab.state / "clouds.yaml").read_text())
    clouds["clouds"][state.CLOUD]["auth"].update(changed)
    path = lab.state / f"clouds-{secrets.token_hex(4)}.yaml"
    files.write(path, yaml.safe_dump(clouds), files.SECRET)
    return str(path)


def test_a_wrong_password(lab: RunningLab) -> None:
    said = complain(lab, OS_CLIENT_CONFIG_FILE=with_auth(lab, password="hunter2"))
    assert "credentials were not accepted" in said
    assert "hunter2" not in said


def test_a_cloud_that_does_not_answer(lab: RunningLab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v3"
        said = complain(lab, OS_CLIENT_CONFIG_FILE=with_auth(lab, auth_url=address))
    assert address in said
    assert "Connection refused" in said


def test_a_cloud_that_no_file_has(lab: RunningLab) -> None:
    assert "nowhere" in complain(lab, OS_CLOUD="nowhere")


@pytest.fixture
def member(lab: RunningLab) -> Iterator[dict[str, str]]:
    """Credentials of a user who is a member of the project and no administrator."""
    identity = lab.connection.identity
    password = secrets.token_hex(8)
    user = identity.create_user(name="t-member", password=password)
    role = identity.find_role("member") or identity.create_role(name="member")
    project = identity.get_project(lab.connection.current_project_id)
    identity.assign_project_role_to_user(project, user, role)
    yield {"username": "t-member", "password": password}
    identity.delete_user(user)


def test_a_user_without_rights_creates_a_server(farm: RunningLab, member: dict[str, str]) -> None:
    """Nobody but administrators may read Placement: Nova alone decides, and that is said."""
    file = with_auth(farm, **member)
    done = RunningLab(farm.state, {**farm.env, "OS_CLIENT_CONFIG_FILE": file}).run(
        *create_words("t-1", "t.1080"), "-f", "json"
    )
    assert "not checked beforehand" in done.stderr
    assert json.loads(done.stdout)["status"] == "ACTIVE"


def test_a_user_without_rights(lab: RunningLab, member: dict[str, str]) -> None:
    said = complain(lab, OS_CLIENT_CONFIG_FILE=with_auth(lab, **member))
    assert "not allowed" in said
    assert member["password"] not in said


POLICY = Path(__file__).parents[3] / "examples" / "policy"
READER = "gpufarm_reader"


@pytest.fixture
def reader(farm: RunningLab, member: dict[str, str]) -> Iterator[RunningLab]:
    """As a user of two roles, `reader` and one of our own, with the policies of the examples."""
    identity = farm.connection.identity
    user, project = identity.find_user("t-member"), farm.connection.current_project_id
    member_role = identity.find_role("member")
    roles = [identity.find_role(name) for name in ("reader", READER)]
    roles = [
        role or identity.create_role(name=name)
        for role, name in zip(roles, ("reader", READER), strict=True)
    ]
    for role in roles:
        identity.assign_project_role_to_user(project, user, role)
    identity.unassign_project_role_from_user(project, user, member_role)
    files_ = {name: farm.state / "etc" / name / "policy.yaml" for name in ("nova", "placement")}
    for name, path in files_.items():
        path.write_text((POLICY / f"{name}-policy.yaml").read_text())
    yield RunningLab(farm.state, {**farm.env, "OS_CLIENT_CONFIG_FILE": with_auth(farm, **member)})
    for path in files_.values():
        # The services do not forget a file that goes away.
        path.write_text("{}\n")


def test_a_reader_with_the_policies(farm: RunningLab, reader: RunningLab) -> None:
    """Sees what an administrator sees, and can change nothing."""
    assert capacity(reader) == capacity(farm)
    assert json.loads(reader.run("explain", "t.k40c", "-f", "json").stdout)["admitted"]
    refused = reader.run(*create_words("t-1", "t.k40c"), check=False)
    assert refused.returncode == 1
    assert "not allowed" in refused.stderr
    assert list(farm.connection.compute.servers()) == []


def test_a_reader_without_the_policies(lab: RunningLab, member: dict[str, str]) -> None:
    said = complain(lab, OS_CLIENT_CONFIG_FILE=with_auth(lab, **member))
    assert "placement:resource_providers:list" in said
