"""YAML documents, taken strictly.

What is decided here: a document either is exactly what its type says, or is refused with the file,
the path in the document and what was expected. An unknown field, a key given twice and a document
that unfolds beyond `MOST_NODES` through aliases are refused too.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from gpufarm.model import places
from gpufarm.model.errors import DocumentError

T = TypeVar("T")

# Farms of thousands of hosts stay far below; a document that doubles through aliases does not.
MOST_NODES = 100_000
MOST_BYTES = 4 * 1024 * 1024


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every value that is read from a document: frozen, and no field unknown."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _unfolded(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """Nodes below and including `node` once every alias is written out."""
    if node is None:
        return 0
    if id(node) not in sizes:
        sizes[id(node)] = MOST_NODES  # an alias to a node that holds it never ends
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        else:
            children = []
        sizes[id(node)] = 1 + sum(_unfolded(child, sizes) for child in children)
    return sizes[id(node)]


def parse_yaml(text: str, file: str) -> Any:
    """The document as plain dicts, lists and scalars; DocumentError where it is not YAML."""
    try:
        loader = _StrictLoader(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise DocumentError(file, "$", f"not valid YAML: {error}") from error
    try:
        node = loader.get_single_node()
        if _unfolded(node, {}) >= MOST_NODES:
            raise DocumentError(file, "$", f"unfolds to more than {MOST_NODES} values")
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise DocumentError(file, "$", f"{where}not valid YAML: {problem}") from error
    except (RecursionError, ValueError) as error:
        raise DocumentError(file, "$", f"not valid YAML: {error}") from error
    finally:
        loader.dispose()


def decode(kind: type[T], data: Any, file: str) -> T:
    """`data` as a `kind`; DocumentError with the path of the first thing that does not fit."""
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        path, problem = places.locate(kind, data, error)
        hint = ""
        if "Expected `str`, got `int`" in problem or "Expected `str`, got `float`" in problem:
            hint = ' (YAML reads it as a number: write it in quotes, "like this")'
        raise DocumentError(file, path, problem + hint) from error


def read(kind: type[T], path: Path) -> T:
    """The document in the file at `path` as a `kind`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DocumentError(str(path), "$", f"larger than {MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = error.strerror or str(error)
        raise DocumentError(str(path), "$", f"cannot be read: {problem}") from error
    except UnicodeDecodeError as error:
        raise DocumentError(str(path), "$", f"not UTF-8 text: {error}") from error
    return decode(kind, parse_yaml(text, str(path)), str(path))
