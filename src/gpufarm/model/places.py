"""Where in a document an error is.

msgspec says `$.cards[...].vendor_id` for a value in a mapping, and `key` in `$.cards` for a key,
without the key. What is decided here: which key it is, found by trying one at a time.
"""

import re
from typing import Any

import msgspec

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
    return "$" + "".join(_shown(step) for step in steps), problem


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
