"""Kernel command lines, cut into parameters as the kernel does (lib/cmdline.c, next_arg)."""

from collections.abc import Iterable, Iterator

from gpufarm.model.facts import Parameter

SPACE = " \t\n\r\v\f"


def parse(text: str) -> tuple[Parameter, ...]:
    """The parameters up to `--`, behind which those of init begin.

    A double quote anywhere keeps spaces together up to the next one; those around a whole word or
    a whole value are dropped.
    """
    found = []
    for word in _words(text):
        if word == "--":
            break
        found.append(_parameter(word))
    return tuple(found)


def _words(text: str) -> Iterator[str]:
    word, quoted = "", False
    for character in text:
        if character in SPACE and not quoted:
            if word:
                yield word
            word = ""
            continue
        quoted ^= character == '"'
        word += character
    if word:
        yield word


def _parameter(word: str) -> Parameter:
    if word.startswith('"'):
        word = word[1:].removesuffix('"')
    name, equals, value = word.partition("=")
    if not equals:
        return Parameter(name=name)
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    return Parameter(name=name, value=value)


def same(name: str, other: str) -> bool:
    """The kernel takes a dash for an underscore in names (kernel/params.c, parameq)."""
    return name.replace("-", "_") == other.replace("-", "_")


def values(parameters: Iterable[Parameter], name: str) -> tuple[str, ...]:
    """Every value given to `name`, in order; "" where it was given without one."""
    return tuple(each.value or "" for each in parameters if same(each.name, name))


def is_true(value: str) -> bool:
    """How the kernel reads a bool parameter (kstrtobool); one without value is true."""
    return value == "" or value[:1] in "yYtT1" or value[:2].lower() == "on"
