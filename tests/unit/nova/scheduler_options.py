"""docs/reference/scheduler-options.md, from the options that gpufarm_nova registers."""

from gpufarm_nova.options import OPTIONS, SECTION

HEAD = f"""\
# Scheduler options

Section `[{SECTION}]` of the `nova.conf` that nova-scheduler reads, for the filter and the weigher
of [gpufarm-nova](../../packages/gpufarm-nova/README.md). `gpufarm farm render` writes them from the
[farm file](farm-file.md). A wrong value ends nova-scheduler at its start, with a line that names
the option and what is wrong. A change needs a restart of nova-scheduler.

Written by `pytest tests/unit/nova --regenerate`; do not edit.
"""


def page() -> str:
    return HEAD + "".join(map(_part, OPTIONS))


def _part(option: object) -> str:
    default = getattr(option, "default", None)
    shown = "none" if default in (None, []) else f"`{default}`"
    many = ", may be given several times" if getattr(option, "multi", False) else ""
    title, _, rest = str(getattr(option, "help", "")).partition("\n")
    head = f"\n## `{getattr(option, 'name', '')}`\n\n{title} Default: {shown}{many}.\n"
    return head + _examples(rest.rstrip()) + "\n"


def _examples(text: str) -> str:
    before, mark, example = text.partition("Example: ")
    return f"{before}```json\n{example}\n```" if mark else text
