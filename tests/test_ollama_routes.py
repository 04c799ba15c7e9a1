"""Ollama's API over HTTP: what its clients are told, what is loaded and unloaded, and how errors look."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import CEILING, FAKE, RunningServer, sdk
from tiny_models import write_gguf

from nitro.config import ServeConfig
from nitro.models import default_model

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SHELF = "runners:ShelfRunner"


def post(server: RunningServer, route: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/api/{route}", json=body, timeout=CEILING)


def get(server: RunningServer, route: str) -> Any:
    return httpx.get(f"{server.url}/api/{route}", timeout=CEILING).json()


def says(script: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"␂{script}␃"}]


def lines(reply: httpx.Response) -> list[dict[str, Any]]:
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson"), reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def test_who_looks_for_ollama_finds_it(fake_server: RunningServer) -> None:
    for reply in (httpx.get(fake_server.url), httpx.get(f"{fake_server.url}/")):
        assert (reply.status_code, reply.text) == (200, "Ollama is running")
        assert reply.headers["content-type"].startswith("text/plain")
    assert httpx.head(fake_server.url).status_code == httpx.head(f"{fake_server.url}/api/tags").status_code == 200
    version = get(fake_server, "version")
    assert tuple(map(int, version["version"].split("."))) >= (0, 12) and version["nitro"]


def test_an_answer_is_streamed_unless_it_is_not_to_be(saying: RunningServer) -> None:
    *parts, last = lines(post(saying, "chat", messages=says("Hm.</think>Hi there."), think=True))
    assert "".join(part["message"]["content"] for part in parts) == "Hi there." and len(parts) > 5
    assert "".join(part["message"].get("thinking", "") for part in parts) == "Hm."
    assert last["done"] and last["done_reason"] == "stop" and not any(part["done"] for part in parts)
    reply = post(saying, "chat", messages=says("Hm.</think>Hi there."), think=True, stream=False)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["message"] == {"role": "assistant", "content": "Hi there.", "thinking": "Hm."}
    same = ("model", "done_reason", "prompt_eval_count", "eval_count")
    assert {key: reply.json()[key] for key in same} == {key: last[key] for key in same}
    *parts, last = lines(post(saying, "generate", prompt="␂Hello.␃", system="Be brief."))
    assert "".join(part["response"] for part in parts) == "Hello." and last["response"] == ""


def test_calls_and_their_results(saying: RunningServer) -> None:
    asked = says(f"I look. {CALL}")
    *parts, last = lines(post(saying, "chat", messages=asked, tools=[TOOL]))
    whole = post(saying, "chat", messages=asked, tools=[TOOL], stream=False).json()["message"]
    (streamed,) = [part["message"]["tool_calls"] for part in parts if "tool_calls" in part["message"]]
    for (call,) in (streamed, whole["tool_calls"]):
        assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}}
    assert whole["content"].strip() == "I look." and last["done_reason"] == "stop"
    result = {"role": "tool", "tool_name": "weather", "content": "␂It is cold.␃"}
    again = post(saying, "chat", messages=[*asked, whole, result], tools=[TOOL], stream=False)
    assert again.json()["message"]["content"] == "It is cold." and "x-nitro-ignored" not in again.headers


def test_a_schema_is_kept(fake_server: RunningServer) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    for route, asked in (("chat", {"messages": says("")}), ("generate", {"prompt": "a"})):
        told = post(fake_server, route, **asked, format=schema, stream=False, options={"num_predict": 50}).json()
        assert json.loads(told["message"]["content"] if route == "chat" else told["response"])["a"] in (1, 2)
    wrong = post(fake_server, "chat", messages=says(""), format={"type": "nonsense"})
    assert wrong.status_code == 400 and "'format'" in wrong.json()["error"]


def test_probabilities(fake_server: RunningServer) -> None:
    asked = {"messages": says(""), "logprobs": True, "top_logprobs": 2, "options": {"num_predict": 3}}
    whole = post(fake_server, "chat", **asked, stream=False).json()["logprobs"]
    streamed = [token for line in lines(post(fake_server, "chat", **asked)) for token in line.get("logprobs", [])]
    assert len(whole) == len(streamed) == 3 and all(len(token["top_logprobs"]) == 2 for token in whole)
    text = post(fake_server, "generate", prompt="a", raw=True, logprobs=True, options={"num_predict": 3}, stream=False)
    assert ["token" in token and "top_logprobs" not in token for token in text.json()["logprobs"]] == [True] * 3


@pytest.mark.parametrize(
    ("route", "body", "status", "words"),
    [
        (
            "chat",
            {"messages": [{"role": "user", "content": "a"}], "options": {"num_ctx": 10**6}},
            400,
            "options.num_ctx",
        ),
        ("chat", {"messages": [], "options": {"num_ctx": 10**6}}, 400, "options.num_ctx"),
        ("chat", {"messages": [{"role": "user", "content": "a" * 9000}]}, 400, "maximum context length is 4096 tokens"),
        ("generate", {"prompt": "a" * 9000}, 400, "the length of the prompt"),
        ("chat", {"messages": 5}, 400, "messages"),
        ("generate", {"prompt": "a", "suffix": "b"}, 400, "suffix"),
        ("show", {"model": "nope"}, 404, "'nope' does not exist"),
        ("show", {}, 400, "model"),
        ("embed", {"input": [1]}, 400, "input"),
        ("create", {"model": "a", "from": "b"}, 501, "/api/create"),
        ("copy", {"source": "a", "destination": "b"}, 501, "/api/copy"),
        ("push", {"model": "a"}, 501, "/api/push"),
        ("blobs/sha256:00", {}, 501, "/api/blobs"),
        ("signout", {}, 404, "that route of Ollama's API"),
        ("pull", {"model": "org/name"}, 403, "start it without MODEL"),
        ("tags", {}, 405, "Not allowed"),
    ],
)
def test_errors_are_texts(
    fake_server: RunningServer, route: str, body: dict[str, Any], status: int, words: str
) -> None:
    reply = post(fake_server, route, **body)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert words in reply.json()["error"] and reply.headers["x-request-id"]


def test_no_key_is_an_error_of_ollamas(serve: Callable[..., RunningServer]) -> None:
    server = serve(api_key="secret").ready()
    for reply in (post(server, "chat", messages=says("")), httpx.get(f"{server.url}/api/tags")):
        assert reply.status_code == 401 and isinstance(reply.json()["error"], str)
    told = httpx.get(f"{server.url}/api/tags", headers={"authorization": "Bearer secret"})
    assert told.status_code == 200 and len(told.json()["models"]) == 1


def test_a_fault_after_the_head_is_a_line(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    server = serve(engine="runners:FaultyRunner").ready()
    reply = post(server, "chat", messages=[{"role": "user", "content": "!step"}])
    told = lines(reply) if reply.status_code == 200 else [reply.json()]
    assert list(told[-1]) == ["error"] and "a made-up fault" in told[-1]["error"]


def test_unknown_names_are_told_and_strict_refuses_them(serve: Callable[..., RunningServer]) -> None:
    server = serve(strict=True).ready()
    asked = {"messages": says(""), "stream": False}
    refused = post(server, "chat", **asked, options={"num_predict": 1, "foo": 1})
    assert refused.status_code == 400 and "options.foo" in refused.json()["error"]
    assert post(server, "chat", **asked, options={"num_predict": 1, "num_gpu": 99, "num_ctx": 2048}).status_code == 200
    assert post(server, "chat", model="another", messages=[]).status_code == 404


def test_vectors(fake_server: RunningServer) -> None:
    one = post(fake_server, "embed", model="a", input="Hello.").json()
    two = post(fake_server, "embed", input=["Hello.", "Bye."], options={"temperature": 0}, truncate=True).json()
    assert two["embeddings"][0] == one["embeddings"][0] != two["embeddings"][1] and len(two["embeddings"]) == 2
    assert one["prompt_eval_count"] > 0 and one["total_duration"] >= one["load_duration"] >= 0
    old = post(fake_server, "embeddings", prompt="Hello.").json()
    assert old == {"embedding": one["embeddings"][0]}
    with sdk(fake_server.url) as client:
        theirs = client.embeddings.create(model="", input="Hello.").data[0].embedding
    assert one["embeddings"][0] == pytest.approx(theirs, abs=1e-6)
    assert post(fake_server, "embed", input=[]).json()["embeddings"] == []
    assert post(fake_server, "embeddings").json() == {"embedding": []}


# What Open WebUI 0.12.4 sends by its Ollama connection: routers/ollama.py, utils/payload.py
OPEN_WEBUI_OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "num_ctx": 2048,
    "num_batch": 512,
    "num_keep": 24,
    "num_predict": 40,
    "repeat_last_n": 64,
    "top_k": 40,
    "min_p": 0.0,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "stop": ["###"],
    "num_gpu": 99,
    "use_mmap": True,
    "use_mlock": True,
    "num_thread": 4,
}


def test_what_open_webui_sends(saying: RunningServer) -> None:
    (model,) = [each["model"] for each in get(saying, "tags")["models"]]
    called = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "tool_calls": [called], "content": "", "thinking": "Hm."},
        {"role": "tool", "content": "␂It is cold.␃", "tool_call_id": "call_1"},
    ]
    asked = {"model": model, "messages": messages, "options": OPEN_WEBUI_OPTIONS, "keep_alive": "10m", "tools": [TOOL]}
    reply = post(saying, "chat", **asked, stream=True)
    *parts, last = lines(reply)
    assert "".join(part["message"]["content"] for part in parts) == "It is cold." and last["done_reason"] == "stop"
    assert "x-nitro-ignored" not in reply.headers
    title = post(saying, "chat", model=model, messages=says("A title"), stream=False, options={"num_predict": 50})
    assert title.json()["message"]["content"] == "A title"
    assert post(saying, "show", name=model, model=model).json()["details"]
    assert [each["model"] for each in get(saying, "ps")["models"]] == [model]
    vectors = post(saying, "embed", model=model, input=["a", "b"], truncate=True, options={}, keep_alive="10m").json()
    assert len(vectors["embeddings"]) == 2
    refused = post(saying, "pull", model="org/name", insecure=True)
    assert refused.status_code == 403 and refused.headers["content-type"] == "application/json"
    assert post(saying, "generate", model=model, keep_alive=0, prompt="").json()["done_reason"] == "unload"
    assert get(saying, "ps")["models"] == []
    assert post(saying, "generate", model=model, keep_alive=-1).json()["done_reason"] == "load"


# Several models


@pytest.fixture
def shelf(serve: Callable[..., RunningServer], tmp_path: Path) -> RunningServer:
    for name in ("anna", "bert-Q4_0"):
        write_gguf(tmp_path / f"{name}.gguf")
    return serve(engine=SHELF, no_model=True, models=(tmp_path,))


def loaded(server: RunningServer) -> list[str]:
    return [model["name"] for model in get(server, "ps")["models"]]


def test_models_are_listed_with_what_their_files_say(shelf: RunningServer, tmp_path: Path) -> None:
    told = {model["name"]: model for model in get(shelf, "tags")["models"]}
    assert set(told) == {"anna:latest", "bert-Q4_0:latest", f"{default_model.ID}:latest"}
    file = tmp_path / "anna.gguf"
    anna = told["anna:latest"]
    assert (anna["model"], anna["size"]) == ("anna:latest", file.stat().st_size)
    details = anna["details"]
    assert (details["format"], details["family"], details["families"]) == ("gguf", "llama", ["llama"])
    assert details["context_length"] == 512 and details["parameter_size"] and details["quantization_level"]
    assert abs(datetime.fromisoformat(anna["modified_at"]).timestamp() - file.stat().st_mtime) < 2
    digests = {model["digest"] for model in told.values()}
    assert len(digests) == 3 and all(len(digest) == 64 for digest in digests)
    file.write_bytes(file.read_bytes() + b"\0")
    assert {model["name"]: model for model in get(shelf, "tags")["models"]}["anna:latest"]["digest"] not in digests


def test_nothing_to_answer_loads_and_unloads(shelf: RunningServer) -> None:
    assert loaded(shelf) == []
    for route, name in (("generate", "anna"), ("chat", "bert-Q4_0:latest")):
        told = post(shelf, route, model=name, keep_alive=-1).json()
        assert (told["done"], told["done_reason"], told["model"]) == (True, "load", f"{name.split(':')[0]}:latest")
    assert set(loaded(shelf)) == {"anna:latest", "bert-Q4_0:latest"}
    (anna,) = [model for model in get(shelf, "ps")["models"] if model["name"] == "anna:latest"]
    assert anna["context_length"] > 0 and anna["size"] > 0 and anna["size_vram"] == 0
    assert datetime.fromisoformat(anna["expires_at"]).year > 2200
    post(shelf, "generate", model="anna", keep_alive="1h")
    (anna,) = [model for model in get(shelf, "ps")["models"] if model["name"] == "anna:latest"]
    left = datetime.fromisoformat(anna["expires_at"]) - datetime.now(UTC)
    assert 3000 < left.total_seconds() < 3700
    told = post(shelf, "generate", model="anna", keep_alive=0).json()
    assert (told["done_reason"], told["response"]) == ("unload", "")
    assert post(shelf, "chat", model="bert-Q4_0", messages=[], keep_alive="0s").json()["done_reason"] == "unload"
    assert loaded(shelf) == []
    assert post(shelf, "generate", model="anna", keep_alive=0).json()["done_reason"] == "unload", "it need not be there"
    assert loaded(shelf) == []
    for name in ("nobody", "nobody:latest"):
        assert post(shelf, "chat", model=name, messages=says("")).status_code == 404
        assert post(shelf, "generate", model=name, keep_alive=0).status_code == 404


def test_a_model_goes_when_its_requests_have_ended(
    serve: Callable[..., RunningServer], tmp_path: Path, gate: Any
) -> None:
    write_gguf(tmp_path / "anna.gguf")
    (tmp_path / "anna.gate").symlink_to(gate.path)
    server = serve(engine=SHELF, no_model=True, models=(tmp_path,))
    with httpx.Client(base_url=server.url, timeout=CEILING) as client:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            body = {"model": "anna", "messages": says(""), "options": {"num_predict": 2}, "stream": False}
            asked = pool.submit(client.post, "/api/chat", json=body)
            gate.accept().wait_inside()
            assert post(server, "generate", model="anna", keep_alive=0).json()["done_reason"] == "unload"
            assert loaded(server) == ["anna:latest"], "it works"
            gate.let_go()
            gate.open()
            assert asked.result().json()["done_reason"] == "length"


def test_an_answer_names_its_model(shelf: RunningServer) -> None:
    for name in ("anna", "anna:latest", "ANNA"):
        told = post(shelf, "chat", model=name, messages=says(""), stream=False, options={"num_predict": 4})
        assert (told.json()["model"], told.json()["message"]["content"]) == ("anna:latest", "anna")
        assert "x-nitro-ignored" not in told.headers
    assert post(shelf, "chat", messages=says("")).json()["error"].startswith("No model is loaded") or loaded(shelf)


def test_show(shelf: RunningServer) -> None:
    told = post(shelf, "show", model="anna:latest").json()
    info = told["model_info"]
    assert (info["general.architecture"], info["llama.context_length"], info["llama.block_count"]) == ("llama", 512, 2)
    assert info["general.parameter_count"] > 1000 and info["tokenizer.ggml.tokens"] == [] and "tensors" not in told
    assert not any("chat_template" in key for key in info) and told["template"]
    assert told["capabilities"] == ["completion", "tools"] and told["details"]["family"] == "llama"
    whole = post(shelf, "show", name="anna", verbose=True).json()
    assert len(whole["model_info"]["tokenizer.ggml.tokens"]) > 100 and whole["tensors"][0]["shape"]
    post(shelf, "generate", model="anna")
    context = get(shelf, "ps")["models"][0]["context_length"]
    assert f"num_ctx                        {context}" in post(shelf, "show", model="anna").json()["parameters"]
    assert post(shelf, "show", model="anna", foo=1).status_code == 400


@pytest.mark.parametrize(("route", "empty"), [("chat", {"messages": []}), ("generate", {"prompt": ""})])
def test_a_request_that_only_loads_is_held_to_its_parameters_too(
    fake_server: RunningServer, serve, route: str, empty: dict[str, Any]
) -> None:
    told = post(fake_server, route, **empty, foo=1, options={"bar": 2, "num_thread": 4})
    assert told.json()["done_reason"] == "load" and set(told.headers["x-nitro-ignored"].split(", ")) == {
        "foo",
        "options.bar",
    }
    for wrong, name in (({"template": "x"}, "template"), ({"options": {"top_k": "x"}}, "options.top_k")):
        refused = post(fake_server, route, **empty, **wrong)
        assert refused.status_code == 400 and f"'{name}'" in refused.json()["error"]
    refused = post(serve(strict=True).ready(), route, **empty, foo=1)
    assert refused.status_code == 400 and "'foo'" in refused.json()["error"]


def test_a_reranker_is_not_shown_as_a_model_that_answers(serve) -> None:
    server = serve(engine="nitro.engines.backends.fake:FakeReranker").ready()
    (model,) = get(server, "ps")["models"]
    assert post(server, "show", model=model["name"]).json()["capabilities"] == []


def test_the_embedded_model(smollm_server: RunningServer, smollm: Path) -> None:
    (listed,) = get(smollm_server, "tags")["models"][:1]
    assert listed["name"] == f"{default_model.ID}:latest" and listed["details"]["parameter_size"] == "134.52M"
    told = post(smollm_server, "show", model=listed["name"]).json()
    assert (
        told["system"] and "temperature" in told["parameters"] and told["model_info"]["llama.embedding_length"] == 576
    )
    options = {"temperature": 0, "num_predict": 8}
    asked = [{"role": "user", "content": "The capital of France is"}]
    ours = post(smollm_server, "chat", messages=asked, options=options, stream=False).json()
    with sdk(smollm_server.url) as client:
        theirs = client.chat.completions.create(model="", messages=asked, temperature=0, max_tokens=8)  # type: ignore[arg-type]
    assert ours["message"]["content"] == theirs.choices[0].message.content
    assert theirs.usage and ours["prompt_eval_count"] == theirs.usage.prompt_tokens
    raw = post(smollm_server, "generate", prompt="The capital of France is", raw=True, options=options, stream=False)
    assert "Paris" in raw.json()["response"]


def test_a_server_of_one_model_answers_to_any_name() -> None:
    with RunningServer(ServeConfig(engine=FAKE, port=0, alias="mine")) as server:
        server.ready()
        asked = {"messages": says(""), "stream": False, "options": {"num_predict": 1}}
        assert "x-nitro-ignored" not in post(server, "chat", model="mine:latest", **asked).headers
        assert post(server, "chat", model="other", **asked).headers["x-nitro-ignored"] == "model"
        assert get(server, "tags")["models"][0]["digest"] == hashlib.sha256(b"").hexdigest(), "it has no file"
