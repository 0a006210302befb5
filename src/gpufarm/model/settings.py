"""Settings in oslo.config's form: sections of options, an option with one or several values."""

from collections.abc import Mapping

import msgspec

Options = dict[str, tuple[str, ...]]


class Settings(msgspec.Struct, frozen=True):
    """{section: {option: values}}; several values are a MultiStrOpt's, one line each."""

    sections: dict[str, Options] = {}

    def flat(self) -> dict[str, list[str]]:
        """{"[section] option": values}, to compare and to show."""
        return {
            f"[{section}] {option}": list(values)
            for section, options in self.sections.items()
            for option, values in options.items()
        }


def merge(*parts: Settings) -> Settings:
    """All of `parts` for one process; a value that two of them give stands once.

    oslo.config appends the values of a MultiStrOpt over its files, and Nova then refuses an alias
    that it finds twice (nova/pci/request.py, "have multiple specs").
    """
    sections: dict[str, Options] = {}
    for part in parts:
        for section, options in part.sections.items():
            merged = sections.setdefault(section, {})
            for option, values in options.items():
                merged[option] = tuple(dict.fromkeys((*merged.get(option, ()), *values)))
    return Settings(sections)


MULTIPLE = frozenset(
    {
        *("alias", "device_spec", "passthrough_whitelist"),
        *("available_filters", "reserve", "gpu_flavors"),
    }
)
"""Options of which every value counts; of all others the last one does."""


def join(*parts: Settings) -> Settings:
    """`parts` as the files of one service, in the order in which it reads them."""
    sections: dict[str, Options] = {}
    for part in parts:
        for section, options in part.sections.items():
            joined = sections.setdefault(section, {})
            for option, values in options.items():
                before = joined.get(option, ()) if option in MULTIPLE else ()
                joined[option] = (*before, *values)
    return Settings(sections)


def without(settings: Settings, section: str, option: str) -> Settings:
    """`settings` but for that option."""
    options = dict(settings.sections.get(section, {}))
    options.pop(option, None)
    return Settings({**settings.sections, section: options})


def render(settings: Settings, comment: str = "") -> str:
    """As the text of a configuration file."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for section, options in settings.sections.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [f"{option} = {value}" for option, values in options.items() for value in values]
    return "\n".join(lines) + "\n"


def parse(text: str) -> Settings:
    """The inverse of `render`, and what oslo.config's own files say: a line that begins with a
    space goes on with the value above it (oslo_config/iniparser.py)."""
    sections: dict[str, dict[str, list[str]]] = {}
    options: dict[str, list[str]] = {}
    values: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if values and stripped and line[0].isspace():
            values[-1] += stripped
            continue
        values = []
        if stripped.startswith("[") and stripped.endswith("]"):
            options = sections.setdefault(stripped[1:-1], {})
        elif stripped and not stripped.startswith(("#", ";")):
            option, _, value = stripped.partition("=")
            values = options.setdefault(option.strip(), [])
            values.append(value.strip())
    return Settings(_frozen(sections))


def _frozen(sections: Mapping[str, Mapping[str, list[str]]]) -> dict[str, Options]:
    return {
        section: {option: tuple(values) for option, values in options.items()}
        for section, options in sections.items()
    }
