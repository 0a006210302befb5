"""The shared lab with the cards of three hosts and flavors for them, and no server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_farm import Create, create_words, delete_servers
from running_lab import RunningLab

FARM = Path(__file__).parent / "farm.yaml"


@pytest.fixture(scope="package")
def cards(lab: RunningLab) -> Iterator[RunningLab]:
    """The lab; flavors and image are gone afterwards, the settings stay till the next farm."""
    lab.run("farm", "apply", str(FARM))
    yield lab
    compute, image = lab.connection.compute, lab.connection.image
    for flavor in compute.flavors():
        if flavor.name.startswith("t."):
            compute.delete_flavor(flavor)
    for found in compute.aggregates():
        if found.name == "t-near":
            for host in found.hosts:
                compute.remove_host_from_aggregate(found, host)
            compute.delete_aggregate(found)
    for found in image.images():
        if found.name == "t.image":
            image.delete_image(found)


@pytest.fixture
def farm(cards: RunningLab) -> Iterator[RunningLab]:
    """The same, for one test: the servers that it leaves are deleted."""
    yield cards
    delete_servers(cards)


@pytest.fixture
def create(farm: RunningLab) -> Create:
    """`gpufarm server create NAME --flavor FLAVOR`, which has to succeed."""

    def run(name: str, flavor: str, *more: str) -> dict[str, Any]:
        done = farm.run(*create_words(name, flavor), *more, "-f", "json")
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    return run
