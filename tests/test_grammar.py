"""Structured output: what is asked for is kept, or the request is refused; never unconstrained. Over the fake engine,
and over both real ones, on a model whose text means nothing."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import RunningServer
from same_answer import assert_same_answer, tolerance

from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.constraints.grammar import GrammarCompiler, GrammarError
from nitro.engines.types import Constraint, EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

STORY = [{"role": "user", "content": "Tell me a story about the river."}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GBNF = 'root ::= "yes" | "no" [0-9]'
LARK = 'start: "yes" | "no" /[0-9]/'


def ask(server: RunningServer, stream: bool = False, **options: Any) -> tuple[str, str]:
    """Text and finish reason."""
    body = {"model": "", "messages": STORY, "max_tokens": 120, "temperature": 1.0, **options}
    client = server.client(_strict_response_validation=True)
    reply = client.chat.completions.create(stream=stream, **body)
    if not stream:
        return reply.choices[0].message.content, reply.choices[0].finish_reason
    chunks = [chunk.choices[0] for chunk in reply]
    return "".join(choice.delta.content or "" for choice in chunks), chunks[-1].finish_reason


def is_person(text: str) -> bool:
    value = json.loads(text)
    return set(value) == {"name", "age"} and len(value["name"]) <= 8 and 0 <= value["age"] <= 99


# What each asks for, and whether a text is that.
FORMS: dict[str, tuple[dict[str, Any], Any]] = {
    "json_schema format": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}},
        is_person,
    ),
    "json_schema": ({"extra_body": {"json_schema": PERSON}}, is_person),
    "gbnf": ({"extra_body": {"grammar": GBNF}}, re.compile(r"yes|no\d").fullmatch),
    "lark": ({"extra_body": {"grammar": LARK}}, re.compile(r"yes|no\d").fullmatch),
    "regex": ({"extra_body": {"regex": r"[a-f]{3}-[0-9]+!"}}, re.compile(r"[a-f]{3}-[0-9]+!").fullmatch),
    "choice": ({"extra_body": {"choice": ['red "wine"', "žlutá"]}}, ('red "wine"', "žlutá").__contains__),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_asked_for_is_kept(server: RunningServer, form: str) -> None:
    """Whatever the seed, streamed or not; what is cut off by max_tokens says so."""
    options, keeps = FORMS[form]
    done = 0
    for seed in range(6):
        text, finish = ask(server, stream=seed % 2 == 1, seed=seed, **options)
        if finish == "stop":
            done += 1
            assert keeps(text), text
    assert done >= 2
    text, finish = ask(server, seed=1, **{**options, "max_tokens": 1})
    assert finish in ("length", "stop") and len(text) < 20


def test_a_json_object(server: RunningServer) -> None:
    text, _ = ask(server, response_format={"type": "json_object"}, seed=3, max_tokens=8)
    assert text.lstrip().startswith("{")


def test_beside_others_each_gets_what_it_gets_alone(server: RunningServer, model: Path) -> None:
    """Plain, constrained, with logprobs, seeded and n = 2, at once on one batch."""
    greedy = {"temperature": 0, "max_tokens": 40}
    schema = {**FORMS["json_schema"][0], "temperature": 0}
    choice = {**FORMS["choice"][0], "seed": 4}

    def two_choices() -> list[str]:
        client = server.client(_strict_response_validation=True)
        reply = client.chat.completions.create(
            model="", messages=STORY, n=2, seed=5, max_tokens=60, **FORMS["regex"][0]
        )
        assert all(FORMS["regex"][1](c.message.content) for c in reply.choices if c.finish_reason == "stop")
        return [c.message.content for c in reply.choices]

    async def plain() -> list[int]:
        tokens = []
        async for burst in await server.engine.generate(
            encode_work(["Who was it that"], GenerationParams(SamplingParams(temperature=0), 40))
        ):
            tokens += [token for _, output in burst for token in output.tokens]
        return tokens

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.run, plain()), *(pool.submit(ask, server, **o) for o in (schema, choice, schema))]
        scored = pool.submit(ask, server, logprobs=True, top_logprobs=2, **greedy)
        both = pool.submit(two_choices)
        answer, person, colour, again = (each.result() for each in asked)
        assert scored.result()[0] and len(set(both.result())) == 2
    assert person[1] == "length" or is_person(person[0])
    assert again[1] == "length" or is_person(again[0])
    assert FORMS["choice"][1](colour[0])
    scorer = {"llama": LlamaScorer, "mlx": MlxScorer}[server.engine.spec.engine](model, context=512)
    prompt = scorer.tokenizer.encode("Who was it that")
    assert_same_answer(scorer, prompt, answer, tolerance(scorer, (prompt + answer) * 3))
    scorer.close()


def test_a_plain_request_before_does_not_free_the_next(server: RunningServer) -> None:
    ask(server, max_tokens=5)
    assert FORMS["gbnf"][1](ask(server, **FORMS["gbnf"][0])[0])
    assert not FORMS["gbnf"][1](ask(server, max_tokens=20)[0])


def test_a_ban_that_leaves_nothing_is_a_400(server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, extra_body={"choice": ["yes"], "logit_bias": dict.fromkeys(["y", "ye", "yes"], -100)})
    assert caught.value.param == "choice"
    assert ask(server, extra_body={"choice": ["yes"]})[0] == "yes"


# Refusals, over the fake engine: its tokens are bytes, and of those that are allowed it says the next


def post(server: RunningServer, path: str = "chat/completions", **options: Any) -> httpx.Response:
    body = {"messages": STORY, "prompt": "a", "max_tokens": 50, **options}
    return httpx.post(f"{server.url}/v1/{path}", json=body, timeout=60)


def test_what_looks_like_a_keyword_is_none_in_a_pattern(fake_server: RunningServer) -> None:
    reply = post(fake_server, regex='"multipleOf": ...')
    assert reply.status_code == 200
    assert re.fullmatch('"multipleOf": ...', reply.json()["choices"][0]["message"]["content"])


NOT = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"not": {"pattern": "x"}}]}}}
DEFINED = {"$defs": {"a/b": {"type": "array", "uniqueItems": True}}, "$ref": "#/$defs/a~1b"}


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"json_schema": NOT}, "json_schema", ["not", "/properties/a/anyOf/1"]),
        ({"json_schema": DEFINED}, "json_schema", ["uniqueItems", "/$defs/a~1b"]),
        (
            {"json_schema": {"type": "string", "x-guidance": {"lenient": True}, "not": {}}},
            "json_schema",
            ["not", "(at /)"],
        ),
        ({"json_schema": {"type": "bad"}}, "json_schema", ["bad"]),
        ({"json_schema": {"$ref": "#/nowhere"}}, "json_schema", ["nowhere"]),
        ({"json_schema": {"$ref": "http://a.b/c"}}, "json_schema", ["http://a.b/c"]),
        ({"json_schema": {"enum": []}}, "json_schema", ["nsatisfiable"]),
        ({"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}}, "json_schema", []),
        ({"json_schema": {"type": "string", "pattern": "(?=a)b"}}, "json_schema", ["look-ahead", "(at /)"]),
        ({"json_schema": {"anyOf": 5, "properties": [1], "items": {"anyOf": {"a": 1}}}}, "json_schema", []),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": NOT}}}, "response_format", ["not"]),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", []),
        ({"response_format": {}}, "response_format.type", []),
        ({"response_format": {"type": 5}}, "response_format.type", []),
        ({"response_format": "text"}, "response_format", []),
        ({"regex": "("}, "regex", ["unclosed"]),
        ({"grammar": "root ::= ["}, "grammar", []),
        ({"grammar": "start: nowhere"}, "grammar", []),
        ({"grammar": "\0 \u2028 {{"}, "grammar", []),
        ({"choice": []}, "choice", []),
        ({"choice": ["a", ""]}, "choice", []),
        ({"choice": ["a"], "regex": "a"}, "choice", ["regex"]),
        ({"regex": "a", "ignore_eos": True}, "ignore_eos", []),
    ],
)
def test_what_cannot_be_enforced_is_refused(fake_server: RunningServer, options: dict, param: str, words: list) -> None:
    """In both modes and on both routes; and the next request is served."""
    for path, stream in (("chat/completions", False), ("chat/completions", True), ("completions", False)):
        reply = post(fake_server, path, stream=stream, **options)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["param"] == param and all(word in error["message"] for word in words), error
    assert post(fake_server, choice=["yes"]).json()["choices"][0]["message"]["content"] == "yes"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 100_000},
        {"type": "string", "pattern": r"^\d\w\s(a|b){1,300}$"},
        {"type": "array", "items": {"$ref": "#"}},
        {"allOf": [{"type": "integer"}, {"minimum": 10**400}]},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(300)}},
        {"type": "string", "pattern": "(a{1,500}){1,500}"},
        {"type": ["object", 5, None]},
        {"const": {"a": [None, 1.5, "\udcff".encode("utf-8", "replace").decode()]}},
    ],
)
def test_hostile_schemas_are_a_client_s_fault_or_kept(fake_server: RunningServer, schema: dict) -> None:
    reply = post(fake_server, json_schema=schema, max_tokens=5)
    assert reply.status_code in (200, 400), reply.text
    assert post(fake_server, choice=["yes"]).json()["choices"][0]["message"]["content"] == "yes"


def test_text_completions_too(fake_server: RunningServer) -> None:
    assert post(fake_server, "completions", choice=["yes"]).json()["choices"][0]["text"] == "yes"
    assert post(fake_server, response_format={"type": "text"}, max_tokens=1).json()["choices"][0]["message"]["content"]


def test_it_sleeps_until_a_marker() -> None:
    """Split over tokens as it may be, and only after the marker before it; a copy begins anew."""
    runner = FakeRunner(EngineSpec("fake", ""))
    grammars = GrammarCompiler(runner.tokenizer, runner.info)
    matcher = grammars.matcher(Constraint("choice", '["yes"]', "choice", [b"<end>", b"</think>"]))
    for token in b"any </think> <thing <end> </thin</think":
        assert matcher.allows(token) and not matcher.allows(EOG) and matcher.accept(token)
    assert matcher.allows(ord("x")) and matcher.accept(ord(">"))
    assert not matcher.allows(ord("x")) and not matcher.allows(EOG) and matcher.allows(ord("y"))
    assert all(matcher.accept(token) for token in b"yes") and matcher.allows(EOG)
    assert matcher.copy().allows(ord("x"))
    with pytest.raises(GrammarError):
        grammars.matcher(Constraint("regex", "(", "regex"))
