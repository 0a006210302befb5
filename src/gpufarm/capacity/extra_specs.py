"""Whether a property of an aggregate satisfies what a flavor asks of it.

The forms are those that Nova's AggregateInstanceExtraSpecsFilter takes
(nova/scheduler/filters/extra_specs_ops.py); tests compare with it.
"""

import operator
from collections.abc import Callable

AGGREGATE_SCOPE = "aggregate_instance_extra_specs"

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_WORDS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
    "<in>": lambda value, word: word in value,
}


def matches(value: str, wanted: str) -> bool:
    """Whether the aggregate's `value` is what `wanted` asks for.

    Where Nova fails on what is no number, nothing matches.
    """
    first, *words = wanted.split() or [""]
    if first == "<or>":
        return value in words[::2]
    if first == "<all-in>":
        return bool(words) and all(word in value for word in words)
    if first in _WORDS:
        return bool(words) and _WORDS[first](value, words[0])
    if first in _NUMBERS:
        return bool(words) and _compare(_NUMBERS[first], value, words[0])
    return value == wanted


def asked_of_aggregate(properties: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Of a flavor's extra specs those that an aggregate has to match.

    The filter takes those of its scope and those of none; where both name one key, both count.
    """
    wanted = []
    for key, value in properties.items():
        scope, colon, name = key.partition(":")
        if not colon:
            wanted.append((key, value))
        elif scope == AGGREGATE_SCOPE:
            wanted.append((name, value))
    return tuple(sorted(wanted))


def _compare(operation: Callable[[float, float], bool], value: str, word: str) -> bool:
    try:
        return operation(float(value), float(word))
    except ValueError:
        return False
