"""Options of the test suite."""

import signal
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate",
        action="store_true",
        help="write golden files anew instead of comparing with them; review the diff",
    )

    parser.addoption(
        "--churn",
        type=int,
        metavar="N",
        help="so many operations in the churn of claims (default: as many as a minute takes)",
    )


def pytest_configure() -> None:
    """Ctrl-C ends programs that tests start, also where this runs in the background of a shell,
    which has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--regenerate"))


HOSTS = frozenset(
    {
        "real",
        "test_guests_of_hosts.py",
        "test_prepare_hosts.py",
        "test_rehearse_host.py",
        "test_rollout_settings.py",
        "test_virtual_hosts.py",
    }
)
"""Of tests/functional: what runs on virtual hosts, which want the machine for themselves."""


def shared(nodeid: str) -> str:
    """What a test shares with others: these stay in one of the processes of `make test`."""
    path = Path(nodeid.partition("::")[0])
    if path.parts[:2] != ("tests", "functional"):
        return str(path)
    name = path.parts[2]
    if name in HOSTS:
        return "virtual hosts"
    return "lab" if name == "capacity" or name.endswith(".py") else name


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By `shared`; the largest part first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared(nodeid)

    return ByWhatIsShared(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        on_hosts = item.get_closest_marker("virthost") is not None
        assert on_hosts == (shared(item.nodeid) == "virtual hosts"), f"{item.nodeid}: see HOSTS"
