"""The parsers of configuration: what they promise, for any text."""

import re
import shlex
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpufarm.host import assignments, cmdline, modprobe
from gpufarm.host.drivers import ids
from gpufarm.model.facts import ModprobeLine, Parameter, PciFunction

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"'))
NAMES = st.from_regex(r"[a-z_][a-z0-9_.-]{0,12}", fullmatch=True)


# Kernel command lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("quiet", [("quiet", None)]),
        ("a=1 b= c", [("a", "1"), ("b", ""), ("c", None)]),
        ('a="b c" d', [("a", "b c"), ("d", None)]),
        ('"a=b c" d', [("a", "b c"), ("d", None)]),
        ('a=b" "c d', [("a", 'b" "c'), ("d", None)]),
        ("a=b=c,d", [("a", "b=c,d")]),
        ("a -- b", [("a", None)]),
        ('open="x y', [("open", "x y")]),
        ("\t a \n", [("a", None)]),
        ("vfio-pci.ids=10de:1b80,10de:10f0", [("vfio-pci.ids", "10de:1b80,10de:10f0")]),
    ],
)
def test_command_line(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert [(each.name, each.value) for each in cmdline.parse(text)] == expected


@given(st.lists(st.tuples(NAMES, st.none() | st.text("abc ,:=-", max_size=8)), max_size=8))
def test_a_command_line_written_is_read_again(pairs: list[tuple[str, str | None]]) -> None:
    text = " ".join(name if value is None else f'{name}="{value}"' for name, value in pairs)
    read = cmdline.parse(text)
    assert read == tuple(Parameter(name=name, value=value) for name, value in pairs)


@given(st.text())
def test_any_command_line_is_cut(text: str) -> None:
    for each in cmdline.parse(text):
        assert "=" not in each.name


def test_names_with_dashes_and_underscores_are_the_same() -> None:
    read = cmdline.parse("vfio-pci.ids=1:2 vfio_pci.ids=3:4 vfio-pci.idsx=5:6")
    assert cmdline.values(read, "vfio_pci.ids") == ("1:2", "3:4")


@pytest.mark.parametrize("value", ["", "1", "y", "Y", "yes", "true", "on", "ON", "t"])
def test_true_values(value: str) -> None:
    assert cmdline.is_true(value)


@pytest.mark.parametrize("value", ["0", "n", "N", "off", "false", "o", "2"])
def test_other_values(value: str) -> None:
    assert not cmdline.is_true(value)


# modprobe.d


def test_modprobe_lines() -> None:
    text = (
        "# no\n\noptions  vfio-pci ids=10de:1b80 \\\n  disable_vga=1\n blacklist nouveau\nsoftdep"
    )
    assert modprobe.parse(text, "f") == (
        ModprobeLine(
            path="f",
            line=3,
            command="options",
            words=("vfio-pci", "ids=10de:1b80", "disable_vga=1"),
        ),
        ModprobeLine(path="f", line=5, command="blacklist", words=("nouveau",)),
        ModprobeLine(path="f", line=6, command="softdep", words=()),
    )


@given(st.lists(st.lists(WORDS.filter(lambda w: w and w[0] != "#"), min_size=1, max_size=4)))
def test_modprobe_lines_written_are_read_again(commands: list[list[str]]) -> None:
    text = "\n".join(" ".join(words).rstrip("\\") or "x" for words in commands)
    read = modprobe.parse(text, "f")
    assert len(read) <= len(commands)
    assert modprobe.parse(text, "f") == read


@given(st.text())
def test_any_modprobe_file_is_read(text: str) -> None:
    lines = modprobe.parse(text, "f")
    for each in lines:
        assert 1 <= each.line <= text.count("\n") + 1
        assert not each.command.startswith("#")
    modprobe.blacklisted(lines)
    list(modprobe.options(lines, "vfio-pci"))
    modprobe.modules(text)


def test_a_file_hides_others_of_its_name() -> None:
    paths = ["/etc/modprobe.d/a.conf", "/lib/modprobe.d/a.conf", "/lib/modprobe.d/0.conf"]
    assert modprobe.effective(paths) == ("/lib/modprobe.d/0.conf", "/etc/modprobe.d/a.conf")


def test_blacklisted() -> None:
    text = "blacklist nvidia-drm\ninstall nouveau /bin/false\ninstall loop modprobe x\nblacklist"
    assert modprobe.blacklisted(modprobe.parse(text, "f")) == {"nvidia_drm", "nouveau"}


# Files that a shell sources

SAFE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@pytest.mark.parametrize(
    ("text", "values", "odd"),
    [
        ("A=b", {"A": "b"}, ()),
        ('A="b c" # d', {"A": "b c"}, ()),
        ("A='$B'", {"A": "$B"}, ()),
        ('B=1\nA="$B ${B}2"', {"B": "1", "A": "1 12"}, ()),
        ('A=x\nA+=" y"', {"A": "x y"}, ()),
        ("export A=b", {"A": "b"}, ()),
        ('A="b\nc"', {"A": "b\nc"}, ()),
        ('A="b \\\nc"', {"A": "b c"}, ()),
        ("A=b\\\nc", {"A": "bc"}, ()),
        ('A="$(evil)"', {}, (1,)),
        ("A=`evil`\nB=1", {"B": "1"}, (1,)),
        ("if x; then\nA=1\nfi", {"A": "1"}, (1, 3)),
        ("A=1; rm -rf /", {}, (1,)),
        ("A=1;", {"A": "1"}, ()),
        ("A=1 b", {}, (1,)),
        ('A="open', {}, (1,)),
        ("A=", {"A": ""}, ()),
        ("A=${B:-x}", {}, (1,)),
        ("A=a$", {"A": "a$"}, ()),
        ("A=b&", {}, (1,)),
    ],
)
def test_assignments(text: str, values: dict[str, str], odd: tuple[int, ...]) -> None:
    read = assignments.parse(text)
    assert read.values == values
    assert read.odd == odd


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), SAFE))
def test_quoted_values_are_read_as_a_shell_reads_them(values: dict[str, str]) -> None:
    text = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    assert assignments.parse(text).values == values


@settings(max_examples=150, deadline=None)
@given(st.text(" ab\"'\\$#;=+&", max_size=14))
@example('"\\$"')
@example("'a'\"b\"c")
def test_what_is_understood_is_what_a_shell_makes_of_it(value: str) -> None:
    """The real thing: dash, where the parser says that it understood."""
    read = assignments.parse(f"A={value}")
    if read.odd:
        return
    done = subprocess.run(
        ["dash", "-c", f"A={value}\nprintf '%s' \"$A\""],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0
    assert read.values == {"A": done.stdout}


@given(st.text())
def test_any_file_of_assignments_is_read(text: str) -> None:
    read = assignments.parse(text)
    lines = text.count("\n") + 1
    assert all(1 <= number <= lines for number in read.odd)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in read.values)


# Lists of ids


def a_function(**changed: str) -> PciFunction:
    plain = {"address": "0000:42:00.0", "vendor_id": "10de", "product_id": "1b80"}
    given = {**plain, "class_id": "030000", "subsystem_vendor_id": "1458", "subsystem_id": "3702"}
    return PciFunction(**{**given, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "matches"),
    [
        ("10de:1b80", True),
        ("10DE:1B80", True),
        ("10de:1b81", False),
        ("10de:ffffffff", True),
        ("ffffffff:1b80", True),
        ("10de:1b80:1458:3702", True),
        ("10de:1b80:1458:3703", False),
        ("10de:ffffffff:ffffffff:ffffffff:00030000:ffff0000", True),
        ("10de:ffffffff:ffffffff:ffffffff:00040300:ffff0000", False),
        ("ffffffff:ffffffff:ffffffff:ffffffff:030000:ffffff", True),
    ],
)
def test_ids_match_as_the_kernel_matches(entry: str, matches: bool) -> None:
    assert [each.matches(a_function()) for each in ids(entry, "here")] == [matches]


@pytest.mark.parametrize("entry", ["", "10de", "10de:", ":1b80", "x:y", "1:2:3:4:5:6:7", "10de:*"])
def test_entries_that_the_kernel_skips(entry: str) -> None:
    assert list(ids(entry, "here")) == []


@given(st.text())
def test_any_list_of_ids_is_read(text: str) -> None:
    for each in ids(text, "here"):
        each.matches(a_function())
