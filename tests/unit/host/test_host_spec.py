"""The host spec: its schema, its reference, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gpufarm.model import schema
from gpufarm.model.document import decode
from gpufarm.model.errors import DocumentError
from gpufarm.model.host_spec import CardChoice, HostSpec, read

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
PAGE = (REFERENCE / "host-spec.md").read_text()


def test_the_published_schema_is_current(regenerate: bool) -> None:
    path = REFERENCE / "host-spec.schema.json"
    text = json.dumps(schema.host_spec(), indent=2) + "\n"
    if regenerate:
        path.write_text(text)
    assert path.read_text() == text


def test_every_field_is_in_the_reference() -> None:
    for kind in (HostSpec, CardChoice):
        for field in kind.__struct_fields__:
            assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", PAGE, re.MULTILINE), field


def test_the_example_in_the_reference_is_one() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    content = yaml.safe_load(example)
    jsonschema.validate(content, schema.host_spec())
    assert len(decode(HostSpec, content, "example").cards) == 3


CARD: dict[str, Any] = {"address": "0000:42:00.0"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"cards": []}, "version"),
        ({"version": 2, "cards": []}, "version"),
        ({"version": 1}, "cards"),
        ({"version": 1, "cards": [{}]}, "give one of address"),
        ({"version": 1, "cards": [CARD | {"model": "x"}]}, "give one of address"),
        ({"version": 1, "cards": [{"vendor_id": "10de"}]}, "go together"),
        ({"version": 1, "cards": [{"vendor_id": "10DE", "product_id": "1b80"}]}, "vendor_id"),
        ({"version": 1, "cards": [{"address": "42:00.0"}]}, "address"),
        ({"version": 1, "cards": [{"address": "0000:42:00.0\n"}]}, "cannot be printed"),
        ({"version": 1, "cards": [{"address": "0000:42:00.0; reboot"}]}, "address"),
        ({"version": 1, "cards": [{"model": "a\nb"}]}, "model"),
        ({"version": 1, "cards": [{"model": "x", "boot_vga": True}]}, "needs the address"),
        ({"version": 1, "cards": [CARD | {"functions": "keep"}]}, "functions"),
        ({"version": 1, "cards": [CARD | {"unsafe": True}]}, "unsafe"),
        ({"version": 1, "cards": [], "method": "vfio-pci; reboot"}, "method"),
        ({"version": 1, "cards": [], "acs_override": True}, "acs_override"),
    ],
)
def test_a_spec_that_says_something_else_is_refused(
    content: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "cards.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(DocumentError, match=problem) as caught:
        read(path)
    assert caught.value.file == str(path)
