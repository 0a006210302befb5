"""Which of our errors stands for what a cloud answers, or does not."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from gpufarm.cloud.connect import connect, faults, translate
from gpufarm.model.errors import (
    CloudConflict,
    CloudError,
    CloudRefused,
    CloudUnreachable,
    NotInCloud,
)

SECRET = "hunter2"


class Answers(BaseHTTPRequestHandler):
    """Answers /STATUS/... with that status, in the form of Nova or of Placement."""

    def do_GET(self) -> None:
        _, status, form, *_ = self.path.split("/")
        text = {
            "nova": json.dumps({"itemNotFound": {"message": "Said by Nova.", "code": 1}}),
            "placement": json.dumps(
                {"errors": [{"title": "T", "detail": "Said by\n \nPlacement.\n"}]}
            ),
            "quota": json.dumps({"forbidden": {"message": "Quota exceeded for cores", "code": 1}}),
            "limit": json.dumps(
                {"forbidden": {"message": "Project p is over a limit for [...]", "code": 1}}
            ),
            "html": "<html><body><h1>502 Bad Gateway</h1></body></html>",
            "nothing": "",
        }[form].encode()
        self.send_response(int(status))
        self.send_header("Content-Type", "text/html" if form == "html" else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def answered(url: str) -> CloudError:
    """What openstacksdk makes of the answer, translated."""
    with pytest.raises(CloudError) as caught, faults("reading flavors", "lab"):
        sdk.raise_from_response(requests.get(url, timeout=5))
    return caught.value


@pytest.mark.parametrize(
    ("path", "kind", "parts"),
    [
        ("/401/nova", CloudRefused, ["credentials were not accepted", "HTTP 401"]),
        ("/403/nova", CloudRefused, ["not allowed", "Said by Nova", "HTTP 403"]),
        ("/403/quota", CloudRefused, ["Quota exceeded", "ask for more quota"]),
        ("/403/limit", CloudRefused, ["over a limit", "ask for more quota"]),
        ("/404/nova/v3/auth/tokens", CloudRefused, ["not accepted (HTTP 404)", "get a new one"]),
        ("/404/nova/flavors/f-1", NotInCloud, ["no flavor 'f-1'"]),
        ("/404/nova/os-aggregates/7", NotInCloud, ["no aggregate '7'"]),
        ("/404/placement/resource_providers/u", NotInCloud, ["no resource provider 'u'"]),
        ("/404/nova/flavor", CloudError, ["Said by Nova", "HTTP 404"]),
        ("/406/nova", CloudError, ["Nova 29"]),
        ("/409/nova", CloudConflict, ["Said by Nova", "look again"]),
        ("/409/placement", CloudConflict, ["Said by Placement"]),
        ("/400/placement", CloudError, ["Said by Placement", "HTTP 400"]),
        ("/500/nothing", CloudError, ["HTTP 500"]),
        ("/502/html", CloudError, ["Bad Gateway", "HTTP 502"]),
    ],
)
def test_statuses(address: str, path: str, kind: type[CloudError], parts: list[str]) -> None:
    error = answered(address + path)
    assert type(error) is kind
    for part in (*parts, "reading flavors"):
        assert part in str(error)
    assert "\n" not in str(error)


def test_user_and_password_are_cut_out_of_addresses(address: str) -> None:
    url = address.replace("//", f"//admin:{SECRET}@") + "/500/nova"
    assert SECRET not in str(answered(url))
    unanswered = auth.ConnectFailure(f"Unable to connect to http://admin:{SECRET}@127.0.0.1:9/v3")
    translated = translate(unanswered, "connecting")
    assert translated is not None
    assert SECRET not in str(translated)


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (auth.ConnectFailure("no route"), CloudUnreachable, "check the address"),
        (auth.SSLError("certificate"), CloudUnreachable, "certificate"),
        (auth.DiscoveryFailure("no versions"), CloudUnreachable, "no versions"),
        (requests.exceptions.ReadTimeout("slow"), CloudUnreachable, "slow"),
        (auth.EndpointNotFound("placement"), CloudError, "catalog"),
        (sdk.ConfigException("Cloud x was not found."), CloudError, "--os-cloud"),
        (auth.MissingRequiredOptions([]), CloudError, "--os-cloud"),
        (sdk.NotFoundException("No Flavor found for x"), CloudError, "No Flavor found for x"),
        (sdk.DuplicateResource("More than one Image exists"), CloudError, "More than one"),
    ],
)
def test_libraries(error: Exception, kind: type[CloudError], part: str) -> None:
    translated = translate(error, "reading flavors")
    assert type(translated) is kind
    assert part in str(translated)


def test_what_is_no_answer_of_a_cloud_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), faults("dividing"):
        _ = 1 // 0


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without OS_* variables and clouds.yaml."""
    import os

    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("no_environment")
def test_no_cloud_named() -> None:
    with pytest.raises(CloudError, match="--os-cloud"):
        connect()


@pytest.mark.usefixtures("no_environment")
def test_an_unknown_cloud() -> None:
    with pytest.raises(CloudError, match="nowhere"):
        connect("nowhere")


def clouds(path: Path, url: str) -> Path:
    path.write_text(
        f"clouds: {{c: {{auth: {{auth_url: '{url}', username: u, password: {SECRET}, "
        "project_name: p, user_domain_id: default, project_domain_id: default}}}\n"
    )
    return path


def test_nobody_listens(tmp_path: Path, closed_port: int) -> None:
    file = clouds(tmp_path / "clouds.yaml", f"http://127.0.0.1:{closed_port}/v3")
    with pytest.raises(CloudUnreachable, match=f"127.0.0.1:{closed_port}.*Connection refused") as e:
        connect("c", file)
    assert SECRET not in str(e.value)


def test_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds: [a: {")
    with pytest.raises(CloudError):
        connect("c", file)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
