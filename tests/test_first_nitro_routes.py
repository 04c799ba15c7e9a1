"""The first Nitro's routes over a made-up pool: which reply comes when, and who may stop the server."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from nitro.api.app import make_app
from nitro.api.auth import Guard
from nitro.api.first_nitro import replies
from nitro.errors import EngineDown
from nitro.models.load_plan import Wanted
from nitro.models.model_source import ModelSource
from nitro.models.pool_entry import PoolEntry
from nitro.models.settings import ModelSettings
from nitro.service.generation import GenerationService
from nitro.service.intake.lanes import Intake
from nitro.service.metrics import Metrics

NOT_LOADED = {"message": "Model has not been loaded, please load model into nitro"}
PREFIXES = ("/inferences/llamacpp", "/inferences/server", "/inferences/llamaCPP", "/Inferences/LlamaCpp")


class Pool:
    """Loads at once, or when it is told to."""

    default: Any = None

    def __init__(self, *loaded: str):
        self.models = [self._entry(ModelSource(name, name, 0), ModelSettings()) for name in loaded]
        self.loads: list[tuple[ModelSource, ModelSettings]] = []
        self.unloads: list[str] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None

    def _entry(self, source: ModelSource, settings: ModelSettings, state: Any = "ok") -> PoolEntry:
        info = SimpleNamespace(engine="llama.cpp b1 (0.3.36)")
        served: Any = SimpleNamespace(source=source, engine=SimpleNamespace(info=info, generate=self._generate))
        return PoolEntry(
            id=source.id,
            state=state,
            reason=None,
            bytes=0,
            context=settings.options.get("context"),
            resident=state == "ok",
            leases=0,
            idle=None,
            pinned=settings.pin,
            wanted=Wanted(source, settings),
            served=served,
        )

    async def _generate(self, work: Any) -> Any:
        """Of an engine that takes any grammar."""
        return SimpleNamespace(abort=lambda: None)

    def entries(self) -> Sequence[PoolEntry]:
        """One is known and not loaded."""
        return [*self.models, self._entry(ModelSource("other", "other", 0), ModelSettings(), "unloaded")]

    async def load_source(self, source: ModelSource, settings: ModelSettings) -> Any:
        self.loads.append((source, settings))
        if self.gate:
            await self.gate.wait()
        if self.failure:
            raise self.failure
        self.models.append(self._entry(source, settings))
        return self.models[-1].served

    async def unload(self, name: str, force: bool = False) -> None:
        assert force
        self.unloads.append(name)
        self.models = [model for model in self.models if model.id != name]


class Server:
    """The application, asked without a socket. `peer`: who asks."""

    def __init__(self, pool: Pool, api_key: str | None = None, strict: bool = False):
        self.stopped = 0
        metrics = Metrics()
        served: Any = pool
        service = GenerationService(served, Intake(), metrics, strict)
        self.app: Any = make_app(served, service, Guard(api_key), metrics, stop=self._stop)

    def _stop(self) -> None:
        self.stopped += 1

    async def ask(self, method: str, path: str, peer: str = "127.0.0.1", **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(peer, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    def __call__(self, method: str, path: str, peer: str = "127.0.0.1", **options: Any) -> tuple[int, Any]:
        """The status and the body."""
        reply = asyncio.run(self.ask(method, path, peer, **options))
        assert reply.headers["content-type"] == "application/json"
        return reply.status_code, reply.json()


@pytest.fixture
def gguf(tmp_path: Path) -> str:
    """A file that is a GGUF as far as its first bytes tell."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    return str(file)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_dialogue_of_the_old_documents(prefix: str, gguf: str) -> None:
    """With the comma behind the last field that their curl commands have."""
    pool = Pool()
    server = Server(pool)
    body = json.dumps({"llama_model_path": gguf, "ctx_len": 512, "ngl": 100})[:-1] + ",\n}"
    assert server("POST", f"{prefix}/loadmodel", content=body) == (200, {"message": "Model loaded successfully"})
    assert server("POST", f"{prefix}/loadmodel", content=b"{") == (409, {"message": "Model already loaded"})
    status, told = server("GET", f"{prefix}/modelStatus")
    assert status == 200 and list(told) == ["model_data", "model_loaded"] and told["model_loaded"] is True
    data = json.loads(told["model_data"])
    assert (data["model"], data["n_ctx"]) == (gguf, 512)
    assert server("GET", f"{prefix}/unloadModel", content=body) == (200, {"message": "Model unloaded successfully"})
    assert server("GET", f"{prefix}/unloadmodel") == (409, NOT_LOADED)
    assert [settings.options for _, settings in pool.loads] == [{"context": 512, "parallel": 1}]


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "unloadmodel"),
        ("POST", "unloadmodel"),
        ("GET", "modelstatus"),
        ("POST", "modelstatus"),
        ("POST", "chat_completion"),
        ("POST", "embedding"),
    ],
)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_without_a_model(prefix: str, method: str, route: str) -> None:
    assert Server(Pool())(method, f"{prefix}/{route}", content=b"no json") == (409, NOT_LOADED)


def test_any_model_that_is_loaded_counts() -> None:
    """Also one that the server has started with. All give way to the next."""
    pool = Pool("one", "two")
    server = Server(pool)
    assert server("POST", "/inferences/llamacpp/loadmodel")[0] == 409
    assert json.loads(server("GET", "/inferences/llamacpp/modelstatus")[1]["model_data"])["model"] == "one"
    assert server("POST", "/inferences/server/unloadmodel")[0] == 200
    assert pool.unloads == ["one", "two"] and server("GET", "/inferences/llamacpp/unloadmodel")[0] == 409


@pytest.mark.parametrize("path", ["/nowhere.gguf", "", None, __file__])
def test_what_cannot_be_loaded(path: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets the old words; the log and a header say why."""
    pool = Pool()
    server = Server(pool)
    reply = asyncio.run(server.ask("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": path}))
    assert (reply.status_code, reply.content) == (500, b'{"message":"Failed to load model"}')
    assert reply.headers[replies.REASON] and "loadmodel: " in caplog.text and not pool.loads
    assert server("GET", "/inferences/llamacpp/modelstatus") == (409, NOT_LOADED)


def test_an_engine_that_fails(gguf: str) -> None:
    """It is loaded again at the next request."""
    pool = Pool()
    server = Server(pool)
    pool.failure = EngineDown("a made-up fault: out of memory")
    reply = asyncio.run(server.ask("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf}))
    assert reply.json() == {"message": "Failed to load model"} and "made-up" in reply.headers[replies.REASON]
    pool.failure = None
    assert server("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf})[0] == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"grp_attn_n": 4}, 400, "'grp_attn_n'"),
        ({"ctx_len": "many"}, 400, "'ctx_len'"),
        ({"grammar_file": "/nowhere.gbnf"}, 400, "Invalid value for 'grammar_file': /nowhere.gbnf cannot be read"),
        ({"grammar_file": "/"}, 400, "is a folder"),
        ({"grammar_file": "/dev/zero"}, 400, "/dev/zero is a device"),
        ({"engine": "cortex.onnx"}, 500, "Could not load engine cortex.onnx"),
        ({"pre_prompt": "x" * 2**16}, 413, "at most 65536 bytes"),
    ],
)
def test_what_a_load_is_refused_for(gguf: str, fields: dict[str, Any], status: int, words: str) -> None:
    pool = Pool()
    told, body = Server(pool)("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf, **fields})
    assert told == status and list(body) == ["message"] and words in body["message"] and not pool.loads


def test_what_has_no_effect_is_told(gguf: str) -> None:
    body = {"llama_model_path": gguf, "n_batch": 512, "cont_batching": True, "pre_prompt": "x"}
    reply = asyncio.run(Server(Pool()).ask("POST", "/inferences/llamacpp/loadmodel", json=body))
    assert reply.status_code == 200 and reply.headers["x-nitro-ignored"] == "n_batch, cont_batching, pre_prompt"


def test_a_strict_server_refuses_what_has_no_effect(gguf: str) -> None:
    server = Server(Pool(), strict=True)
    status, told = server("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf, "n_batch": 512})
    assert status == 400 and "'n_batch' has no effect" in told["message"]
    assert server("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf, "ngl": 5})[0] == 200


def test_a_grammar_is_read_at_the_load(gguf: str, tmp_path: Path) -> None:
    pool = Pool()
    server = Server(pool)
    file = tmp_path / "yes.gbnf"
    file.write_text('root ::= "yes"')
    assert server("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf, "grammar_file": str(file)})
    assert pool.loads[0][1].grammar == 'root ::= "yes"'
    data = json.loads(server("GET", "/inferences/llamacpp/modelstatus")[1]["model_data"])
    assert data["grammar"] == 'root ::= "yes"'


def test_who_is_not_on_this_machine_sees_none_of_its_files(gguf: str) -> None:
    """It may load a model, as in a container."""
    server = Server(Pool())
    path = "/inferences/llamacpp/loadmodel"
    body = {"llama_model_path": gguf, "grammar_file": "/etc/passwd"}
    status, told = server("POST", path, "192.168.1.2", json=body)
    assert status == 403 and "'grammar_file'" in told["message"]
    reply = asyncio.run(server.ask("POST", path, "192.168.1.2", json={"llama_model_path": "/nowhere"}))
    assert reply.status_code == 500 and replies.REASON not in reply.headers
    assert server("POST", path, "192.168.1.2", json={"llama_model_path": gguf})[0] == 200


def test_a_second_load_while_one_is_under_way(gguf: str) -> None:
    pool = Pool()
    server = Server(pool)

    async def both() -> tuple[int, int]:
        pool.gate = asyncio.Event()
        first = asyncio.create_task(
            server.ask("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf})
        )
        while not pool.loads:
            await asyncio.sleep(0)
        second = await server.ask("POST", "/inferences/llamacpp/loadmodel", json={"llama_model_path": gguf})
        status = await server.ask("GET", "/inferences/llamacpp/modelstatus")
        assert status.status_code == 409
        pool.gate.set()
        return (await first).status_code, second.status_code

    assert asyncio.run(both()) == (200, 409)


def test_two_loads_whose_bodies_come_slowly(gguf: str) -> None:
    """Nothing is loaded while they come: the first that is whole has it."""
    pool = Pool()
    server = Server(pool)
    waiting: list[int] = []

    async def both() -> list[int]:
        gate = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            waiting.append(1)
            await gate.wait()
            yield json.dumps({"llama_model_path": gguf}).encode()

        asked = [server.ask("POST", "/inferences/llamacpp/loadmodel", content=body()) for _ in range(2)]
        loads = asyncio.gather(*asked)
        while len(waiting) < 2:
            await asyncio.sleep(0)
        gate.set()
        return sorted(reply.status_code for reply in await loads)

    assert asyncio.run(both()) == [200, 409] and len(pool.loads) == 1


def test_an_embedding_model_answers_no_conversation(gguf: str) -> None:
    server = Server(Pool())
    body = {"llama_model_path": gguf, "embedding": True, "model_type": "embedding"}
    assert server("POST", "/inferences/llamacpp/loadModel", json=body)[0] == 200
    refused = {"message": "Not support completion for embedding model"}
    assert server("POST", "/inferences/llamacpp/chat_completion", json={"messages": []}) == (400, refused)


def test_engines(gguf: str) -> None:
    server = Server(Pool())
    assert server("GET", "/inferences/server/engines") == (200, {"data": [], "object": "list"})
    server("POST", "/inferences/server/loadmodel", json={"llama_model_path": gguf})
    engines = [{"id": "cortex.llamacpp", "object": "engine"}]
    assert server("GET", "/Inferences/Server/Engines") == (200, {"data": engines, "object": "list"})


@pytest.mark.parametrize(
    ("peer", "headers", "api_key", "status"),
    [
        ("127.0.0.1", {}, None, 200),
        ("127.8.8.8", {}, None, 200),
        ("::1", {}, None, 200),
        ("::ffff:127.0.0.1", {}, None, 200),
        ("192.168.1.2", {}, None, 403),
        ("::ffff:192.168.1.2", {}, None, 403),
        ("fe80::1%eth0", {}, None, 403),
        ("testserver", {}, None, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.168.1.2"}, None, 403),
        ("127.0.0.1", {"Forwarded": "for=192.168.1.2"}, None, 403),
        ("192.168.1.2", {"Authorization": "Bearer key"}, "key", 200),
        ("127.0.0.1", {}, "key", 401),
        ("127.0.0.1", {"Origin": "https://evil.example"}, None, 403),
    ],
)
def test_who_may_stop_the_server(peer: str, headers: dict[str, str], api_key: str | None, status: int) -> None:
    """The reply comes before the end."""
    server = Server(Pool(), api_key)
    told, _ = server("DELETE", "/processManager/destroy", peer, headers=headers)
    assert told == status and server.stopped == (1 if status == 200 else 0)


def test_no_picture_of_a_foreign_page_unloads_the_model() -> None:
    pool = Pool("one")
    server = Server(pool)
    assert server("GET", "/inferences/llamacpp/unloadmodel", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert not pool.unloads
    assert server("GET", "/inferences/llamacpp/unloadmodel", headers={"Sec-Fetch-Site": "same-origin"})[0] == 200


def test_a_head_request_unloads_nothing() -> None:
    """Proxies and programs that watch a server send it, for a GET without a body."""
    pool = Pool("one")
    server = Server(pool)
    reply = asyncio.run(server.ask("HEAD", "/inferences/llamacpp/unloadmodel"))
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, OPTIONS, POST") and not pool.unloads
    assert asyncio.run(server.ask("HEAD", "/inferences/llamacpp/modelstatus")).status_code == 200


@pytest.mark.parametrize("path", ["/inferences/llamacpp/loadmodel", "/Inferences/llamacpp/Chat_Completion"])
def test_preflights_and_wrong_methods(path: str) -> None:
    server = Server(Pool())
    reply = asyncio.run(server.ask("OPTIONS", path, headers={"Origin": "http://localhost:3000"}))
    assert reply.status_code == 204 and "POST" in reply.headers["access-control-allow-methods"]
    reply = asyncio.run(server.ask("GET", path))
    assert reply.status_code == 405 and reply.headers["allow"] == "OPTIONS, POST"


def test_other_paths_keep_their_case() -> None:
    assert Server(Pool())("GET", "/V1/Models")[0] == 404
