"""The docs mention what there is: every error, every page's links, every command in them."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from gpufarm.model import errors
from gpufarm.model.errors import GpufarmError

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "STYLE.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = {entry.name.replace("_", " ") for entry in entry_points(group="gpufarm.cli")}


def every_error(kind: type[GpufarmError] = GpufarmError) -> list[type[GpufarmError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in every_error(child))]


def test_every_error_has_a_code_of_its_own_and_is_in_the_reference_and_the_tree() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    found = every_error()
    assert len({kind.code for kind in found}) == len(found)
    for kind in found[1:]:
        assert f"| `{kind.code}` | `{kind.__name__}` |" in page
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_is_one(page: Path) -> None:
    for words in re.findall(r"^(?:\$ )?gpufarm ((?:[a-z]+ ?)+)", page.read_text(), re.MULTILINE):
        named = words.split()
        assert any(" ".join(named[: len(c.split())]) == c for c in COMMANDS), f"{page}: {words}"


def test_every_test_and_example_that_a_requirement_names_is_there() -> None:
    page = (ROOT / "docs" / "requirements.md").read_text()
    rows = re.findall(r"^\| ((?:SV|OH|BR|SC)-\d+) \|", page, re.MULTILINE)
    assert len(rows) == len(set(rows)) == 9 + 13 + 5 + 6
    for path in re.findall(r"`((?:tests|examples)/[^`]+)`", page):
        assert (ROOT / path).exists(), path
