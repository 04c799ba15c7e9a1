"""The OpenAPI document: complete, and true of what the server does."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema_rs import validator_for
from msgspec import Struct
from pictures import sound
from running import FAKE, RunningServer
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from nitro.api import auth, page
from nitro.api.app import make_app
from nitro.api.auth import Guard
from nitro.api.openai import requests, schema
from nitro.api.openai.requests import PARAMETERS, capability
from nitro.api.openapi.document import HEADERS, OPERATIONS, document
from nitro.config import ServeConfig
from nitro.engines.sampling_params import SamplingOptions
from nitro.models.pool import Pool
from nitro.models.residency import Limits
from nitro.parameters import parameters
from nitro.service.generation import GenerationService
from nitro.service.intake.lanes import Intake
from nitro.service.metrics import Metrics

REQUESTS = (requests.ChatRequest, requests.CompletionRequest)
BASES = (Struct, SamplingOptions, requests.SamplingRequest, requests.CommonRequest, schema.WithTimings)
STORY = [{"role": "user", "content": "a"}]


def structs() -> list[type[Struct]]:
    names = {**vars(requests), **vars(schema)}
    found = [value for value in names.values() if isinstance(value, type) and issubclass(value, Struct)]
    return [struct for struct in found if struct not in BASES]


def names(struct: type[Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("struct", structs(), ids=lambda struct: struct.__name__)
def test_each_field_of_each_struct(struct: type[Struct]) -> None:
    described = document()["components"]["schemas"][struct.__name__]
    assert set(described["properties"]) == names(struct)
    required = {field.encode_name for field in msgspec.structs.fields(struct) if field.required}
    assert set(described.get("required", [])) == required


def test_each_parameter_has_its_words() -> None:
    known = {name for struct in REQUESTS for name in names(struct)}
    assert set(PARAMETERS) == known
    described = document()["components"]["schemas"]
    for struct in REQUESTS:
        for name, field in described[struct.__name__]["properties"].items():
            assert field["description"] == parameters(struct)[name].description


def test_capabilities_are_those_of_models(fake_server: RunningServer) -> None:
    told = fake_server.client().models.list().data[0].model_extra["capabilities"]
    assert {capability(name) for name in PARAMETERS} - {None} <= set(told)


def test_each_route() -> None:
    models, metrics = Pool(None, None, Limits(0)), Metrics()
    app = make_app(models, GenerationService(models, Intake(), metrics), Guard(), metrics).inner
    routes = {
        (method.lower(), re.sub(":(path|str)}", "}", route.path))
        for route in app.routes
        for method in route.methods
        if method != "OPTIONS"
    }
    firsts = {route for route in routes if route[1].startswith(("/inferences/", "/processmanager/"))}
    assert routes - firsts - {("get", f"{page.FILES}{{name}}")} == set(OPERATIONS)
    told = (Path(__file__).parents[1] / "docs" / "first-nitro.md").read_text()
    assert len(firsts) == 17 and all(f"{method.upper()} {path}" in told for method, path in firsts)


def test_headers() -> None:
    assert set(auth._EXPOSED.decode().split(", ")) == set(HEADERS)


def test_bounds_and_choices() -> None:
    chat = document()["components"]["schemas"]["ChatRequest"]["properties"]
    assert {"type": "number", "minimum": 0, "maximum": 1} in chat["top_p"]["anyOf"]
    assert {k: v for k, v in chat["max_tokens"]["anyOf"][-1].items() if k == "const"} == {"const": -1}
    assert "developer" in document()["components"]["schemas"]["Message"]["properties"]["role"]["enum"]


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json"])
def test_it_is_served(fake_server: RunningServer, path: str) -> None:
    reply = httpx.get(fake_server.url + path)
    assert reply.json() == json.loads(json.dumps(document()))
    assert reply.headers["content-type"].startswith("application/json") and "x-request-id" in reply.headers


def test_events_of_a_stream(fake_server: RunningServer) -> None:
    for path, chunk in (("/v1/chat/completions", "ChatCompletionChunk"), ("/v1/completions", "Completion")):
        asked = {"messages": STORY, "prompt": "a", "stream": True, "n": 2, "max_tokens": 3, "logprobs": 1}
        body = asked | {"logprobs": True} if "chat" in path else asked
        lines = httpx.post(fake_server.url + path, json=body).text.split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        check = validator_for({**document(), "$ref": f"#/components/schemas/{chunk}"})
        assert len(events) > 4 and all(check.is_valid(event) for event in events)
        assert not check.is_valid({**events[0], "choices": 5})


# What the document says is what the server does


WITH_KEYS = ("/v1/usage",)  # a server without keys has none: tests/test_keys.py compares it with the document
NAME_A_MODEL = (
    "/v1/models/",
    "/api/show",
    "/api/pull",
    "/api/delete",
    "/v1/load_lora",
    "/v1/unload_lora",
    "/lora-adapters",
    "/v1/batches",
)
SPEAK = ("/v1/audio/transcriptions", "/v1/audio/translations")
RANK = ("/v1/rerank", "/v2/rerank", "/v1/reranking", "/v1/score")
SHORT = {"options": {"num_predict": 2}}
ITEMS = {"input": "a", "max_output_tokens": 2, "previous_response_id": None, "conversation": None}
# what a request has besides what is drawn: none is about long answers, and nothing that it could name is kept
SENT: dict[str, dict[str, Any]] = {
    "/api/chat": SHORT,
    "/api/generate": SHORT,
    **{path: {"file": sound(), "max_tokens": "2"} for path in SPEAK},
    "/v1/files": {"file": b"{}", "purpose": "batch"},
    "/v1/uploads": {
        "bytes": 9,
        "filename": "a",
        "mime_type": "text/plain",
        "purpose": "batch",
        "expires_after": None,
    },
    "/v1/responses": ITEMS,
    "/v1/responses/input_tokens": ITEMS,
}
SAYS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def reranker() -> Iterator[RunningServer]:
    config = ServeConfig(engine="nitro.engines.backends.fake:FakeReranker", port=0, context=512)
    with RunningServer(config) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=FAKE, port=0, record=tmp_path_factory.mktemp("records"))) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def hearing() -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine="nitro.engines.backends.fake:FakeSeer", port=0, no_state=True)) as server:
        yield server.ready()


@cache
def api_of(server: RunningServer) -> Any:
    api = schemathesis.openapi.from_dict(document())
    api.config.update(base_url=server.url)
    return api


def alike() -> list[tuple[str, tuple[str, ...]]]:
    """Methods and paths. Routes that take the same body get the same ones: to make them up is most of the work."""
    found: dict[tuple[str, Any], list[str]] = {}
    for (method, path), each in OPERATIONS.items():
        found.setdefault((method, path if "{" in path or each.query else each.body or path), []).append(path)
    return [(method, tuple(paths)) for (method, _), paths in found.items()]


def fitting(body: Any, path: str) -> Any:
    """A body of the right form, with what that route needs besides."""
    if not isinstance(body, dict):
        return body
    body = {**body, **SENT.get(path, {"max_tokens": 2})}
    if isinstance(prompt := body.get("prompt"), list) and not isinstance(prompt[0], str):
        body["prompt"] = [65, 66]  # ids beyond the vocabulary are refused
    return body


@pytest.mark.parametrize(
    ("method", "paths", "mode"),
    [
        pytest.param(method, paths, mode, id=f"{method}-{paths[0]}-{mode.value}")
        for method, paths in alike()
        for mode in GenerationMode
        if OPERATIONS[method, paths[0]].body or mode.is_positive
    ],
)
def test_no_status_and_no_reply_that_is_not_in_it(
    fake_server: RunningServer,
    reranker: RunningServer,
    recording: RunningServer,
    hearing: RunningServer,
    method: str,
    paths: tuple[str, ...],
    mode: GenerationMode,
) -> None:
    servers = dict.fromkeys(RANK, reranker) | dict.fromkeys(SPEAK, hearing)
    server = recording if paths[0].startswith("/v1/records") else servers.get(paths[0], fake_server)
    api = api_of(server)
    statuses: dict[str, Counter[int]] = {path: Counter() for path in paths}
    posts = method == "post"

    @settings(
        max_examples=60 if posts else 5,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[paths[0]][method].as_strategy(generation_mode=mode))
    def conforms(case: schemathesis.Case) -> None:
        same = {"headers": case.headers, "query": case.query, "media_type": case.media_type, "body": case.body}
        for path in paths:
            asked = case if path == paths[0] else api[path][method].Case(**same)
            asked.body = fitting(asked.body, path) if posts and mode.is_positive else asked.body
            reply = asked.call()
            statuses[path][reply.status_code] += 1
            says = SAYS[1:] if OPERATIONS[method, path].fails else SAYS  # a 501 is meant
            asked.validate_response(reply, checks=says)

    conforms()
    for path in paths:
        names_a_model = "{" in path or path.startswith(NAME_A_MODEL)  # and none of those that are tried exists
        fails = path in WITH_KEYS or OPERATIONS[method, path].fails
        answers = mode.is_positive and not names_a_model and not fails
        assert statuses[path][200] >= (3 if posts else 1) or not answers, f"hardly anything was answered by {path}"
    assert httpx.post(f"{fake_server.url}/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
