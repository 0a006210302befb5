"""Where in a document an error is, and what could stand there.

msgspec says `$.cards[...].vendor_id` for a value in a mapping, and `key` in `$.cards` for a key,
without the key. What is decided here: which key it is, found by trying one at a time, and the
names or values that its type has.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

ANY = "[...]"
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])")
_PLAIN = re.compile(r"\A[A-Za-z_][\w-]*\Z")

Steps = tuple[str | int, ...]


def locate(kind: Any, data: Any, error: msgspec.ValidationError) -> tuple[str, str]:
    """(path, problem) of `error`, which came of taking `data` as a `kind`.

    The path has a key wherever msgspec has none; `$.cards.k40c.vendor_id`, `$.flavors."my vm"`.
    """
    problem, path = _split(error)
    in_key = path.startswith("key` in `")
    path = path.removeprefix("key` in `")
    steps: Steps = ()
    for name, number, anything in _STEP.findall(path + (ANY if in_key else "")):
        if not anything:
            steps = (*steps, int(number) if number else name)
            continue
        key = _culprit(kind, data, steps, str(error))
        if key is None:
            return path, problem
        data = _only(data, steps, key)
        steps = (*steps, key)
    return "$" + "".join(_shown(step) for step in steps), problem + _offered(kind, steps, problem)


def _split(error: msgspec.ValidationError) -> tuple[str, str]:
    problem, _, path = str(error).partition(" - at `")
    return problem, path.removesuffix("`") or "$"


def _culprit(kind: Any, data: Any, steps: Steps, message: str) -> str | None:
    """The key of the mapping at `steps` with which alone the error is the same."""
    mapping = data
    for step in steps:
        mapping = mapping[step]
    for key in mapping:
        try:
            msgspec.convert(_only(data, steps, key), kind, strict=True)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key if isinstance(key, str) else None
    return None


def _only(data: Any, steps: Steps, key: Any) -> Any:
    """`data` with only `key` in the mapping at `steps`."""
    if not steps:
        return {key: data[key]}
    first, rest = steps[0], steps[1:]
    changed = _only(data[first], rest, key)
    if isinstance(data, dict):
        return {**data, first: changed}
    return [changed if number == first else each for number, each in enumerate(data)]


def _shown(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.match(step) else f".{msgspec.json.encode(step).decode()}"


def _offered(kind: Any, steps: Steps, problem: str) -> str:
    """The fields that an object has, or the values that are allowed, where `problem` asks so."""
    for found in _types(inspect.type_info(kind), steps):
        if isinstance(found, inspect.StructType) and "unknown field" in problem:
            return f": there are {', '.join(field.encode_name for field in found.fields)}"
        if isinstance(found, inspect.LiteralType) and "Invalid enum value" in problem:
            return f": expected {' or '.join(map(str, found.values))}"
    return ""


def _types(found: inspect.Type, steps: Steps) -> Iterator[inspect.Type]:
    """Each type that a value at `steps` below one of type `found` may have."""
    if isinstance(found, inspect.UnionType):
        for each in found.types:
            yield from _types(each, steps)
    elif not steps:
        yield found
    elif isinstance(found, inspect.StructType):
        for field in found.fields:
            if field.encode_name == steps[0]:
                yield from _types(field.type, steps[1:])
    elif isinstance(found, inspect.DictType):
        yield from _types(found.value_type, steps[1:])
    elif isinstance(found, inspect.ListType | inspect.VarTupleType):
        yield from _types(found.item_type, steps[1:])
