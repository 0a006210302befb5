"""Farm files that cannot be taken, each with one message of where and what (cases/bad_farms)."""

from pathlib import Path

import msgspec
import pytest
import yaml

from gpufarm.model import farm
from gpufarm.model.errors import GpufarmError

CASES = sorted((Path(__file__).parents[2] / "cases" / "bad_farms").glob("*.yaml"))


class Case(msgspec.Struct, forbid_unknown_fields=True):
    error: str
    message: list[str]
    farm: str


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_bad_farm_file_is_refused_with_one_message(path: Path, tmp_path: Path) -> None:
    case = msgspec.convert(yaml.safe_load(path.read_text()), Case)
    file = tmp_path / "farm.yaml"
    file.write_text(case.farm)
    with pytest.raises(GpufarmError) as caught:
        farm.read(file)
    assert type(caught.value).__name__ == case.error
    for part in case.message:
        assert part in str(caught.value)
    assert str(caught.value).isprintable()
    if case.error == "DocumentError":
        assert str(caught.value).startswith(f"{file}: at ")


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version: 1\nname: \xff\n", "not UTF-8 text"),
        (b"[" * 100_000, "not valid YAML"),
        (b"#" * (5 * 1024 * 1024), "larger than"),
        (b"version: !!timestamp 2001-99-99\n", "not valid YAML"),
    ],
)
def test_bytes_that_are_no_farm_file(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "farm.yaml"
    file.write_bytes(content)
    with pytest.raises(GpufarmError, match=message):
        farm.read(file)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(GpufarmError, match=f"{path}: at \\$: cannot be read"):
            farm.read(path)
