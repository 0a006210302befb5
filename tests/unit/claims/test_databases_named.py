"""Where the URL of a database comes from, and which files are refused."""

from pathlib import Path

import pytest

from gpufarm.cli import databases
from gpufarm.model.errors import DatabaseError

URL = "mysql+pymysql://gpufarm:hunter2@controller/nova"
VARIABLE = databases.NOVA


def database(path: Path, text: str = f"# cell1\n\n{URL}\n", rights: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(rights)
    return path


def test_a_file_with_a_url_for_each_cell(tmp_path: Path) -> None:
    path = database(tmp_path / "nova.url", f"{URL}\n{URL}2\n")
    assert databases.read(path, VARIABLE) == (URL, f"{URL}2")


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, rights: int) -> None:
    with pytest.raises(DatabaseError, match="chmod 600") as caught:
        databases.read(database(tmp_path / "nova.url", rights=rights), VARIABLE)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_a_file_without_a_url(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatabaseError, match="no URL"):
        databases.read(database(tmp_path / "nova.url", text), VARIABLE)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be read"):
        databases.read(tmp_path / "nova.url", VARIABLE)
