"""Keys of many users, over real sockets: who they are, what each may do and how much, while the file changes."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from jsonschema_rs import validator_for
from runners import Gate
from running import CEILING, FAKE, RunningServer, sdk, server_process
from tiny_models import write_gguf

from nitro.api.openapi.document import document
from nitro.config import ServeConfig
from nitro.keys import keys_file
from nitro.keys.key import Key, digest, new_secret, now

GATED = "runners:GatedRunner"
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
MASTER = "the-master-key"
FAKE_ID = "FakeRunner"


class Keys:
    """A file of keys, and their secrets by name."""

    def __init__(self, path: Path):
        self.path = path
        self.secrets: dict[str, str] = {}

    def add(self, name: str, **fields: Any) -> str:
        self.secrets[name] = secret = new_secret()
        keys_file.add(self.path, name, Key(hash=digest(secret.encode()), created=now(), **fields))
        return secret

    def head(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[name]}"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.toml")


def until(true: Callable[[], Any]) -> Any:
    """What it returns, once that is true."""
    end = time.monotonic() + CEILING
    while not (found := true()):
        assert time.monotonic() < end, "it never is"
    return found


# One server for all that only asks


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Keys]]:
    folder = tmp_path_factory.mktemp("keys")
    keys = Keys(folder / "keys.toml")
    keys.add("alice")
    keys.add("root", admin=True)
    keys.add("old", expires=now())
    keys.add("scraper", admin=True, routes=("GET /metrics",))
    keys.add("chats", routes=(CHAT, "GET /v1/models*"))
    keys.add("other", models=("other-*",))
    keys.add("short", longest_context=64)
    keys.add("hurries", tiers=("priority", "flex"))
    keys.add("slow", requests_per_minute=2)
    keys.add("slow2", tokens_per_minute=10)
    keys.add("poor", tokens_per_day=10)
    keys.add("rated", requests_per_minute=10, tokens_per_day=5000)
    keys.add("counted")
    folders = {"state": folder / "state", "record": folder / "records"}
    config = ServeConfig(engine=FAKE, port=0, api_key=MASTER, keys=keys.path, **folders)
    with RunningServer(config) as server:
        yield server.ready(), keys


Many = tuple[RunningServer, Keys]


def call(many: Many, name: str | None, path: str, body: Any = None, **headers: str) -> httpx.Response:
    """With the key of this name; a body is posted."""
    server, keys = many
    headers = {**(keys.head(name) if name else {}), **headers}
    return httpx.request("POST" if body is not None else "GET", server.url + path, json=body, headers=headers)


def client(many: Many, name: str, **options: Any) -> openai.OpenAI:
    server, keys = many
    return server.client(api_key=keys.secrets[name], **options)


def test_who_may_call(many: Many) -> None:
    server, keys = many
    models = f"{server.url}/v1/models"
    assert httpx.get(models).status_code == 401
    for right in (*map(keys.secrets.get, ("alice", "root", "chats")), MASTER):
        assert httpx.get(models, headers={"authorization": f"Bearer {right}"}).status_code == 200
        assert httpx.get(models, headers={"x-api-key": str(right)}).status_code == 200
    secret = keys.secrets["alice"]
    for wrong in (secret[:-1], f"{secret}x", secret.upper(), new_secret(), digest(secret.encode()), "alice", "", "ü"):
        reply = httpx.get(models, headers={"x-api-key": wrong.encode()})
        assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"
    expired = call(many, "old", "/v1/models")
    assert expired.status_code == 401 and "has expired" in expired.json()["error"]["message"]
    assert call(many, None, "/health").status_code == 200
    assert call(many, None, "/", accept="text/html").status_code == 200, "the page asks for the key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("GET", "/v1/server/events"),
        ("GET", "/v1/server/events/"),
        ("GET", "//v1//server/events"),
        ("GET", "/server/events"),
        ("GET", "/v1/%73erver/events"),
        ("POST", "/v1/server/requests/req_1/abort"),
        ("GET", "/v1/records"),
        ("DELETE", "/v1/records"),
        ("POST", "/v1/models/load"),
        ("POST", "/v1/models/unload"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("DELETE", "/processmanager/destroy"),
        ("DELETE", "/PROCESSMANAGER/destroy"),
        ("POST", "/inferences/llamacpp/loadmodel"),
        ("GET", "/inferences/llamacpp/unloadmodel"),
    ],
)
def test_what_is_for_administrators(many: Many, method: str, path: str) -> None:
    server, keys = many
    reply = httpx.request(method, server.url + path, headers=keys.head("alice"))
    assert reply.status_code == 403 and "The key 'alice' may not call" in reply.text


def test_administrators_may(many: Many) -> None:
    assert call(many, "root", "/metrics").status_code == 200
    assert call(many, "root", "/v1/records").status_code == 200
    assert call(many, "root", "/v1/models/load", {"model": "no"}).status_code == 404
    assert call(many, "root", "/v1/server/requests/req_1/abort", {}).json()["error"]["code"] == "request_not_found"
    assert call(many, "scraper", "/metrics").status_code == 200
    assert call(many, "scraper", "/v1/records").status_code == 403, "only what its routes have"
    assert call(many, "alice", "/api/generate", {"model": FAKE_ID, "keep_alive": 0}).status_code == 403
    for name, ignored in (("alice", "keep_alive"), ("root", None)):  # a load alone says so, too
        loaded = call(many, name, "/api/generate", {"model": FAKE_ID, "keep_alive": "5m"})
        assert loaded.status_code == 200 and loaded.headers.get("x-nitro-ignored") == ignored


def test_routes(many: Many) -> None:
    assert client(many, "chats").chat.completions.create(model="", messages=HELLO, max_tokens=2).choices
    assert client(many, "chats").models.list().data
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client(many, "chats").completions.create(model="", prompt="Hi")
    assert caught.value.code == "not_allowed" and "POST /v1/completions" in str(caught.value)
    assert call(many, "chats", "/chat/completions", {"messages": HELLO, "max_tokens": 1}).status_code == 200


def test_models(many: Many) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client(many, "other").chat.completions.create(model=FAKE_ID, messages=HELLO)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert client(many, "other").models.list().data == []
    assert call(many, "other", f"/v1/models/{FAKE_ID}").status_code == 403
    assert call(many, "other", "/api/tags").json() == {"models": []}
    assert call(many, "other", "/api/show", {"model": FAKE_ID}).status_code == 403
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/responses", {"input": "a"}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 3}),
        ("/v1/chat/completions/input_tokens", {"messages": HELLO}),
        ("/tokenize", {"content": "a"}),
        ("/api/chat", {"messages": HELLO, "model": FAKE_ID}),
        ("/api/generate", {"model": FAKE_ID}),
        ("/inferences/llamacpp/chat_completion", {"messages": HELLO}),
    ):
        assert call(many, "other", path, {"model": "x", **body}).status_code in (403, 409), path


def test_the_longest_context(many: Many) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client(many, "short").completions.create(model="", prompt="a" * 64)
    assert caught.value.code == "context_length_exceeded" and "64 tokens" in str(caught.value)
    answer = client(many, "short").completions.create(model="", prompt=" " * 40, max_tokens=1000)
    assert answer.choices[0].finish_reason == "length" and answer.usage and answer.usage.total_tokens == 64
    streamed = client(many, "short").completions.create(model="", prompt=" " * 63, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "!"


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [("alice", "priority", "default"), ("alice", "flex", "flex"), ("root", "priority", "default"),
     ("hurries", "priority", "priority"), ("hurries", "default", "flex")],
)  # fmt: skip
def test_tiers(many: Many, name: str, asked: str, given: str) -> None:
    body = {"messages": HELLO, "max_tokens": 1, "service_tier": asked}
    assert call(many, name, CHAT, body).json()["service_tier"] == given


# Limits, as OpenAI's SDK sees them


def test_requests_of_a_minute(many: Many) -> None:
    asks = client(many, "slow").with_options(max_retries=0).chat.completions
    for _ in range(2):
        asks.create(model="", messages=HELLO, max_tokens=1)
    with pytest.raises(openai.RateLimitError) as caught:
        asks.create(model="", messages=HELLO, max_tokens=1)
    error, headers = caught.value, caught.value.response.headers
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests") and "requests per minute: Limit 2" in str(
        error
    )
    assert 1 <= int(headers["retry-after"]) <= 30 and "x-should-retry" not in headers
    assert headers["x-ratelimit-limit-requests"] == "2" and headers["x-ratelimit-remaining-requests"] == "0"
    assert client(many, "slow").models.list().data, "what is no POST is not counted"


def test_tokens_of_a_minute(many: Many) -> None:
    asks = client(many, "slow2").completions
    first = asks.with_raw_response.create(model="", prompt="a" * 15, max_tokens=5)
    assert first.headers["x-ratelimit-remaining-tokens"] == "0" and first.headers["x-ratelimit-limit-tokens"] == "10"
    with pytest.raises(openai.RateLimitError) as caught:
        asks.create(model="", prompt="a")
    assert caught.value.type == "tokens" and 30 < int(caught.value.response.headers["retry-after"]) <= 66


def test_a_day_that_is_used_up(many: Many) -> None:
    """The SDK does not try again, though it would."""
    asks = client(many, "poor", max_retries=2).completions
    asks.create(model="", prompt="a" * 10, max_tokens=3)
    with pytest.raises(openai.RateLimitError) as caught:
        asks.create(model="", prompt="a")
    headers = caught.value.response.headers
    assert caught.value.code == caught.value.type == "insufficient_quota"
    assert headers["x-should-retry"] == "false" and 0 < int(headers["retry-after"]) <= 86400
    text = call(many, "root", "/metrics").text
    assert 'nitro_key_refused_total{code="insufficient_quota",key="poor"} 1.0' in text
    server, keys = many
    with pytest.raises(anthropic.RateLimitError) as told:
        anthropic.Anthropic(base_url=server.url, api_key=keys.secrets["poor"]).messages.create(
            model="x", max_tokens=3, messages=HELLO
        )
    assert told.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]


def test_headers_of_a_key_with_limits(many: Many) -> None:
    body = {"prompt": "a" * 10, "max_tokens": 5}
    whole = call(many, "rated", "/v1/completions", body).headers
    assert whole["x-ratelimit-limit-requests"] == "10" and whole["x-ratelimit-remaining-requests"] == "9"
    assert 0 < float(whole["x-ratelimit-reset-requests"].removesuffix("s")) <= 6, "one of ten comes back in six seconds"
    assert whole["x-ratelimit-remaining-tokens"] == "4985" and whole["x-ratelimit-reset-tokens"].endswith("s")
    streamed = call(many, "rated", "/v1/completions", {**body, "stream": True}).headers
    assert streamed["x-ratelimit-remaining-tokens"] == "4975", "the prompt counts when the reply begins"
    assert not [name for name in call(many, "alice", "/v1/models").headers if name.startswith("x-ratelimit")]
    origin = call(many, "rated", "/v1/models", origin="https://app.example").headers
    assert "x-ratelimit-remaining-tokens" in origin["access-control-expose-headers"]


# What was used


def test_usage(many: Many) -> None:
    asks = client(many, "counted")
    one = asks.chat.completions.create(model="", messages=HELLO, max_tokens=4).usage
    asks.embeddings.create(model="", input=["abc", "de"])
    with pytest.raises(openai.BadRequestError):
        asks.chat.completions.create(model="", messages=[])
    assert one
    own = call(many, "counted", "/v1/usage").json()
    assert [key["name"] for key in own["keys"]] == ["counted"]
    assert own["keys"][0] | {"name": ""} == {
        "name": "", "admin": False, "expires": None, "running": 0, "requests": None, "tokens": None,
    }  # fmt: skip
    rows = {row["model"]: row for row in own["data"]}
    validator_for({**document(), "$ref": "#/components/schemas/KeyUsageList"}).validate(own)
    assert {row["key"] for row in own["data"]} == {"counted"}
    assert set(rows) == {FAKE_ID, None}, "a refused one was computed by no model"
    assert (rows[FAKE_ID]["requests"], rows[None]["requests"]) == (2, 1)
    assert rows[FAKE_ID]["prompt_tokens"] == one.prompt_tokens + 5
    assert rows[FAKE_ID]["completion_tokens"] == one.completion_tokens == 4
    assert rows[FAKE_ID]["day"] == time.strftime("%Y-%m-%d", time.gmtime()) or time.gmtime().tm_hour == 0
    for name in ("root", None):
        head = {} if name else {"authorization": f"Bearer {MASTER}"}
        everybody = call(many, name, "/v1/usage?days=2", **head).json()
        assert {"alice", "counted", "poor"} <= {key["name"] for key in everybody["keys"]}
        one_key = call(many, name, "/v1/usage?key=counted", **head).json()
        assert one_key == own
    assert call(many, "counted", "/v1/usage?key=alice").status_code == 403
    assert call(many, "counted", "/v1/usage?days=0").json()["error"]["param"] == "days"
    text = call(many, "root", "/metrics").text
    assert f'nitro_key_generated_tokens_total{{key="counted"}} {one.completion_tokens}.0' in text
    assert 'nitro_key_requests_total{key="counted"} 3.0' in text


def test_the_log_names_the_key(serve: Callable[..., RunningServer], keys: Keys) -> None:
    secret = keys.add("alice", requests_per_minute=1)
    server = serve(keys=keys.path).ready()
    asks = sdk(server.url, api_key=secret).completions
    asks.create(model="", prompt="a", max_tokens=1)
    with pytest.raises(openai.RateLimitError):
        asks.create(model="", prompt="a", max_tokens=1)
    answered, refused = server.log_line(), server.log_line()
    assert answered.endswith("finish=length key=alice") and secret not in answered + refused
    assert "error 429: Rate limit reached for key 'alice'" in refused


def test_without_keys_there_is_no_usage(fake_server: RunningServer) -> None:
    reply = httpx.get(f"{fake_server.url}/v1/usage")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "no_keys"
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


def test_what_was_used_outlives_the_server(keys: Keys, tmp_path: Path) -> None:
    """The next server knows what is left of the day. What runs in the background counts, too."""
    secret = keys.add("alice", tokens_per_day=100)
    config = ServeConfig(engine=FAKE, port=0, keys=keys.path, state=tmp_path / "state")

    def used(server: RunningServer) -> dict[str, int]:
        reply = httpx.get(f"{server.url}/v1/usage", headers=keys.head("alice")).json()
        return {name: sum(row[name] for row in reply["data"]) for name in expected}

    with RunningServer(config) as server:
        asks = sdk(server.url, api_key=secret)
        response = asks.responses.create(model="", input="Hi", max_output_tokens=20, background=True)
        ended = until(lambda: (found := asks.responses.retrieve(response.id)).usage and found)
        expected = {
            "requests": 1,
            "prompt_tokens": ended.usage.input_tokens,
            "completion_tokens": ended.usage.output_tokens,
        }
        assert ended.usage.output_tokens == 20
        until(lambda: used(server) == expected)
        asks.completions.create(model="", prompt="a" * 80, max_tokens=10)
    with RunningServer(config) as server:
        assert used(server) == {
            "requests": 2,
            "prompt_tokens": expected["prompt_tokens"] + 80,
            "completion_tokens": 30,
        }
        with pytest.raises(openai.RateLimitError) as caught:
            sdk(server.url, api_key=secret).completions.create(model="", prompt="a")
        assert caught.value.code == "insufficient_quota"


def test_a_state_that_cannot_be_kept_keeps_nobody_out(
    serve: Callable[..., RunningServer], keys: Keys, tmp_path: Path
) -> None:
    secret = keys.add("alice", requests_per_day=2)
    (tmp_path / "file").write_text("")
    for options in ({"no_state": True}, {"state": tmp_path / "file" / "state"}):
        server = serve(keys=keys.path, **options).ready()
        asks = sdk(server.url, api_key=secret).completions
        for _ in range(2):
            asks.create(model="", prompt="a", max_tokens=1)
        with pytest.raises(openai.RateLimitError):
            asks.create(model="", prompt="a", max_tokens=1)
        reply = httpx.get(f"{server.url}/v1/usage", headers=keys.head("alice"))
        assert (reply.status_code, reply.json().get("data", [{}])[0].get("requests")) in ((200, 2), (503, None))


# Several at once


def test_requests_at_once(serve: Callable[..., RunningServer], keys: Keys, gate: Gate) -> None:
    keys.add("alice", requests_at_once=1)
    server = serve(engine=GATED, model=gate.path, keys=keys.path)
    gate.accept()
    server.ready()
    body = {"messages": HELLO, "max_tokens": 3, "stream": True}
    with httpx.Client(base_url=server.url, headers=keys.head("alice"), timeout=CEILING) as alice:
        with alice.stream("POST", CHAT, json=body) as stream:
            gate.wait_inside()
            refused = httpx.post(server.url + CHAT, json=body, headers=keys.head("alice"))
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert "requests at once: Limit 1" in refused.json()["error"]["message"]
            gate.open()
            assert b"[DONE]" in stream.read()
        until(lambda: alice.post(CHAT, json=body).status_code == 200)
        with alice.stream("POST", CHAT, json={**body, "max_tokens": 4000}):
            pass  # it leaves
        until(lambda: alice.post(CHAT, json=body).status_code == 200)


def test_two_keys_share_the_engine(serve: Callable[..., RunningServer], keys: Keys, gate: Gate) -> None:
    """By their names, whatever their addresses: one has filled their queue, the other is served."""
    keys.add("heavy")
    keys.add("light")
    server = serve(engine=GATED, model=gate.path, parallel=2, max_queue=2, keys=keys.path)
    gate.accept()
    server.ready()
    much: dict[str, Any] = {"messages": HELLO, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        heavy, light = (
            stack.enter_context(httpx.Client(base_url=server.url, headers=keys.head(name), timeout=CEILING))
            for name in ("heavy", "light")
        )
        for _ in range(4):
            stack.enter_context(heavy.stream("POST", CHAT, json=much))
        full = heavy.post(CHAT, json=much)
        assert full.status_code == 429 and full.json()["error"]["code"] == "rate_limit_exceeded"
        gate.wait_inside()
        answer = pool.submit(light.post, CHAT, json={"messages": HELLO, "max_tokens": 3})
        open = server.engine.generations.open
        until(lambda: [each for each in list(open) if each.accepted.done() and each.share.user == "key:light"])
        gate.let_go()
        steps = 0
        while not answer.done():
            gate.step()
            steps += 1
        assert answer.result().json()["usage"]["completion_tokens"] == 3
        assert steps < 100, "long before the first key's answers have ended"


def test_keys_of_several_models(serve: Callable[..., RunningServer], keys: Keys, tmp_path: Path) -> None:
    """What a key may not use is neither loaded for it nor told to it."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("anna", "bert"):
        write_gguf(shelf / f"{name}.gguf")
    secret = keys.add("alice", models=("ANNA",))
    server = serve(engine="runners:ShelfRunner", no_model=True, models=(shelf,), keys=keys.path, api_key="master")
    asks = sdk(server.url, api_key=secret)
    assert [model.id for model in asks.models.list().data] == ["anna"]
    assert asks.completions.create(model="anna", prompt="x", max_tokens=4).choices[0].text == "anna"
    with pytest.raises(openai.PermissionDeniedError):
        asks.completions.create(model="bert", prompt="x")
    with pytest.raises(openai.NotFoundError) as caught:
        asks.completions.create(model="bertha", prompt="x")
    assert "anna" in str(caught.value) and "bert'" not in str(caught.value).replace("'bertha'", "")
    states = {each.id: each.state for each in sdk(server.url, api_key="master").models.list().data}  # type: ignore[attr-defined]
    assert (states["anna"], states["bert"]) == ("ok", "unloaded")


# The file changes


def test_a_file_that_changes_drops_no_stream(keys: Keys, gate: Gate, tmp_path: Path) -> None:
    """On SIGHUP, and by itself. One that is wrong changes nothing, and says so."""
    keys.add("alice")
    log = tmp_path / "log"
    arguments = (gate.path, "--engine", GATED, "--keys", str(keys.path), "--state", str(tmp_path / "state"))
    with log.open("w+") as output, server_process(*arguments, stdout=output) as server:
        gate.accept()
        url = server.wait_ready()
        body = {"messages": HELLO, "max_tokens": 3, "stream": True}

        def status(name: str) -> int:
            return httpx.get(f"{url}/v1/models", headers=keys.head(name)).status_code

        with httpx.stream("POST", url + CHAT, json=body, headers=keys.head("alice"), timeout=CEILING) as stream:
            gate.wait_inside()
            keys.path.write_text("[keys.")
            server.process.send_signal(signal.SIGHUP)
            said = next(line for line in server.process.stderr if "keys" in line)
            assert "What was read before still holds" in said and str(keys.path) in said and "is not TOML" in said
            assert status("alice") == 200
            keys.path.unlink()
            keys.add("bob")
            server.process.send_signal(signal.SIGHUP)
            assert until(lambda: status("bob") == 200) and status("alice") == 401
            keys.add("carol")
            assert until(lambda: status("carol") == 200), "without a signal"
            gate.open()
            assert b"[DONE]" in stream.read()
        assert server.process.poll() is None
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        server.process.terminate()
        told = "".join(server.said) + server.process.stderr.read() + log.read_text() + command.decode()
        assert "alice" not in keys.path.read_text() and str(keys.path) in told
        assert not [secret for secret in keys.secrets.values() if secret in told or digest(secret.encode())[7:] in told]


def test_a_file_that_is_wrong_is_told_at_the_start(tmp_path: Path, keys: Keys) -> None:
    keys.path.write_text("[keys.a]\n")
    with server_process("--keys", str(keys.path), "--engine", FAKE) as server:
        assert server.process.wait(CEILING) == 1
        said = f"nitro: {keys.path}: [keys.a]: there is no 'hash'; `nitro key new` makes one.\n"
        assert server.process.stderr.read() == said


def test_an_empty_file_lets_nobody_in(serve: Callable[..., RunningServer], keys: Keys) -> None:
    keys.path.write_text("")
    server = serve(keys=keys.path).ready()
    assert httpx.get(f"{server.url}/v1/models").status_code == 401
    assert httpx.get(f"{server.url}/v1/models", headers={"x-api-key": ""}).status_code == 401
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_no_key_is_recorded(many: Many) -> None:
    """Not that of the header, and none that somebody writes into a request."""
    server, keys = many
    secret, other = keys.secrets["alice"], new_secret()
    text = f"My keys are {secret} and {json.dumps(other)}."
    reply = call(many, "alice", "/v1/completions", {"prompt": text, "max_tokens": 1, "echo": True})
    id = reply.headers["x-request-id"]
    record = until(lambda: (found := call(many, "root", f"/v1/records/{id}")).status_code == 200 and found)
    assert "My keys are *** and" in record.text
    for file in server.server.recorder.folder.iterdir():  # type: ignore[union-attr]
        assert secret.encode() not in file.read_bytes() and other.encode() not in file.read_bytes()
