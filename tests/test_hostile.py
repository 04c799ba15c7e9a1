"""Hostile requests, through the socket: an answer, or a 400 that names what is at fault; and the next one is served."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import CEILING, FAKE, RunningServer

from nitro.config import ServeConfig
from nitro.engines.types import Constraint, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

BOUNDED = settings(
    max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module", params=["fake", "llama", "mlx"])
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that is asked for much else between; on real engines a real vocabulary has to be masked."""
    if request.param == "fake":
        config = ServeConfig(engine=FAKE, port=0, context=2**17)
    else:
        config = ServeConfig(engine=request.param, model=str(request.getfixturevalue("model")), port=0, context=512)
    with RunningServer(config) as server:
        yield server.ready()


def post(server: RunningServer, body: bytes | dict[str, Any], path: str = "chat/completions") -> httpx.Response:
    content = body if isinstance(body, bytes) else hostile.encoded(body)
    return httpx.post(f"{server.url}/v1/{path}", content=content, timeout=CEILING)


def assert_refused(reply: httpx.Response, param: str | None) -> None:
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param and error["message"] and error["type"] == "invalid_request_error", error
    assert reply.headers["x-should-retry"] == "false"


def assert_serves(server: RunningServer) -> None:
    """Plain and under a grammar; and the engine is the one that it was."""
    plain = post(server, {"messages": hostile.STORY, "max_tokens": 1})
    kept = post(server, {"messages": hostile.STORY, "choice": ["yes"]})
    assert plain.status_code == 200 and kept.json()["choices"][0]["message"]["content"] == "yes"
    assert server.engine.pid == server.__dict__.setdefault("first_pid", server.engine.pid), "the engine died"


@pytest.mark.parametrize("name", hostile.BODIES)
def test_bodies(attacked: RunningServer, name: str) -> None:
    body, param = hostile.BODIES[name]
    reply = post(attacked, body)
    if param == hostile.ANSWERED:
        assert reply.status_code == 200, reply.text
    else:
        assert_refused(reply, param)
    assert_serves(attacked)


@pytest.mark.parametrize("name", hostile.FIELDS)
def test_fields(attacked: RunningServer, name: str) -> None:
    fields, param = hostile.FIELDS[name]
    for stream in (False, True):
        assert_refused(post(attacked, {"messages": hostile.STORY, "max_tokens": 2, "stream": stream, **fields}), param)
    assert_serves(attacked)


@pytest.mark.parametrize("name", hostile.HISTORIES)
def test_histories(attacked: RunningServer, name: str) -> None:
    """All of them can be told to a model."""
    reply = post(attacked, {"messages": hostile.HISTORIES[name], "max_tokens": 2})
    assert reply.status_code == 200, reply.text
    assert_serves(attacked)


# Constraints


def assert_kept_or_refused(server: RunningServer, fields: dict[str, Any], param: str, refused: bool) -> None:
    for stream in (False, True):
        reply = post(server, {"messages": hostile.STORY, "max_tokens": 8, "stream": stream, **fields})
        if refused:
            assert_refused(reply, param)
        else:
            assert reply.status_code == 200 and '"error"' not in reply.text, reply.text
    assert_serves(server)


@pytest.mark.parametrize("name", hostile.SCHEMAS)
def test_schemas(attacked: RunningServer, name: str) -> None:
    """Wherever a schema is enforced."""
    schema, refused = hostile.SCHEMAS[name]
    format = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    assert_kept_or_refused(attacked, {"json_schema": schema}, "json_schema", refused)
    assert_kept_or_refused(attacked, format, "response_format", refused)


@pytest.mark.parametrize("name", [name for name in hostile.SCHEMAS if name != "itself"])  # there "#" is something else
def test_schemas_of_tools(attacked: RunningServer, name: str) -> None:
    """Refused where they are strict, else taken as they are."""
    schema, refused = hostile.SCHEMAS[name]
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    asked = {"messages": hostile.STORY, "max_tokens": 8, "n": 2}
    for strict in (False, True):
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": strict}}
        reply = post(attacked, {**asked, "tools": [tool]})
        if reply.json().get("error", {}).get("code") == "context_length_exceeded":
            assert_refused(reply, "messages")  # the model is told of the schema
        elif refused and strict:
            assert_refused(reply, "tools[0].function.parameters")
        else:
            assert reply.status_code == 200, reply.text
    assert_serves(attacked)


@pytest.mark.parametrize("name", hostile.CONSTRAINTS)
def test_constraints(attacked: RunningServer, name: str) -> None:
    fields, refused = hostile.CONSTRAINTS[name]
    assert_kept_or_refused(attacked, fields, *fields, refused)


@pytest.mark.parametrize("name", hostile.AMBIGUOUS)
def test_a_grammar_that_gets_slower_is_ended(attacked: RunningServer, name: str) -> None:
    """And others get their tokens meanwhile."""
    asked = {"messages": hostile.STORY, "max_tokens": 300, "temperature": 1}
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(post, attacked, {**asked, "ignore_eos": True})
        reply = post(attacked, {**asked, "grammar": hostile.AMBIGUOUS[name]})
        assert beside.result(CEILING).json()["usage"]["completion_tokens"] == 300
    if reply.status_code != 200:  # the model may have ended it before
        assert_refused(reply, "grammar")
    assert_serves(attacked)


def test_what_compiles_for_long_holds_nobody_up(attacked: RunningServer) -> None:
    """What comes after it is accepted before it. A client that leaves meanwhile takes its own along."""
    properties = {f"p{i}": {"type": "string"} for i in range(3_500)}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    slow = Constraint("json_schema", json.dumps(schema), "json_schema")
    engine = attacked.engine
    accepted: list[str] = []

    async def begin(name: str, constraint: Constraint | None) -> None:
        generation = await engine.generate(
            encode_work(["a"], GenerationParams(SamplingParams(), 1, constraint=constraint))
        )
        accepted.append(name)
        generation.abort()

    async def one_after_another() -> None:
        await asyncio.gather(begin("slow", slow), begin("quick", None))

    async def leave() -> None:
        left = asyncio.create_task(begin("left", slow))
        await begin("quick", None)
        left.cancel()
        await begin("last", Constraint("choice", '["yes"]', "choice"))

    attacked.run(one_after_another())
    attacked.run(leave())
    assert accepted == ["quick", "slow", "quick", "last"]
    assert_serves(attacked)
    assert engine.steps[-1].running == engine.steps[-1].waiting == 0


# Anything in the place of anything


@given(messages=hostile.messages, fields=hostile.fields)
@BOUNDED
def test_chats(fake_server: RunningServer, messages: Any, fields: dict[str, Any]) -> None:
    assert_answered_or_refused(post(fake_server, {"max_tokens": 2, **fields, "messages": messages}))


@given(prompt=st.just("a") | hostile.values, fields=hostile.fields)
@BOUNDED
def test_texts(fake_server: RunningServer, prompt: Any, fields: dict[str, Any]) -> None:
    assert_answered_or_refused(post(fake_server, {"max_tokens": 2, **fields, "prompt": prompt}, "completions"))


def assert_answered_or_refused(reply: httpx.Response) -> None:
    if reply.status_code == 200:
        assert '"error"' not in reply.text
        return
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] and not error["param"].startswith("x-"), error


# Chat templates, which are the model's own code


TEMPLATES = {
    "of no end": "{% for i in range(10**9) %}a{% endfor %}",
    "of rounds within rounds": "{% for i in range(99999) %}{% for j in range(99999) %}a{% endfor %}{% endfor %}",
    "that doubles": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "of much memory": "{{ 'a' * 10**12 }}",
    "of many lists": "{{ [[1] * 10**5] * 10**5 | string }}{{ 1000000000 * [0] }}",
    "of a power": "{{ 10 ** (10 ** 9) }}",
    "that looks around": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "that raises": "{{ raise_exception('Not this way.') }}",
    "that divides": "{{ 1 / 0 }}",
    "that knows no message": "{{ messages[7].content.text }}",
    "that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(serve: Any, tmp_path: Path, name: str) -> None:
    """A 400, with the template's own words, where it fails."""
    path = tmp_path / "chat.jinja"
    path.write_text(TEMPLATES[name])
    server = serve(chat_template=path).ready()
    assert_refused(post(server, {"messages": hostile.STORY}), "messages")
    assert httpx.post(f"{server.url}/v1/completions", json={"prompt": "a", "max_tokens": 1}).status_code == 200
