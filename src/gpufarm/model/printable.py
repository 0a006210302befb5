"""Text of others, made safe to print, to compare and to write as JSON."""

BYTE = 0xFF


def printable(data: bytes | str) -> str:
    """`data` with what is no UTF-8 and what would drive a terminal written as \\x.. or \\u...."""
    text = decoded(data) if isinstance(data, bytes) else data
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def decoded(data: bytes) -> str:
    """`data` as text, line breaks and all; bytes that are no UTF-8 written as \\x.. ."""
    return data.decode("utf-8", "backslashreplace")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= BYTE else f"\\u{code:04x}"
