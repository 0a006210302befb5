"""Whether something answers on the network: SSH, or a web page.

What is decided here: what counts as an answer. Of SSH it is the banner, of a web page any status,
under any certificate: it shows that the service is up, and nothing is sent to it or taken from it.
"""

import contextlib
import http.client
import socket
import ssl
from urllib.parse import urlsplit

SECONDS = 3.0
SSH_PORT = 22


def ssh(address: str, port: int = SSH_PORT) -> bool:
    try:
        with socket.create_connection((address, port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def web(url: str) -> bool:
    """Of an http or https URL, which is asked once: what it redirects to is not."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Without a port it would look for one in an IPv6 address.
    if parts.scheme == "https":
        port = parts.port or http.client.HTTPS_PORT
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=SECONDS, context=ssl_context()
        )
    else:
        port = parts.port or http.client.HTTP_PORT
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status > 0
        except (OSError, ValueError, http.client.HTTPException):
            return False


def ssl_context() -> ssl.SSLContext:
    """That takes any certificate: a server that was made a moment ago has one of its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
