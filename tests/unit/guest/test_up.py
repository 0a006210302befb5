"""When a server counts as up: what is asked, and what an image's URL may lead to."""

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.guest import up
from gpufarm.model.errors import ProgramError, ServerFailed
from gpufarm.model.server import Server
from gpufarm.system import reach, reach_from
from gpufarm.system.reach_from import From
from gpufarm.system.run import Done, run

HERE = Server(id="s", name="t", status="ACTIVE", host="h", addresses={"net": ("127.0.0.1",)})
NOWHERE = Server(id="s", name="t", status="ACTIVE", host="h")


def wait(
    server: Server,
    what: up.Sign,
    image: dict[str, str],
    console: str = "",
    seen_from: up.Reach = reach,
) -> list[str]:
    said: list[str] = []
    up.wait(server, what, image, lambda: console, said.append, seconds=0, reach=seen_from)
    return said


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> From:
    """Another machine, whose shell is the one of this."""

    def run_there(
        _: str, command: str, *, stdin: bytes, timeout: float, config: Path | None
    ) -> Done:
        return run(["sh", "-c", command], timeout=timeout, stdin=stdin)

    monkeypatch.setattr(reach_from.ssh, "run_there", run_there)
    return From("there")


@pytest.fixture
def web() -> Iterator[int]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503 if self.path == "/busy" else 404)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_any_page_is_an_answer(web: int) -> None:
    image = {"service_url": f"http://{{}}:{web}/busy"}
    assert wait(HERE, "url", image) == [f"t: waiting for an answer at http://127.0.0.1:{web}/busy"]


def test_a_page_of_an_ipv6_address_without_a_port() -> None:
    server = msgspec.structs.replace(HERE, addresses={"net": ("100::1",)})
    with pytest.raises(ServerFailed, match=r"at http://\[100::1\]/ did not come"):
        wait(server, "url", {"service_url": "http://{}/"})


def test_the_same_from_another_machine(web: int, there: From) -> None:
    image = {"service_url": f"http://{{}}:{web}/busy"}
    assert wait(HERE, "url", image, seen_from=there)
    assert not there.web("http://127.0.0.1:1/$(exit 0)'; exit 0; '")
    assert not there.ssh("127.0.0.1; exit 0")


def test_another_machine_that_cannot_look(monkeypatch: pytest.MonkeyPatch, there: From) -> None:
    monkeypatch.setattr(reach_from, "CALL", "raise SystemExit(1)")
    with pytest.raises(ProgramError, match="exit status 1 on there"):
        there.ssh("127.0.0.1")


def test_what_is_waited_for() -> None:
    image = {"service_url": "https://{}/"}
    assert up.sign(HERE, image, simulated=False) == "url"
    assert up.sign(HERE, image, simulated=True) == "active"
    assert up.sign(NOWHERE, image, simulated=False) == "active"
    assert up.sign(HERE, {}, simulated=False) == "ssh"
    assert up.sign(HERE, {}, simulated=True) == "active"
    assert up.sign(NOWHERE, {}, simulated=False) == "active"


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match="did not come within 0 seconds"):
            wait(HERE, "url", {"service_url": f"https://{{}}:{port}/"})
        assert not reach.ssh("127.0.0.1", port)


@pytest.mark.parametrize(("banner", "is_ssh"), [(b"SSH-2.0-x\r\n", True), (b"220 mail\r\n", False)])
def test_ssh_is_its_banner(banner: bytes, is_ssh: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(banner)

        threading.Thread(target=greet, daemon=True).start()
        assert reach.ssh("127.0.0.1", server.getsockname()[1]) is is_ssh


def test_the_console() -> None:
    assert wait(HERE, "console", {}, "Debian 12\nhost login: ")
    with pytest.raises(ServerFailed, match="on its console did not come"):
        wait(HERE, "console", {}, "Booting")


def test_without_an_address() -> None:
    with pytest.raises(ServerFailed, match="has no address"):
        wait(NOWHERE, "ssh", {})
    assert wait(NOWHERE, "active", {}) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "https://{}.example.org/",
        "https://example.org/?{}",
        "https://{}@example.org/",
        "https://user@{}/",
        "file:///{}",
        "https://{}:99999/",
        "{}",
    ],
)
def test_a_url_that_leads_elsewhere_is_not_followed(url: str) -> None:
    with pytest.raises(ServerFailed, match="not followed"):
        up.service_urls(HERE, {"service_url": url})


@given(st.text())
def test_any_text_of_an_image_leads_to_the_server_or_nowhere(text: str) -> None:
    try:
        found = up.service_urls(HERE, {"service_url": text})
    except ServerFailed:
        return
    assert all("127.0.0.1" in url for url in found)
