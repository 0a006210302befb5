"""modprobe.d and lists of modules to load.

Sources: modprobe.d(5), modules-load.d(5), initramfs-tools(7).
"""

from collections.abc import Iterable, Iterator

from gpufarm.model.facts import ModprobeLine

FOLDERS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
"""A file in an earlier one hides those of its name in the later ones."""
LOAD_FOLDERS = (
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
)


def parse(text: str, path: str) -> tuple[ModprobeLine, ...]:
    """The commands in one file, whatever they are."""
    return tuple(
        ModprobeLine(path=path, line=number, command=words[0], words=tuple(words[1:]))
        for number, line in _joined(text)
        if (words := line.split()) and not words[0].startswith("#")
    )


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one that ends in a backslash goes on in the next."""
    begun, kept = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun or number
        if line.endswith("\\"):
            kept += line[:-1] + " "
            continue
        yield begun, kept + line
        begun, kept = 0, ""
    if kept:
        yield begun, kept


def modules(text: str) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """(line, module, what follows it) of a list of modules."""
    return tuple(
        (number, words[0], tuple(words[1:]))
        for number, line in enumerate(text.split("\n"), 1)
        if (words := line.split()) and words[0][0] not in "#;"
    )


def effective(paths: Iterable[str]) -> tuple[str, ...]:
    """Of files in several folders, ranking folder first, those that are not hidden; by name."""
    seen: dict[str, str] = {}
    for path in paths:
        seen.setdefault(path.rpartition("/")[2], path)
    return tuple(seen[name] for name in sorted(seen))


def options(lines: Iterable[ModprobeLine], module: str) -> Iterator[tuple[ModprobeLine, str, str]]:
    """(line, parameter, value) of every option of `module`; "" where there is no value."""
    for line in lines:
        if line.command == "options" and line.words and plain(line.words[0]) == plain(module):
            for word in line.words[1:]:
                name, _, value = word.partition("=")
                yield line, name, value.strip("\"'")


def blacklisted(lines: Iterable[ModprobeLine]) -> frozenset[str]:
    """Modules that are not loaded for a device: `blacklist`, or an `install` that does nothing."""
    return frozenset(
        plain(line.words[0])
        for line in lines
        if line.words
        and (
            line.command == "blacklist"
            or (line.command == "install" and line.words[1:2] in NOTHING)
        )
    )


NOTHING = (("/bin/false",), ("/bin/true",), ("/usr/bin/false",), ("/usr/bin/true",), (":",))


def plain(module: str) -> str:
    """A dash in a module's name is an underscore (modprobe(8))."""
    return module.replace("-", "_")
