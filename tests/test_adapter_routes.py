"""Adapters over HTTP: chosen as models and by `lora`, listed, loaded and dropped while others run."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer
from tiny_adapters import write_adapter
from tiny_models import write_gguf

from nitro.config import ServeConfig
from nitro.engines.adapters import BadAdapters, adapter_set, parse
from nitro.engines.backends import loading
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import decode_work, encode_work
from nitro.errors import StartError


class Client(httpx.Client):
    """Tells what was said: the model's name and the text, or the error."""

    def said(self, **options: Any) -> tuple[str, str]:
        reply = self.post("/v1/completions", json={"prompt": "ABC", "max_tokens": 5, "temperature": 0, **options})
        assert reply.status_code == 200, reply.text
        return reply.json()["model"], reply.json()["choices"][0]["text"]

    def refused(self, path: str, status: int, body: Any) -> dict[str, Any]:
        reply = self.post(path, json=body)
        assert reply.status_code == status, reply.text
        return reply.json()["error"]

    def names(self) -> dict[str, str | None]:
        """The models, and the parent of each."""
        return {model["id"]: model["parent"] for model in self.get("/v1/models").json()["data"]}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """FakeRunner's adapters: numbers."""
    for name, text in (("one", "1"), ("two", "2"), ("bad", "x")):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def server(serve: Callable[..., RunningServer], shelf: Path) -> RunningServer:
    return serve(alias="m", lora=(f"one={shelf / 'one'}", f"other one={shelf / 'one'}")).ready()


@pytest.fixture
def client(server: RunningServer):
    with Client(base_url=server.url, timeout=CEILING) as client:
        yield client


def test_a_request_chooses_an_adapter_by_its_name(client: Client) -> None:
    assert client.names() == {"m": None, "one": "m", "other one": "m"}
    assert client.get("/v1/models/one").json()["parent"] == "m"
    assert client.said() == client.said(model="m") == ("m", "DEFGH")
    assert client.said(model="one") == client.said(model="one:latest") == ("one", "EGIKM")
    fingerprints = set()
    for name in ("m", "one"):
        body = {"model": name, "messages": [{"role": "user", "content": "A"}], "max_tokens": 2}
        fingerprints.add(client.post("/v1/chat/completions", json=body).json()["system_fingerprint"])
        reply = client.post("/v1/messages", json=body).json()
        assert reply["model"] == name and len(reply["content"][0]["text"]) == 2
        assert client.post("/api/chat", json={**body, "stream": False}).json()["model"] == f"{name}:latest"
        ask = {"model": name, "input": "A", "max_output_tokens": 2, "store": False}
        assert client.post("/v1/responses", json=ask).json()["model"] == name
    assert len(fingerprints) == 2
    error = client.refused("/v1/completions", 404, {"model": "nobody", "prompt": "A"})
    assert error["code"] == "model_not_found" and "one" in error["message"]
    assert client.refused("/v1/embeddings", 400, {"model": "one", "input": "A"})["param"] == "model"
    assert client.refused("/v1/models/unload", 404, {"model": "one"})["code"] == "model_not_found"


def test_a_request_lists_adapters_and_scales(client: Client) -> None:
    """As llama-server has it, also for requests that say nothing."""
    assert client.said(lora=[{"id": 0, "scale": 2}]) == ("m", "FILOR")
    assert client.said(lora=[{"id": 0, "scale": 1}, {"id": 1, "scale": 1}]) == ("m", "FILOR")
    assert client.said(lora=[]) == client.said(lora=[{"id": 0}]) == ("m", "DEFGH")
    for lora, param in (
        ([{"id": 9, "scale": 1}], "lora[0].id"),
        ([{"id": 0}, {"id": 0}], "lora[1].id"),
        ([{"id": 1, "scale": 1e30}], "lora[0].scale"),
        ([{"scale": 1}], "lora[0].id"),
        (3, "lora"),
    ):
        assert client.refused("/v1/completions", 400, {"prompt": "A", "lora": lora})["param"] == param
    assert client.refused("/v1/completions", 400, {"model": "one", "prompt": "A", "lora": []})["param"] == "lora"
    first, second = client.get("/lora-adapters").json()
    assert (first["id"], first["path"], first["scale"]) == (0, "one", 0.0) and second["id"] == 1
    assert client.post("/lora-adapters", json=[{"id": 1, "scale": 2.0}]).json() == {"success": True}
    assert [each["scale"] for each in client.get("/lora-adapters").json()] == [0.0, 2.0]
    assert client.said() == ("m", "FILOR") and client.said(lora=[]) == ("m", "DEFGH")
    assert client.said(model="one") == ("one", "EGIKM")
    assert client.refused("/lora-adapters", 400, [{"id": 7, "scale": 1}])["param"] == "[0].id"
    assert client.get("/lora-adapters", params={"model": "one"}).json() == client.get("/lora-adapters").json()
    assert client.get("/lora-adapters", params={"model": "nobody"}).status_code == 404
    assert "no list of adapters" in client.refused("/lora-adapters", 400, {"id": 7})["message"]
    assert client.post("/lora-adapters", json=[]).json() == {"success": True}
    assert client.said() == ("m", "DEFGH")


def test_a_conversation_goes_on_with_another_adapter(client: Client) -> None:
    """What the model alone has computed of it is used by the model alone, and FakeRunner fails where it is not."""
    cached = []
    last = None
    for name in ("m", "m", "one", "one", "m"):
        body = {"model": name, "input": "What is said here is long. " * 9, "max_output_tokens": 2}
        reply = client.post("/v1/responses", json={**body, "previous_response_id": last})
        assert reply.status_code == 200 and reply.json()["status"] != "failed", reply.text
        last = reply.json()["id"]
        cached.append(reply.json()["usage"]["input_tokens_details"]["cached_tokens"])
    first, again, other, other_again, back = cached
    assert first == other == 0 < again < back < other_again


def test_adapters_come_and_go(client: Client, server: RunningServer, shelf: Path) -> None:
    loaded = client.post("/v1/load_lora_adapter", json={"lora_name": "two", "lora_path": str(shelf / "two")}).json()
    assert (loaded["id"], loaded["parent"]) == ("two", "m") and client.said(model="two") == ("two", "FILOR")
    again = {"lora_name": "two", "lora_path": str(shelf / "one")}
    assert client.refused("/v1/load_lora_adapter", 409, again)["code"] == "name_taken"
    assert client.refused("/v1/load_lora_adapter", 409, {**again, "lora_name": "m"})["code"] == "name_taken"
    for name in ("bad", "gone"):
        path = {"lora_name": name, "lora_path": str(shelf / name)}
        assert client.refused("/v1/load_lora_adapter", 400, path)["param"] == "lora_path"
    assert client.refused("/v1/load_lora_adapter", 400, {"lora_name": "a=b", "lora_path": "x"})["param"] == "lora_name"
    assert client.refused("/v1/load_lora_adapter", 400, {"lora_name": "x"})["param"] == "lora_path"
    nobodys = {"lora_name": "x", "lora_path": str(shelf / "two"), "base_model_name": "nobody"}
    assert client.refused("/v1/load_lora_adapter", 404, nobodys)["code"] == "model_not_found"
    client.post("/v1/load_lora_adapter", json={**again, "load_inplace": True}).raise_for_status()
    assert client.said(model="two") == ("two", "EGIKM")
    wrong = {"lora_name": "two", "lora_int_id": 99}
    assert client.refused("/v1/unload_lora_adapter", 400, wrong)["param"] == "lora_int_id"
    client.post("/v1/unload_lora_adapter", json={"lora_name": "two"}).raise_for_status()
    assert "two" not in client.names()
    assert client.refused("/v1/unload_lora_adapter", 404, {"lora_name": "two"})
    assert client.refused("/v1/completions", 404, {"model": "two", "prompt": "A"})["code"] == "model_not_found"
    for name in ("one", "other one"):
        client.post("/v1/unload_lora_adapter", json={"lora_name": name}).raise_for_status()
    error = client.refused("/v1/completions", 404, {"model": "one", "prompt": "A"})
    assert error["code"] == "model_not_found", "nobody gets the model alone who asks for an adapter"


def test_they_are_there_again_after_the_engine_has_died(client: Client, server: RunningServer, shelf: Path) -> None:
    client.post("/v1/load_lora_adapter", json={"lora_name": "two", "lora_path": str(shelf / "two")}).raise_for_status()
    client.post("/v1/unload_lora_adapter", json={"lora_name": "one"}).raise_for_status()
    client.post("/lora-adapters", json=[{"id": 2, "scale": 1}]).raise_for_status()
    before = client.get("/lora-adapters").json()
    process = server.engine.pid
    os.kill(process, signal.SIGKILL)
    while server.engine.restarts == 0:
        server.run(server.engine.ready())
    assert client.said(model="two") == ("two", "FILOR") and client.said() == ("m", "FILOR")
    assert client.get("/lora-adapters").json() == before and server.engine.pid != process


def test_who_may_name_files(server: RunningServer, shelf: Path) -> None:
    """A program on this machine, or who has the key; not what comes through a proxy."""
    body = {"lora_name": "two", "lora_path": str(shelf / "two")}
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        reply = httpx.post(server.url + path, json=body, headers={"x-forwarded-for": "192.0.2.1"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_allowed")
    options = {"model": "m", "options": {"lora": [f"x={shelf / 'one'}"]}}
    assert "names files" in httpx.post(server.url + "/v1/models/load", json=options).json()["error"]["message"]


def test_an_adapter_goes_when_the_last_request_with_it_has_ended(
    serve: Callable[..., RunningServer], gate: Gate, shelf: Path
) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path, lora=(f"one={shelf / 'one'}",))
    gate.accept()
    server.ready()
    with Client(base_url=server.url, timeout=CEILING) as client, ThreadPoolExecutor(1) as pool:
        stream = server.client().completions.create(model="one", prompt="ABC", max_tokens=9, stream=True, temperature=0)
        gate.step(2)
        text = next(stream).choices[0].text
        unloading = pool.submit(client.post, "/v1/unload_lora_adapter", json={"lora_name": "one"})
        while "one" in httpx.get(f"{server.url}/v1/models").text:
            pass
        assert not unloading.done()
        gate.open()
        assert text + "".join(chunk.choices[0].text for chunk in stream) == "EGIKMOQSU"
        unloading.result(CEILING).raise_for_status()


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_each_engine_serves_them(engine: str, serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "tiny.gguf")
    a, b = (write_adapter(tmp_path / f"{seed}.gguf", model, seed, size=0.5) for seed in (1, 2))
    server = serve(engine=engine, model=str(model), context=256, parallel=4, lora=(f"a={a}",)).ready()
    with Client(base_url=server.url, timeout=CEILING) as client:
        client.post("/v1/load_lora_adapter", json={"lora_name": "b", "lora_path": str(b)}).raise_for_status()
        text = {"prompt": "Once upon a time there was a", "max_tokens": 12}
        said = {name: client.said(model=name, **text)[1] for name in ("tiny", "a", "b")}
        assert len(set(said.values())) == 3
        assert client.said(**text, lora=[{"id": 0, "scale": 1}])[1] == said["a"]
        assert client.said(model="tiny", **text)[1] == said["tiny"]
        body = {"lora_name": "c", "lora_path": str(model)}
        assert client.refused("/v1/load_lora_adapter", 400, body)["code"] == "adapter_unusable"
        client.post("/v1/unload_lora_adapter", json={"lora_name": "a"}).raise_for_status()
        assert client.said(model="b", **text)[1] == said["b"]


def test_an_adapter_that_cannot_be_is_said_at_the_start(shelf: Path) -> None:
    with pytest.raises(StartError, match="expected NAME=PATH"):
        ServeConfig(engine=FAKE, lora=("one",)).engine_spec("")
    with pytest.raises(LoadError, match="bad is no adapter"):
        loading.load(EngineSpec(FAKE, "", lora=(f"bad={shelf / 'bad'}",)))
    encoder = "nitro.engines.backends.fake:FakeEncoder"
    with pytest.raises(LoadError, match="takes no adapters"):
        loading.load(EngineSpec(encoder, "", lora=(f"one={shelf / 'one'}",)))


def test_options_are_parsed() -> None:
    (first, second) = parse(["a=/x/y=z.gguf", "b=~/w"])
    assert (first.id, first.name, first.path) == (0, "a", "/x/y=z.gguf") and second.path == str(
        Path("~/w").expanduser()
    )
    for wrong in (["a"], ["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(BadAdapters):
            parse(wrong)


def test_work_tells_its_adapters_and_is_suspected_by_them() -> None:
    """The engine gets the set, and two sets are two works to it, of which it may have died."""
    params = GenerationParams(SamplingParams())
    works = [encode_work(["A"], params, adapters=adapter_set(scales)) for scales in ([], [(1, 0.5)], [(1, 1.0)])]
    assert len({work.digest for work in works}) == 3
    assert decode_work(works[1].raw).adapters == ((1, 0.5),)
