"""What is wrong with a host, or worth knowing about it."""

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`message` has the evidence with its numbers, `fix` what to do in one sentence.

    `blocks` says whether the card (or, without address, every card of the host) cannot be given to
    a VM as long as this holds.
    """

    code: str
    severity: Severity
    address: str | None
    message: str
    fix: str
    blocks: bool = False
