"""docs/clients and the programs it is made of, without running them."""

import json
import re

import pytest

from scripts import clients
from tests.clients import catalog
from tests.clients.catalog import Client

CLIENTS = catalog.read()


def test_the_pages_are_up_to_date() -> None:
    """`make docs` writes them."""
    found = {file.name: file.read_text(encoding="utf-8") for file in clients.FOLDER.iterdir()}
    assert found == clients.pages()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_is_complete(client: Client) -> None:
    """Each step has its servers, and the lines that a user changes stand in the program with a real address."""
    assert client.steps and all(
        set(step.servers) <= {*clients.SERVERS, *clients.SPECIAL} and step.servers for step in client.steps
    )
    assert len({step.what for step in client.steps}) == len(client.steps)
    assert client.program.read_text(encoding="utf-8").count("step(") == len(client.steps)
    assert catalog.ROOT in client.lines() and "environ" not in client.lines() and "process.env" not in client.lines()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_everything_is_pinned(client: Client) -> None:
    if client.program.suffix == ".py":
        pins = (client.folder / "requirements.txt").read_text().splitlines()
        assert all(pin.count("==") == 1 and "://" not in pin for pin in pins)
        assert {re.sub(r"\[.*]", "", package) for package in client.packages} <= set(pins)
        return
    lock = json.loads((client.folder / "package-lock.json").read_text())
    pinned = json.loads((client.folder / "package.json").read_text())["dependencies"]
    installed = {
        path.removeprefix("node_modules/"): entry["version"] for path, entry in lock["packages"].items() if path
    }
    assert pinned.items() <= installed.items()
    assert not any("resolved" in entry for entry in lock["packages"].values())
