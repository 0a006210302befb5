"""Options of the test suite."""

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


@pytest.fixture(scope="session")
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--regenerate"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a lab or virtual hosts stay in one of the processes of `make test`.

    First of all, since xdist reads the groups in a hook of the same name.
    """
    for item in items:
        group = _shared(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))


def _shared(item: pytest.Item) -> str | None:
    if item.get_closest_marker("virthost"):
        return "virtual hosts"
    if "lab" in getattr(item, "fixturenames", ()):
        return "lab"
    if "functional" not in item.path.parts:
        return None
    alone = item.path.parent.name == "functional"
    return item.path.stem if alone else item.path.parent.name
