"""Other people's clients, unmodified, in environments of their own, against our servers."""

from collections.abc import Callable
from pathlib import Path

import catalog
import environments
import pytest
from catalog import Client
from running import RunningServer

pytestmark = pytest.mark.clients

PAIRS = [(client, server) for client in catalog.read() for server in client.servers]


@pytest.mark.parametrize(("client", "name"), PAIRS, ids=[f"{client.name}-{name}" for client, name in PAIRS])
def test_it_works(
    servers: Callable[[str, bool], RunningServer],
    tokenizer: Path,
    pictures: Path,
    tmp_path: Path,
    client: Client,
    name: str,
) -> None:
    server = servers(name, client.strict)
    (model,) = server.client().models.list().data
    settings = {
        "NITRO_URL": f"{server.url}/v1",
        "NITRO_ROOT": server.url,
        "NITRO_MODEL": model.id,
        "NITRO_SERVER": name,
        "NITRO_TOKENIZER": str(tokenizer),
        "NITRO_PICTURES": str(pictures),
    }
    status, said = environments.run(client.program, tmp_path, settings)
    shown = [line.removeprefix("ok: ") for line in said.splitlines() if line.startswith("ok: ")]
    assert (status, shown) == (0, client.on(name)), said
