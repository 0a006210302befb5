"""Variables of configuration files that a shell sources: GRUB, initramfs-tools, dracut.

What is decided here: such a file is read, never run. Plain assignments, quotes, additions (`+=`)
and references to variables that the file set before are followed; anything else is reported as not
understood, so that nobody relies on half of it.
"""

import re

import msgspec

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
ASSIGNMENT = re.compile(rf"\s*(?:export\s+)?({NAME})(\+?)=")
REFERENCE = re.compile(rf"\$(?:({NAME})|\{{({NAME})\}})")
SPECIAL = "({$#?!-@*'\""
"""Behind a dollar sign: expansions that only a shell can do."""
BLANK = re.compile(r"\s*(?:#.*)?\Z")
END = re.compile(r"\s*(?:;\s*)?(?:#.*)?\Z|\s+#.*\Z")


class Assignments(msgspec.Struct, frozen=True):
    """`odd` are the numbers of the lines that were not understood."""

    values: dict[str, str]
    odd: tuple[int, ...]


def parse(text: str, before: dict[str, str] | None = None) -> Assignments:
    """The variables after `text`, where those of `before` were set already."""
    values = dict(before or {})
    odd = []
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        if BLANK.match(line):
            continue
        found = ASSIGNMENT.match(line)
        if not found:
            odd.append(start + 1)
            continue
        rest = line[found.end() :]
        value = _value(rest, values)
        # A quoted value, or one that ends in a backslash, may go on in the next line.
        while value is UNFINISHED and number < len(lines):
            rest += "\n" + lines[number]
            number += 1
            value = _value(rest, values)
        if not isinstance(value, str):
            odd.append(start + 1)
            continue
        name, plus = found.groups()
        values[name] = values.get(name, "") + value if plus else value
    return Assignments(values, tuple(odd))


class _Outcome(msgspec.Struct, frozen=True):
    what: str


UNFINISHED = _Outcome("goes on in the next line")
STRANGE = _Outcome("needs a shell")


def _value(text: str, values: dict[str, str]) -> str | _Outcome:
    """One word of shell at the beginning of `text`, and nothing but a comment behind it."""
    parts: list[str] = []
    place = 0
    while place < len(text) and text[place] not in " \t\n;":
        part, place = _part(text, place, values)
        if isinstance(part, _Outcome):
            return part
        parts.append(part)
    return "".join(parts) if END.match(text[place:]) else STRANGE


def _part(text: str, place: int, values: dict[str, str]) -> tuple[str | _Outcome, int]:
    """A quoted piece, an escape, a reference or one character; and where it ends."""
    character = text[place]
    if character == "'":
        end = text.find("'", place + 1)
        return (UNFINISHED, place) if end < 0 else (text[place + 1 : end], end + 1)
    if character == '"':
        return _double(text, place + 1, values)
    if character == "\\":
        if place + 1 == len(text):
            return UNFINISHED, place
        escaped = text[place + 1]
        return ("" if escaped == "\n" else escaped), place + 2
    if character == "$":
        return _reference(text, place, values)
    return (STRANGE if character in "`()&|<>" else character), place + 1


def _double(text: str, place: int, values: dict[str, str]) -> tuple[str | _Outcome, int]:
    parts: list[str] = []
    while place < len(text):
        character = text[place]
        if character == '"':
            return "".join(parts), place + 1
        if character == "`":
            return STRANGE, place
        if character == "$":
            part, place = _reference(text, place, values)
            if isinstance(part, _Outcome):
                return part, place
            parts.append(part)
        elif character == "\\" and text[place + 1 : place + 2] in tuple('$`"\\\n'):
            parts.append(text[place + 1].replace("\n", ""))
            place += 2
        else:
            parts.append(character)
            place += 1
    return UNFINISHED, place


def _reference(text: str, place: int, values: dict[str, str]) -> tuple[str | _Outcome, int]:
    found = REFERENCE.match(text, place)
    if found:
        return values.get(found[1] or found[2], ""), found.end()
    following = text[place + 1 : place + 2]
    if following.isalnum() or (following and following in SPECIAL):
        return STRANGE, place
    return "$", place + 1
