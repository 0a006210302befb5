"""How cards and findings look: whole to a program, short and wrapped to a reader."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from gpufarm.host.report import CardRow
    from gpufarm.model.finding import Finding

SCAN_SHORT = ("address", "name", "driver", "group", "numa", "ready")
CHECK_COLUMNS = ("code", "severity", "address", "message", "fix")
CHECK_SHORT = ("severity", "address", "finding")

# With borders and the other columns these fill 100 columns.
NAME_WIDTH = 22
FINDING_WIDTH = 66


def scan_row(row: "CardRow", columns: Sequence[str]) -> tuple[Any, ...]:
    """For programs: plain values."""
    plain = msgspec.to_builtins(row)
    return tuple(plain[column] for column in columns)


def short_scan_row(row: "CardRow") -> tuple[str, ...]:
    return (
        row.address,
        textwrap.fill(row.name or f"{row.vendor_id}:{row.product_id}", NAME_WIDTH),
        _drivers(row),
        _or_dash(row.iommu_group),
        _or_dash(row.numa_node),
        "\n".join(row.blockers) or "yes",
    )


def check_row(finding: "Finding") -> tuple[Any, ...]:
    return tuple(getattr(finding, column) for column in CHECK_COLUMNS)


def short_check_row(finding: "Finding") -> tuple[str, ...]:
    lines = [f"{finding.code}: {finding.message}", f"-> {finding.fix}"]
    return (
        finding.severity,
        _or_dash(finding.address),
        "\n".join(textwrap.fill(line, FINDING_WIDTH) for line in lines),
    )


def _drivers(row: "CardRow") -> str:
    """One name where all functions have the same driver, otherwise one line a function."""
    if len({each.driver for each in row.functions}) == 1:
        return _or_dash(row.driver)
    return "\n".join(f".{each.address[-1]} {_or_dash(each.driver)}" for each in row.functions)


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
