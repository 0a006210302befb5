"""The reference says everything that a farm file and a host file may say."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gpufarm.model import farm as model
from gpufarm.model import schema
from gpufarm.model.document import decode
from gpufarm.model.farm import Farm
from gpufarm.model.host import HostFile

REPOSITORY = Path(__file__).parents[3]
REFERENCE = REPOSITORY / "docs" / "reference"
KINDS: dict[str, Any] = {"farm": schema.farm, "host": schema.host}


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_current(kind: str, regenerate: bool) -> None:
    path = REFERENCE / f"{kind}.schema.json"
    text = json.dumps(KINDS[kind](), indent=2) + "\n"
    if regenerate:
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_in_the_reference(kind: str) -> None:
    sections = re.split(r"^## ", (REFERENCE / f"{kind}-file.md").read_text(), flags=re.MULTILINE)
    for name, definition in KINDS[kind]()["$defs"].items():
        documented = [
            set(
                re.findall(
                    r"`([a-z_]+)`", " ".join(re.findall(r"^\| (.*?) \|", part, re.MULTILINE))
                )
            )
            for part in sections
        ]
        fields = set(definition["properties"])
        assert any(fields <= found for found in documented), f"{name}: {fields}"


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("examples/*/farm.yaml")), ids=str)
def test_examples_hold_to_the_schema_and_to_the_reader(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema.farm())
    model.read(path)


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("examples/*/hosts/*.yaml")), ids=str)
def test_hosts_of_examples_hold_to_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema.host())


@pytest.mark.parametrize(("kind", "model_of"), [("farm", Farm), ("host", HostFile)])
def test_the_example_in_the_reference_is_one(kind: str, model_of: Any) -> None:
    text = (REFERENCE / f"{kind}-file.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    decode(model_of, yaml.safe_load(example), kind)
    jsonschema.validate(yaml.safe_load(example), KINDS[kind]())


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    for bad in ({}, {"version": 1, "name": "x", "release": 34, "cardz": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema.farm())
