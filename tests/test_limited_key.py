"""What somebody with one limited key tries: other models, adapters that are not for them, how long models stay loaded,
administrators' routes by other spellings. What of others is kept is in test_kept_apart.py."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import CEILING, FAKE, RunningServer, until
from test_kept_apart import Server, write

from nitro.config import ServeConfig
from nitro.keys.key import new_secret

HELLO = [{"role": "user", "content": "Hi"}]
SHORT = {"messages": HELLO, "max_tokens": 2}
MODEL = "FakeRunner"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of the adapters "open" and "secret" alice may use one, and bob neither them nor the model."""
    folder = tmp_path_factory.mktemp("limited")
    for name in ("open", "secret"):
        (folder / f"{name}.gguf").write_text("1")
    secrets = {name: new_secret() for name in ("alice", "bob", "root")}
    rights = {"alice": {"models": (MODEL, "open")}, "bob": {"models": ("nothing",)}}
    write(folder / "keys.toml", secrets, **rights)
    lora = tuple(f"{name}={folder / name}.gguf" for name in ("open", "secret"))
    config = ServeConfig(engine=FAKE, port=0, keys=folder / "keys.toml", state=folder / "state", lora=lora)
    with RunningServer(config) as server:
        yield Server(server.ready(), secrets)


def test_adapters_by_their_numbers(asked: Server) -> None:
    ask = lambda name, lora: asked.call(name, "POST /v1/chat/completions", {**SHORT, "model": MODEL, "lora": lora})  # noqa: E731
    assert ask("root", [{"id": 1, "scale": 1.0}]).status_code == 200
    assert ask("alice", [{"id": 0, "scale": 1.0}]).status_code == 200
    refused = ask("alice", [{"id": 1, "scale": 1.0}])
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "model_not_found"
    unknown = ask("alice", [{"id": 7}])
    assert unknown.status_code == 400 and "secret" not in unknown.text
    assert asked.call("alice", "POST /v1/chat/completions", {**SHORT, "model": "secret"}).status_code == 403
    assert [each["id"] for each in asked.made("alice", "GET /v1/models")["data"]] == [MODEL, "open"]


def test_the_first_nitro_tells_of_no_model_that_is_not_theirs(asked: Server) -> None:
    for route in ("GET /inferences/llamacpp/modelstatus", "GET /inferences/server/modelstatus"):
        assert asked.call("alice", route).status_code == 200
        told = asked.call("bob", route)
        assert told.status_code == 409 and MODEL not in told.text
    assert asked.call("bob", "POST /inferences/llamacpp/chat_completion", SHORT).status_code == 409
    assert asked.call("bob", "POST /inferences/llamacpp/embedding", {"input": "a"}).status_code == 409


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /api/chat", {"model": MODEL, "messages": HELLO, "stream": False, "options": {"num_predict": 1}}),
        ("POST /api/generate", {"model": MODEL, "prompt": "a", "stream": False, "options": {"num_predict": 1}}),
        ("POST /api/embed", {"model": MODEL, "input": "a"}),
        ("POST /api/chat", {"model": MODEL, "messages": []}),
    ],
)
def test_a_model_stays_loaded_for_the_others(asked: Server, route: str, body: dict[str, Any]) -> None:
    """A key that is no administrator's has it neither unloaded nor kept."""
    for_ever = lambda: asked.made("root", "GET /api/ps")["models"][0]["expires_at"] > "2200"  # noqa: E731
    assert for_ever()
    reply = asked.call("alice", route, {**body, "keep_alive": 3600})
    assert reply.status_code == 200, reply.text
    assert for_ever()
    if "messages" not in body or body["messages"]:
        assert "keep_alive" in reply.headers["x-nitro-ignored"]
        assert asked.call("alice", route, {**body, "keep_alive": 0}).status_code == 200
        assert for_ever()
    else:
        assert asked.call("alice", route, {**body, "keep_alive": 0}).status_code == 403


SPELLINGS = (
    "/v1/records/",
    "//v1//records",
    "/records",
    "/v1/v1/records",
    "/v1/%72ecords",
    "/v1/records%2f",
    "/v1/responses/../records",
    "/v1/responses/%2e%2e/records",
    "/v1/files/..%2frecords",
    "/page/../v1/records",
    "/page/%2e%2e/metrics",
    "/metrics/",
    "/%6detrics",
    "/metrics;/page/x",
    "/metrics?/page/",
    "/v1/server/events/",
    "/health/../metrics",
    "/V1/records",
    "/lora-adapters/",
    "http://localhost/metrics",
)


@pytest.mark.parametrize("path", SPELLINGS)
def test_other_spellings_of_administrators_routes(asked: Server, path: str) -> None:
    """As they stand here, without a client's corrections; with a limited key, and with none."""
    for key in (f"Authorization: Bearer {asked.secrets['alice']}\r\n", ""):
        with socket.create_connection(("127.0.0.1", asked.server.server.port), CEILING) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{key}Connection: close\r\n\r\n".encode())
            reply = b"".join(iter(lambda: sock.recv(2**16), b""))
        assert reply.split(b" ", 2)[1] in (b"400", b"401", b"403", b"404"), (path, reply[:200])


def test_others_figures_and_requests(asked: Server) -> None:
    assert asked.call("alice", "GET /v1/usage?key=root").status_code == 403
    assert {row["key"] for row in asked.made("alice", "GET /v1/usage")["data"]} <= {"alice"}
    for route in (
        "POST /v1/server/requests/x/abort",
        "POST /v1/models/unload",
        "POST /v1/load_lora_adapter",
        "POST /lora-adapters",
        "DELETE /api/delete",
        "DELETE /processmanager/destroy",
        "DELETE /ProcessManager/Destroy/",
        "POST /api/pull",
        "DELETE /v1/cache",
    ):
        assert asked.call("alice", route, {"model": MODEL}).status_code == 403, route
    grammar = {**SHORT, "model": MODEL, "grammar_file": str(Path(__file__))}
    assert asked.call("alice", "POST /inferences/llamacpp/chat_completion", grammar).status_code != 500


def test_a_batch_names_models_that_are_not_theirs(asked: Server) -> None:
    """Its lines have the rights of its key, in whatever way they name a model or an adapter."""
    import json

    bodies = [{"model": "secret"}, {"model": MODEL, "lora": [{"id": 1, "scale": 1.0}]}, {"model": MODEL}]
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": {**SHORT, **body}}
        for n, body in enumerate(bodies)
    ]
    data = "\n".join(map(json.dumps, lines))
    file = asked.made("alice", "POST /v1/files", data={"purpose": "batch"}, files={"file": ("a", data)})
    begin = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    id = asked.made("alice", "POST /v1/batches", begin)["id"]
    until(lambda: asked.made("alice", f"GET /v1/batches/{id}")["status"] == "completed")
    batch = asked.made("alice", f"GET /v1/batches/{id}")
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    failed = asked.call("alice", f"GET /v1/files/{batch['error_file_id']}/content").text.splitlines()
    assert {json.loads(line)["response"]["status_code"] for line in failed} == {403}


def test_without_a_key_there_is_nothing(asked: Server) -> None:
    for path in ("/v1/models", "/v1/files", "/api/ps", "/api/tags", "/schema", "/inferences/llamacpp/modelstatus"):
        assert httpx.get(asked.server.url + path).status_code == 401, path
