"""Which Nova release brought what: one table, from the sources of Nova 29.0.0 to 34.0.0."""

from typing import Final

from gpufarm.model.errors import FarmError, FeatureMissing

NAMES: Final = {
    29: "2024.1",
    30: "2024.2",
    31: "2025.1",
    32: "2025.2",
    33: "2026.1",
    34: "2026.2",
}

SINCE: Final = {
    # nova/pci/devspec.py and nova/pci/request.py of each release
    "managed": 31,
    "live_migratable": 31,
    "one_time_use": 32,
}


def parse(release: int | str) -> int:
    """Nova's major version from 34 or "2026.2"; FarmError outside the table."""
    numbers = {name: number for number, name in NAMES.items()}
    number = numbers.get(release.strip()) if isinstance(release, str) else release
    if number not in NAMES:
        known = ", ".join(f"{number} ({name})" for number, name in NAMES.items())
        raise FarmError("release", f"{release} is not in the table; known: {known}")
    return number


def require(feature: str, release: int, subject: str) -> None:
    """Raise FeatureMissing where `release` came before `feature`."""
    since = SINCE[feature]
    if release < since:
        raise FeatureMissing(subject, feature, release, since, NAMES[since])
