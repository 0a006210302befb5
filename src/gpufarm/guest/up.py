"""When a server counts as up (SC-4): as soon as what its user asked for answers.

What is decided here: what is looked at, and which URL of an image may be asked: one of the server's
own address alone, since whoever owns the image has written it.
"""

import time
from collections.abc import Callable
from typing import Literal, Protocol
from urllib.parse import urlsplit

from gpufarm.model.errors import ServerFailed
from gpufarm.model.server import Server
from gpufarm.system import reach as from_here

Sign = Literal["active", "console", "ssh", "url"]
SIGNS: tuple[Sign, ...] = ("active", "console", "ssh", "url")

URL_PROPERTY = "service_url"
CONSOLE_ENDS = ("login:", "guest: ready")
WAIT_SECONDS = 2.0

Console = Callable[[], str]


class Reach(Protocol):
    """Looks from some machine at what answers on its networks, as `system.reach` does from here."""

    def ssh(self, address: str) -> bool: ...
    def web(self, url: str) -> bool: ...


def sign(server: Server, image: dict[str, str], *, simulated: bool) -> Sign:
    """What is waited for where nothing was asked for: ACTIVE where the server has no address, or a
    `simulated` one; otherwise the image's `service_url` where it has one, and SSH."""
    if simulated or not addresses(server):
        return "active"
    return "url" if image.get(URL_PROPERTY) else "ssh"


def service_urls(server: Server, image: dict[str, str]) -> list[str]:
    """The image's URL with each address of the server. Raises ServerFailed for one that is none, or
    that leads elsewhere."""
    given = image.get(URL_PROPERTY)
    if not given:
        raise ServerFailed(server.name, f"it is ACTIVE, and its image has no {URL_PROPERTY}")
    found = []
    for address in addresses(server):
        url = given.replace("{}", f"[{address}]" if ":" in address else address)
        if not _leads_to(url, address):
            raise ServerFailed(
                server.name,
                f"it is ACTIVE, and {URL_PROPERTY} of its image, {given!r}, is not followed: it "
                "has to be http or https, with {} for the server's address as the host",
            )
        found.append(url)
    return found


def _leads_to(url: str, address: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and parts.hostname == address.lower()
            and parts.username is None
            and (parts.port or 1) > 0
        )
    except ValueError:
        return False


def addresses(server: Server) -> list[str]:
    return [address for found in server.addresses.values() for address in found]


def wait(
    server: Server,
    what: Sign,
    image: dict[str, str],
    console: Console,
    told: Callable[[str], None],
    *,
    seconds: float,
    reach: Reach = from_here,
) -> None:
    """Return once it answers, as seen by `reach`.

    Raises ServerFailed, which says what did not, CloudError, and what `reach` raises.
    """
    if what == "active":
        return
    looks, said = _looks(server, what, image, console, reach)
    told(f"{server.name}: waiting for {said}")
    deadline = time.monotonic() + seconds
    while not any(look() for look in looks):
        if time.monotonic() >= deadline:
            raise ServerFailed(
                server.name,
                f"it is ACTIVE on {server.host or 'its host'}, and {said} did not come within "
                f"{seconds:g} seconds: look with `openstack console log show {server.id}`, or be "
                "content with ACTIVE (--until active)",
            )
        time.sleep(min(WAIT_SECONDS, max(0.0, deadline - time.monotonic())))


def _looks(
    server: Server, what: Sign, image: dict[str, str], console: Console, reach: Reach
) -> tuple[list[Callable[[], bool]], str]:
    """What to ask, and its name."""
    if what == "console":
        words = " or ".join(repr(each) for each in CONSOLE_ENDS)
        return [lambda: any(end in console() for end in CONSOLE_ENDS)], f"{words} on its console"
    found = addresses(server)
    if not found:
        raise ServerFailed(
            server.name, f"it is ACTIVE and has no address, at which {what} could be tried"
        )
    if what == "ssh":
        return [
            lambda address=each: reach.ssh(address)  # type: ignore[misc]
            for each in found
        ], f"SSH at {' or '.join(found)}"
    urls = service_urls(server, image)
    return [
        lambda url=each: reach.web(url)  # type: ignore[misc]
        for each in urls
    ], f"an answer at {' or '.join(urls)}"
