"""The examples of the documentation, run as they are shown, but for the server's address and what is on its disk."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import environments
import pytest
from hub import Repo
from hub import running as hub_running
from lora_files import products, write_peft
from pictures import sound
from projectors import COLOURS, SIDE, picture
from running import FAKE, RunningServer

from nitro.api.middleware import RequestMiddleware
from nitro.gguf import header
from nitro.keys.key import digest
from nitro.models import fact_cache
from tests.examples import shown
from tests.examples.shown import Example

pytestmark = pytest.mark.clients

HOST = "http://localhost:3928"
REPOSITORY = "bartowski/Qwen3-0.6B-GGUF"
# What shows errors of curl, and fails with them; the examples need not.
CURLRC = "silent\nshow-error\nfail-with-body\n"
CLIENTS = Path(__file__).parent


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The requests that servers of this process get, as `POST /v1/embeddings`."""
    found: set[str] = set()
    call = RequestMiddleware.__call__

    async def record(self: RequestMiddleware, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            found.add(f"{scope['method']} {scope['path']}")
        await call(self, scope, receive, send)

    monkeypatch.setattr(RequestMiddleware, "__call__", record)
    return found


@pytest.fixture
def empty(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model is on this machine; a hub has one."""
    with hub_running() as hub:
        hub.repos[REPOSITORY] = Repo({"Qwen3-0.6B-Q8_0.gguf": model.read_bytes()})
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "NITRO_DATA": str(tmp_path / "data")}
        for name, value in {**own, "NITRO_STORES": "hub"}.items():
            monkeypatch.setenv(name, value)
        fact_cache.shared.cache_clear()
        yield
        fact_cache.shared.cache_clear()


def lay(path: Path, what: str, smollm: Path) -> None:
    """A file or a folder that an example names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "adapter":
        width = header.read(smollm).need("llama.embedding_length")
        write_peft(path, products({"model.layers.0.self_attn.q_proj": (width, width)}))
    elif what == "model":
        copy(smollm, path)
    elif what == "lines":
        body = {"model": "", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
        line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
        path.write_text(json.dumps(line), encoding="utf-8")
    elif what == "sound":
        path.write_bytes(sound())
    else:
        assert what in COLOURS
        path.write_bytes(picture([[what] * SIDE] * SIDE))


@pytest.mark.parametrize("language", shown.FILES)
@pytest.mark.parametrize("example", shown.read(), ids=lambda example: example.name)
def test_it_runs(
    request: pytest.FixtureRequest,
    servers: Callable[[str, bool], RunningServer],
    serve: Callable[..., RunningServer],
    called: set[str],
    smollm: Path,
    tmp_path: Path,
    example: Example,
    language: str,
) -> None:
    """It says what it should, has called the routes that it is an example of, and nothing that it sends is ignored."""
    url = _server(request, servers, serve, example).url
    text = example.text(language).replace(HOST, url)
    for path, what in example.files.items():
        lay(tmp_path / path.lstrip("/"), what, smollm)
        text = text.replace(path, str(tmp_path / path.lstrip("/"))) if path.startswith("/") else text
    for asked, said in example.said.items():
        text = text.replace(asked, said)
    program = tmp_path / f"example_{example.name}{Path(shown.FILES[language]).suffix}"
    program.write_text(text, encoding="utf-8")
    (tmp_path / ".curlrc").write_text(CURLRC)
    client = CLIENTS / (example.python if language == "python" else example.javascript)
    status, told = environments.run(program, tmp_path, {}, client)
    assert status == 0 and re.search(example.shows, told), told
    for route in example.routes:
        form = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))
        assert any(re.fullmatch(form, each) for each in called), (route, called)


def _server(
    request: pytest.FixtureRequest,
    servers: Callable[[str, bool], RunningServer],
    serve: Callable[..., RunningServer],
    example: Example,
) -> RunningServer:
    match example.server:
        case "empty":
            request.getfixturevalue("empty")
            return serve(engine="auto", no_model=True, log_level="warning")
        case "locked":
            return serve(engine=FAKE, api_key="secret", alias="SmolLM2-135M-Instruct").ready()
        case "keyed":
            file = request.getfixturevalue("tmp_path") / "keys.toml"
            file.write_text(f'[keys.alice]\nhash = "{digest(b"secret")}"\ntokens-per-day = 1000\n')
            server = serve(engine=FAKE, keys=file).ready()
            server.client(api_key="secret").completions.create(model="", prompt="Hello", max_tokens=5)
            return server
        case "recorded":
            server = serve(record=request.getfixturevalue("tmp_path") / "records").ready()
            server.client().completions.create(model="", prompt="Hello", max_tokens=5)
            return server
        case "alone":
            return serve(engine="llama", context=2048, defaults="temperature=0", log_level="warning").ready()
        case name:
            return servers(name, True)
