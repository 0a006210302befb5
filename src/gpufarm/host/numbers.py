"""Numbers in the text of others: no longer than any that means something, and in ASCII."""

import re

_NATURAL = re.compile(r"[0-9]{1,9}")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_HEX = re.compile(r"(?:0x)?([0-9a-f]{1,16})", re.IGNORECASE)


def natural(text: str | None) -> int | None:
    """A group, a process, a count; None for what is none."""
    return int(text) if text and _NATURAL.fullmatch(text) else None


def whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def hexadecimal(text: str) -> int | None:
    """Of up to 64 bits."""
    found = _HEX.fullmatch(text)
    return int(found[1], 16) if found else None
