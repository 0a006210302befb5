"""Lists of hosts: plain ones, Ansible's inventories, and farm files.

What is decided here: which of these a text is, and which hosts it names. A plain list has one
destination of ssh a line. Of Ansible's inventories (INI and YAML) the hosts and what says how to
reach them count: ansible_host, ansible_user, ansible_port, of a host or of its groups. A farm file
names its compute hosts.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from gpufarm.model import document, farm
from gpufarm.model.errors import InventoryInvalid

MOST_HOSTS: Final = 10_000
DESTINATION: Final = re.compile(r"(?!-)[^\s\x00-\x1f\x7f]{1,300}")
"""What may be given to ssh: nothing that it could take for an option."""
RANGE: Final = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")

Variables = Mapping[str, Any]


class Destination(msgspec.Struct, frozen=True):
    """`name` is what the inventory calls it, `ssh` what ssh is given."""

    name: str
    ssh: str


def parse(text: str, file: str) -> tuple[Destination, ...]:
    """Every host once, in the order of the text. Raises InventoryInvalid, DocumentError."""
    if file.endswith((".yaml", ".yml")):
        found = _yaml(document.parse_yaml(text, file), file)
    elif re.search(r"^\s*\[[^\]\s]+\]\s*$", text, re.MULTILINE):
        found = _ini(text, file)
    else:
        found = _plain(text, file)
    hosts: dict[str, Destination] = {}
    for each in found:
        hosts.setdefault(each.name, each)
        if len(hosts) > MOST_HOSTS:
            raise InventoryInvalid(file, f"names more than {MOST_HOSTS} hosts")
    if not hosts:
        raise InventoryInvalid(file, "names no host")
    return tuple(hosts.values())


def _plain(text: str, file: str) -> Iterator[Destination]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            if len(words) > 1:
                raise InventoryInvalid(file, f"line {number}: one destination a line: {line!r}")
            yield _destination(words[0], {}, file)


def _destination(name: str, variables: Variables, file: str) -> Destination:
    address = str(variables.get("ansible_host", name))
    user, port = variables.get("ansible_user"), variables.get("ansible_port")
    if port and ":" in address:
        address = f"[{address}]"  # of IPv6
    destination = f"{user}@{address}" if user else address
    if port:
        destination = f"ssh://{destination}:{port}"
    for each in (name, destination):
        if not DESTINATION.fullmatch(each):
            raise InventoryInvalid(file, f"{each!r} is no destination of ssh")
    return Destination(name, destination)


def _ini(text: str, file: str) -> Iterator[Destination]:
    sections = list(_sections(text, file))
    shared: dict[str, dict[str, str]] = {}
    for group, kind, lines in sections:
        if kind == "vars":
            pairs = (line.partition("=") for line in lines)
            shared[group] = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    for group, kind, lines in sections:
        if kind:
            continue
        for line in lines:
            name, *words = _words(line, file)
            pairs = (word.partition("=") for word in words)
            own = {key: value for key, _, value in pairs}
            variables = {**shared.get("all", {}), **shared.get(group, {}), **own}
            for host in _written_out(name):
                yield _destination(host, variables, file)


def _sections(text: str, file: str) -> Iterator[tuple[str, str, list[str]]]:
    """(group, `vars`, `children` or "", lines) of each section."""
    group, kind, lines = "ungrouped", "", list[str]()
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            if not stripped.endswith("]"):
                raise InventoryInvalid(file, f"no section: {stripped!r}")
            yield group, kind, lines
            group, _, kind = stripped[1:-1].partition(":")
            lines = []
        elif stripped and not stripped.startswith(("#", ";")):
            lines.append(stripped)
    yield group, kind, lines


def _words(line: str, file: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise InventoryInvalid(file, f"{line!r}: {error}") from error


def _written_out(name: str) -> Iterator[str]:
    """node[01:03] is node01 to node03; rack[a:c] goes by letters; a third number is a step."""
    found = RANGE.search(name)
    if not found:
        yield name
        return
    first, last, step = found[1], found[2], int(found[3] or 1)
    if first.isdecimal() and last.isdecimal():
        numbers = range(int(first), min(int(last), int(first) + MOST_HOSTS) + 1, max(step, 1))
        values = [str(number).zfill(len(first)) for number in numbers]
    else:
        values = [chr(number) for number in range(ord(first), ord(last) + 1, max(step, 1))]
    for value in values:
        yield from _written_out(f"{name[: found.start()]}{value}{name[found.end() :]}")


def _yaml(content: Any, file: str) -> Iterator[Destination]:
    if not isinstance(content, dict):
        raise InventoryInvalid(file, "neither an inventory of Ansible nor a farm file")
    if "release" in content:
        names = farm.named_hosts(document.decode(farm.Farm, content, file))
        return (_destination(name, {}, file) for name in sorted(names))
    return (host for group in content.values() for host in _yaml_group(group, {}, file))


def _yaml_group(group: Any, above: Variables, file: str) -> Iterator[Destination]:
    if group is None:
        return
    parts = (
        {key: group.get(key) or {} for key in ("hosts", "vars", "children")}
        if isinstance(group, dict)
        else {}
    )
    if not parts or not all(isinstance(part, dict) for part in parts.values()):
        raise InventoryInvalid(file, "a group of Ansible has `hosts`, `vars` and `children`")
    variables = {**above, **parts["vars"]}
    for name, own in parts["hosts"].items():
        for host in _written_out(str(name)):
            yield _destination(host, {**variables, **(own or {})}, file)
    for child in parts["children"].values():
        yield from _yaml_group(child, variables, file)
