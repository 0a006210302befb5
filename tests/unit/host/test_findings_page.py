"""docs/reference/findings.md has a section for every code, and says what the table says."""

import re
from pathlib import Path

import pytest

from gpufarm.host.findings.codes import CODES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "findings.md"


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_explained(code: str) -> None:
    default = CODES[code]
    blocks = "yes" if default.blocks else "no"
    text = PAGE.read_text()
    assert (
        f"| [`{code}`](#{code.lower()}) | {default.severity} | {blocks} | {default.means} |" in text
    )
    section = re.search(rf"^### {code}\n\n(.+?)(?=\n##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"no section ### {code}"
    assert len(section[1].split()) > 20


def test_no_code_is_explained_that_is_not_there() -> None:
    assert set(re.findall(r"^### ([A-Z_]+)$", PAGE.read_text(), re.MULTILINE)) == set(CODES)
