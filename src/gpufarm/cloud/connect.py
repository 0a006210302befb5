"""Connecting to an OpenStack cloud, and putting what it answers into our own errors.

What is decided here: which API versions are spoken, how long an answer may take, and which of our
errors stands for which failure. Which cloud it is, is left to openstacksdk's configuration.
"""

import contextlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from gpufarm.model.errors import (
    CloudConflict,
    CloudError,
    CloudRefused,
    CloudUnreachable,
    NotInCloud,
)

if TYPE_CHECKING:
    from openstack.connection import Connection

COMPUTE_MICROVERSION = "2.96"
"""The highest that Nova 29 knows (api/openstack/compute/rest_api_version_history.rst)."""

PLACEMENT_MICROVERSION = "1.39"
"""The highest since Yoga (placement/rest_api_version_history.rst)."""

CONNECT_SECONDS = 5.0
# A list of thousands of servers takes Nova tens of seconds.
ANSWER_SECONDS = 120.0

OVER_QUOTA = ("quota", "is over a limit")
"""In what Nova says of its own quotas (nova/exception.py) and of Keystone's limits
(oslo_limit/exception.py); both are HTTP 403."""

HOW_TO_NAME_A_CLOUD = (
    "name one with --os-cloud or OS_CLOUD (from clouds.yaml) or the OS_* variables, or start one "
    "with `gpufarm lab up`"
)


def connect(cloud: str | None = None, clouds_file: Path | None = None) -> "Connection":
    """An authenticated connection to `cloud`, or to the one that the environment names.

    With `clouds_file` only that file is read, and the environment is not. Raises CloudError.
    """
    with faults("connecting", cloud):
        from openstack.config import OpenStackConfig

        config = OpenStackConfig(
            config_files=[str(clouds_file)] if clouds_file else None,
            load_envvars=clouds_file is None,
        )
    return connect_as(config, cloud)


def connect_as(config: Any, cloud: str | None = None, options: Any = None) -> "Connection":
    """As `connect`, with the configuration and parsed options of openstackclient.

    Raises CloudError.
    """
    with faults("connecting", cloud):
        from openstack.connection import Connection

        return _settle(Connection(config=config.get_one(cloud=cloud, argparse=options)))


def _settle(connection: "Connection") -> "Connection":
    """`connection` with our API versions and time limits, authenticated."""
    # keystoneauth takes one number for both in its constructor, and hands the attribute to
    # requests, which takes a pair.
    connection.session.timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
    connection.session.get_token()
    # Not through the configuration, where they contradict an OS_COMPUTE_API_VERSION.
    connection.compute.default_microversion = COMPUTE_MICROVERSION
    connection.placement.default_microversion = PLACEMENT_MICROVERSION
    return connection


@contextlib.contextmanager
def faults(doing: str, cloud: str | None = None) -> Iterator[None]:
    """Turn what openstacksdk and the libraries below it raise into CloudError and its children.

    `doing` says what was being done ("reading flavors"). No message holds a password: the
    libraries' texts hold addresses and the server's answers only, and user and password are cut
    out of addresses.
    """
    try:
        yield
    except Exception as error:
        ours = translate(error, doing, cloud)
        if ours is None:
            raise
        raise ours from error


def translate(error: Exception, doing: str, cloud: str | None = None) -> CloudError | None:
    """The CloudError that stands for `error`; None where it does not come from the cloud."""
    import requests.exceptions
    from keystoneauth1 import exceptions as auth
    from openstack import exceptions as sdk

    where = f"{doing}: cloud {cloud}" if cloud else doing
    status = getattr(error, "status_code", None) or getattr(error, "http_status", None)
    if isinstance(status, int):
        return _from_status(error, status, where)
    fix = ""
    # openstacksdk's HttpException without a response (it found nothing of a name) is a
    # RequestException too.
    unanswered = isinstance(error, requests.exceptions.RequestException)
    # A discovery that fails hides why it failed: mostly nobody listens there.
    if isinstance(error, auth.ConnectionError | auth.DiscoveryFailure) or (
        unanswered and not isinstance(error, sdk.HttpException)
    ):
        return CloudUnreachable(
            f"{where}: {_unanswered(error)}: check the address (auth_url) and that the cloud runs"
        )
    if isinstance(error, auth.AuthPluginException | sdk.ConfigException):
        fix = f": {HOW_TO_NAME_A_CLOUD}"
    elif isinstance(error, auth.EndpointNotFound | sdk.EndpointNotFound):
        fix = ": the catalog does not have that service under this region and interface"
    elif not isinstance(error, sdk.SDKException | auth.ClientException):
        return None
    return CloudError(f"{where}: {_one_line(error)}{fix}")


def _from_status(error: Exception, status: int, where: str) -> CloudError:
    address = _address(error)
    at = f"{where}: {address}" if address else where
    said = _said(error)
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.NOT_FOUND if _of_login(status, address):
            return CloudRefused(
                f"{at}: the credentials were not accepted (HTTP {status}): check user name, "
                "password, project and their domains; a token may have expired: get a new one"
            )
        case HTTPStatus.FORBIDDEN if any(words in said.lower() for words in OVER_QUOTA):
            return CloudRefused(f"{at}: {said} (HTTP 403): delete something, or ask for more quota")
        case HTTPStatus.FORBIDDEN:
            return CloudRefused(
                f"{at}: these credentials are not allowed to do that (HTTP 403): {said}: an "
                "administrator's are needed"
            )
        case HTTPStatus.NOT_FOUND if missing := _missing(address):
            return NotInCloud(*missing, fix=f"{where}: it may have been removed meanwhile")
        case HTTPStatus.NOT_ACCEPTABLE:
            said += ": Nova 29 (2024.1) or newer is needed, and its Placement"
        case HTTPStatus.CONFLICT:
            return CloudConflict(f"{at}: {said} (HTTP 409): look again and repeat")
    return CloudError(f"{at}: {said} (HTTP {status})")


def _of_login(status: int, address: str) -> bool:
    """Keystone does not know a token that has expired or was revoked: HTTP 404."""
    return status == HTTPStatus.UNAUTHORIZED or address.endswith("/v3/auth/tokens")


def _said(error: Exception) -> str:
    """The server's own words."""
    response = getattr(error, "response", None)
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, AttributeError):
        # Placement's form (api-ref, Errors), which openstacksdk does not read.
        return _one_line(response.json()["errors"][0]["detail"])  # type: ignore[union-attr]
    said = getattr(error, "details", None) or getattr(error, "message", None) or error
    return re.sub(r" \(HTTP \d+\).*", "", _one_line(said))


def _unanswered(error: Exception) -> str:
    """Whom nothing came from, and the reason at the end of the libraries' chain of texts."""
    text = _one_line(error)
    reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    return text.split(": HTTP")[0] + (f" ({reason[1]})" if reason else "")


def _address(error: Exception) -> str:
    url: Any = getattr(error, "url", None) or getattr(getattr(error, "response", None), "url", None)
    if not isinstance(url, str):
        return ""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _missing(address: str) -> tuple[str, str] | None:
    """("flavor", ID) from .../flavors/ID."""
    kind, _, name = urlsplit(address).path.rstrip("/").rpartition("/")
    kind = kind.rpartition("/")[2]
    if not kind.endswith("s") or not name:
        return None
    return kind.removesuffix("s").removeprefix("os-").replace("_", " "), name


def _one_line(text: object) -> str:
    words = re.sub(r"//[^/@\s]*@", "//", " ".join(str(text).split()))
    return words.rstrip(". ") or type(text).__name__
