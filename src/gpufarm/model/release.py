"""Which Nova release brought what: one table, read in the sources of Nova 29.0.0 to 34.0.0.

What a farm does not ask by name (aliases by resource class, report_in_placement, pci_in_placement,
NUMA policy socket, hw:hide_hypervisor_id) is in all of them.
"""

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
    # nova/pci/devspec.py and nova/pci/request.py
    "managed": 31,
    "live_migratable": 31,
    "one_time_use": 32,
}
"""Fields of a card."""

PROPERTIES_SINCE: Final = {
    # nova/api/validation/extra_specs/hw.py: what a release does not list there it refuses with
    # HTTP 400, since `hw` is a namespace that it knows. Until 31 the file misspelled the three
    # hw:cpu_max_*, and so refused them.
    "hw:cpu_max_cores": 32,
    "hw:cpu_max_sockets": 32,
    "hw:cpu_max_threads": 32,
    "hw:mem_encryption_model": 32,
    "hw:redirected_usb_ports": 32,
    "hw:sound_model": 32,
    "hw:usb_model": 32,
    "hw:tpm_secret_security": 33,
}
"""Properties of a flavor."""

DEFAULT_FILTERS: Final = (
    # [filter_scheduler] enabled_filters in nova/conf/scheduler.py: the same in all of them
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
)

WIDE_TREES_SINCE: Final = 32
"""[workarounds] optimize_for_wide_provider_trees of the Placement of that release (14.0.0 and its
stable updates; placement release notes, 2025.2). The two options that limit candidates are in every
release of the table: they were put into stable updates back to 2023.2."""


def parse(release: float | str) -> int:
    """Nova's major version from 34, "34" or 2026.2; FarmError outside the table."""
    by_text = {str(number): number for number in NAMES}
    by_text |= {name: number for number, name in NAMES.items()}
    number = by_text.get(str(release).strip())
    if number is None:
        known = ", ".join(f"{number} ({name})" for number, name in NAMES.items())
        raise FarmError(
            "release", f"{release} is not in the table: write Nova's major version; known: {known}"
        )
    return number


def require(feature: str, release: int, subject: str) -> None:
    """Raise FeatureMissing where `release` came before `feature`, a field or a property."""
    since = SINCE.get(feature) or PROPERTIES_SINCE.get(feature, 0)
    if release < since:
        raise FeatureMissing(subject, feature, release, since, NAMES[since])
