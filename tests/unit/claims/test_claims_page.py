"""docs/reference/claims.md has a section for every code, and says what the table says."""

import re
from pathlib import Path

import pytest

from gpufarm.claims.codes import CODES

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference" / "claims.md").read_text()
HOWTO = (DOCS / "howto" / "heal-stale-claims.md").read_text()


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_explained(code: str) -> None:
    assert f"| [`{code}`](#{code.lower()}) | {CODES[code]} |" in PAGE
    section = re.search(rf"^### {code}\n\n(.+?)(?=\n##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"no section ### {code}"
    assert len(section[1].split()) > 20


def test_no_code_is_explained_that_is_not_there() -> None:
    assert set(re.findall(r"^### ([A-Z_]+)$", PAGE, re.MULTILINE)) == set(CODES)


def test_how_it_is_healed_names_codes_that_there_are() -> None:
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", HOWTO)) - {"VERIFY_RESIZE"} <= set(CODES) | {
        "GPUFARM_NOVA_DATABASE"
    }
