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
