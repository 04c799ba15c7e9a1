"""How models are loaded: sizes and times as people write them, and what is set aside for a model."""

import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_models import write_gguf

from nitro import loading
from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.errors import StartError
from nitro.models import model_source
from nitro.models.load_plan import Wanted
from nitro.models.residency import MIB
from nitro.models.settings import AS_SERVED, ModelSettings
from nitro.service.metrics import Metrics

GIB = 2**30


@pytest.mark.parametrize(
    "text, size",
    [("512", 512 * MIB), ("12G", 12 * GIB), ("1.5g", 3 * GIB // 2), ("64 MiB", 64 * MIB), ("2TB", 2048 * GIB)],
)
def test_sizes(text: str, size: int) -> None:
    assert loading.memory(text) == size


@pytest.mark.parametrize("text", ["0", "much", "-1", "12X", ""])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(StartError, match="--memory"):
        loading.memory(text)


def test_times() -> None:
    assert (loading.idle_time(None), loading.idle_time("-1"), loading.idle_time("5m")) == (None, None, 300)
    with pytest.raises(StartError, match="--keep-alive"):
        loading.idle_time("soon")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def plan(tiny: Path, settings: ModelSettings = AS_SERVED, budget: int = GIB, **config: Any) -> Any:
    made = loading.Loading(ServeConfig(engine="llama", **config), Metrics())
    return made.plan(Wanted(model_source.find(str(tiny), None, "llama"), settings), budget)


def test_a_model_gets_the_servers_options_and_its_own(tiny: Path) -> None:
    made = plan(tiny, ModelSettings(options={"context": 128}), context=64, parallel=3, draft=None)
    assert (made.spec.context, made.spec.parallel, made.spec.draft) == (128, 3, None)
    assert 0 < made.spec.kv_bytes < made.bytes <= GIB


def test_the_kv_cache_of_a_model_is_a_part_of_the_room(tiny: Path) -> None:
    """More room, more tokens; never more than the model was trained for."""
    contexts = [plan(tiny, budget=size * MIB).spec.context for size in (64, 128, 1024, 2**20)]
    assert contexts == sorted(contexts) and contexts[-1] == contexts[-2]


def test_one_that_is_alone_takes_what_it_likes(tiny: Path) -> None:
    made = loading.Loading(ServeConfig(engine="llama"), Metrics(), many=False)
    alone = made.plan(Wanted(model_source.find(str(tiny), None, "llama"), AS_SERVED), GIB)
    assert alone.spec.kv_bytes is None and alone.spec.context is None


def test_one_whose_layers_go_to_workers_is_not_measured_by_this_machine(tiny: Path) -> None:
    """They are one model's at a time, so that they cannot be asked while another one is loaded."""
    made = plan(tiny, budget=1000, rpc="127.0.0.1:1")
    assert made.bytes == 1000 and made.spec.kv_bytes is None and made.spec.context is None


def test_what_cannot_be_set(tiny: Path) -> None:
    with pytest.raises(StartError, match="parallel"):
        plan(tiny, ModelSettings(options={"parallel": 1000}))
    with pytest.raises(StartError, match=r"nowhere\.jinja"):
        plan(tiny, ModelSettings(chat_template=Path("nowhere.jinja")))


# nitro ps


@pytest.fixture
def answering() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that lists these models, if it is told the key."""
    models: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.path == "/v1/models" and self.headers["Authorization"] in (None, "Bearer right")
            self.send_response(200 if right else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": models}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", models
    server.shutdown()
    thread.join()
    server.server_close()


def test_ps(answering: tuple[str, list[dict[str, Any]]]) -> None:
    url, models = answering
    common = {"size": 3 * MIB, "context_length": 4096, "pinned": False}
    models += [
        {"id": "anna", "state": "ok", "requests": 2, "last_used": None, **common, "pinned": True},
        {"id": "bert", "state": "ok", "requests": 0, "last_used": int(time.time()) - 130, **common},
        {"id": "da\x1bn", "state": "ok", "requests": 0, "last_used": None, **common},
        {"id": "cleo", "state": "unloaded", "requests": 0, "last_used": None, **common},
    ]
    shown = CliRunner().invoke(main, ["ps", "--url", f"{url}/v1"])
    assert shown.exit_code == 0, shown.output
    _, anna, bert, dan = (line.split("  ") for line in shown.output.splitlines())
    assert [cell.strip() for cell in anna if cell.strip()] == ["anna (pinned)", "ok", "3.0 MiB", "4096", "-", "2"]
    assert dan[0].strip() == "dan", "no control character of a server reaches the terminal"
    assert "2 min" in [cell.strip() for cell in bert]
    told = json.loads(CliRunner().invoke(main, ["ps", "--url", url, "--json"]).output)
    assert [model["id"] for model in told] == ["anna", "bert", "da\x1bn"]


@pytest.mark.parametrize(
    "arguments, words",
    [(["--api-key", "wrong"], "--api-key"), (["--url", "127.0.0.1:1"], "`nitro serve` starts a server")],
)
def test_ps_without_a_server(answering: tuple[str, list[dict[str, Any]]], arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["ps", "--url", answering[0], *arguments])
    assert result.exit_code == 1 and words in result.output and result.output.count("\n") == 1


def test_forever_is_for_ever() -> None:
    assert math.isinf(loading.keep_alive.FOREVER)
