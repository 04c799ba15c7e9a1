"""A value that keeps a grammar's letters and breaks the schema when it is read is an error by name, never an answer."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from running import RunningServer

from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.constraints import json_values, schema_walk
from nitro.engines.constraints.grammar import CompileCancelled, GrammarCompiler, GrammarError
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.types import Constraint, EngineSpec, Schema

TWO = {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}}
THREE = {**TWO, "properties": {"z": {"type": "integer"}}, "required": ["z"], "minProperties": 3}
OPEN = {"type": "object", "properties": {"age": {"type": "integer"}}, "additionalProperties": True}
BELOW_TEN = {"type": "number", "exclusiveMaximum": 10}
NEARLY_TEN = "9.99999999999999999999"
# Its only key twice: the letters of the grammar lead there, and nothing that is read keeps it.
NEVER = {
    "type": "object",
    "patternProperties": {"^a$": {"const": 1}},
    "additionalProperties": False,
    "minProperties": 2,
    "maxProperties": 2,
}
MANY = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2_000)}}
STORY = [{"role": "user", "content": "Tell me a story about the river."}]


def post(server: RunningServer, script: str = "", **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": f"␂{script}␃"}] if script else STORY
    return httpx.post(f"{server.url}/v1/chat/completions", json={"messages": messages, **body}, timeout=60)


def tool(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters, **more}}


def assert_unkept(server: RunningServer, param: str, words: list[str], script: str = "", **body: Any) -> None:
    """Whole and as a stream, in which it is an event, after which nothing comes."""
    whole = post(server, script, **body)
    assert whole.status_code == 422, whole.text
    assert whole.headers["x-should-retry"] == "false"
    error = whole.json()["error"]
    assert (error["param"], error["type"], error["code"]) == (param, "model_error", "schema_not_kept")
    assert all(word in error["message"] for word in [param, *words]), error
    stream = post(server, script, stream=True, **body)
    *frames, last, done = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data")]
    assert stream.status_code == 200 and done == "[DONE]" and json.loads(last) == {"error": error}
    assert all(choice["finish_reason"] is None for frame in frames for choice in json.loads(frame)["choices"])


@pytest.mark.parametrize(
    ("schema", "script", "words"),
    [
        (TWO, '{"a":1,"a":2}', ['"a"', "twice", "(at"]),
        (THREE, '{"z":0,"a":1,"\\u0061":2}', ["twice"]),
        (OPEN, '{"\\u0061ge":"x"}', ["escapes"]),
        (OPEN, '{"b":{},"ag\\u0065":"x"}', ["escapes"]),
        (BELOW_TEN, NEARLY_TEN, [NEARLY_TEN, "10.0"]),
        ({"type": "array", "items": BELOW_TEN}, f"[1,{NEARLY_TEN}]", ['"/1"', "10.0"]),
        ({"type": "number", "exclusiveMinimum": 0}, "0." + "0" * 400 + "1", ["0.0"]),
        ({"type": "array", "items": TWO}, '[{"a":1,"b":2},{"a/":1,"a/":2}]', ['"/1/a~1"']),
    ],
)
@pytest.mark.parametrize("form", ["response_format", "json_schema"])
def test_what_breaks_it_when_it_is_read(
    saying: RunningServer, form: str, schema: dict[str, Any], script: str, words: list[str]
) -> None:
    given = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}} if form[0] == "r" else schema
    assert_unkept(saying, form, words, script, **{form: given})
    assert_unkept(saying, form, words, f"<think>Hm.</think>{script}", n=2, **{form: given})
    assert_unkept(saying, form, words, f"Hm.</think>{script}", enable_thinking=True, min_tokens=3, **{form: given})
    cut = post(saying, script, max_tokens=len(script) - 1, **{form: given}).json()["choices"][0]
    assert cut["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("schema", "script"),
    [
        ({"type": "object"}, '{"a":1,"a":2}'),
        (TWO, '{"a":1,"b":2,"a":3}'),
        (OPEN, '{"\\u0061ge":5}'),
        (OPEN, '{"b\\u00e9":"\\u001b[0m"}'),
        (BELOW_TEN, "9.99999999999"),
        ({"type": "number"}, "3.14159265358979323846"),
        ({"type": "number"}, "1e999"),
        ({"type": "number", "multipleOf": 0.1}, "0.3"),
        ({"type": "integer"}, "9" * 1_500),
        ({"type": "string"}, '"\\\\u0061\\n\x7f"'.replace("\x7f", "\\u007f")),
    ],
)
def test_what_keeps_it_is_told_as_it_was_said(saying: RunningServer, schema: dict[str, Any], script: str) -> None:
    choice = post(saying, script, json_schema=schema).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (script, "stop")


@pytest.mark.parametrize("choice", ["required", "auto", {"type": "function", "function": {"name": "f"}}], ids=str)
@pytest.mark.parametrize("several", [True, False])
def test_arguments_of_a_tool(saying: RunningServer, choice: Any, several: bool) -> None:
    """As soon as they are whole: with one call an answer ends there."""
    script = '<tool_call>\n{"name": "f", "arguments": {"a":1,"a":2}}\n</tool_call>'
    offered = {"tools": [tool(OPEN | {"title": "x"}), tool(TWO, strict=True)], "tool_choice": choice}
    offered["tools"][0]["function"]["name"] = "g"
    offered["parallel_tool_calls"] = several
    assert_unkept(saying, "tools[1].function.parameters", ["twice"], script, **offered)
    assert_unkept(saying, "tools[1].function.parameters", ["twice"], f"<think>Hm.</think>{script}", **offered)
    kept = post(saying, script.replace('"a":2', '"b":2'), **offered).json()["choices"][0]
    assert kept["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1,"b":2}'


def test_an_answer_beside_tools(saying: RunningServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": BELOW_TEN}}
    assert_unkept(saying, "response_format", ["10.0"], NEARLY_TEN, tools=[tool(TWO)], response_format=form)


@pytest.mark.parametrize("rule", ["answer", "schema_0", "x"])
def test_what_a_grammar_captures_is_its_writer_s_own(saying: RunningServer, rule: str) -> None:
    reply = post(saying, '{"a":1,"a":2}', grammar=f"start: {rule}\n{rule}[capture]: /[^!]*/")
    assert reply.json()["choices"][0]["message"]["content"] == '{"a":1,"a":2}'


def test_on_both_engines(server: RunningServer) -> None:
    """Whatever a model says. Only that request ends, and the next is served."""
    words = ['"a"', "twice"]
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(post, server, max_tokens=40, ignore_eos=True, temperature=0)
        asked = {"max_tokens": 300, "json_schema": NEVER}
        assert_unkept(server, "json_schema", words, seed=1, **asked)
        assert_unkept(server, "json_schema", words, seed=2, n=2, **asked)
        offered = {"tools": [tool(NEVER)], "tool_choice": "required", "max_tokens": 300}
        assert_unkept(server, "tools[0].function.parameters", words, seed=3, **offered)
        assert beside.result().json()["usage"]["completion_tokens"] == 40
    assert post(server, choice=["yes"]).json()["choices"][0]["message"]["content"] == "yes"


def test_what_a_model_says_when_asked(smollm_server: RunningServer) -> None:
    said = [("user", 'Copy: {"b": 3, "b": 4}'), ("assistant", '{"b": 3, "b": 4}'), ("user", 'Write {"a":1,"a":2}')]
    messages = [{"role": role, "content": content} for role, content in said]
    reply = post(smollm_server, messages=messages, json_schema=TWO, temperature=0, max_tokens=100)
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "json_schema"), reply.text


# What a text means


@pytest.mark.parametrize(
    ("text", "plain", "odd"),
    [
        ('{"a": [1, -0.5, 1e5, 0.1, true, null, "x"]}', None, ""),
        (' {"a":1,"b":[{"c":1,"c":{"d":2}}],"a":3} ', '{"a":3,"b":[{"c":{"d":2}}]}', '"a" stands twice (at "/a")'),
        ('{"\\u0061":"\\u00e9\\n\\u0001\\u007f"}', '{"a":"é\\n\\u0001\\u007f"}', "escapes"),
        ("[0.1000000000000000000001]", "[0.1]", '(at "/0") is read as 0.1'),
        ("123456789012345678901234567890.5", "123456789012345680000000000000", ""),
        ("[1e-99999999999999999999]", "[0.0]", ""),
        (f"[1e999, {'9' * 5_000}]", None, ""),
    ],
)
def test_a_text_is_spelled_plainly(text: str, plain: str | None, odd: str) -> None:
    found = json_values.plainly(text)
    assert (found and found[0]) == plain
    assert found is None or odd in found[1]


def test_a_model_s_words_in_a_message_are_short_and_on_one_line() -> None:
    key = "\\n" * 500
    found = json_values.plainly(f'{{"{key}":1,"{key}":2}}')
    assert found and len(found[1]) < 500 and "\n" not in found[1]


# Numbers in schemas


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("schema", "kept", "broken"),
    [
        ({"type": "integer", "minimum": BIG}, [BIG + 1], [BIG - 1]),
        ({"type": "integer", "maximum": BIG}, [BIG - 1], [BIG + 1]),
        ({"type": "integer", "exclusiveMaximum": BIG}, [BIG - 2], [BIG, BIG + 1]),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, [0, 2**62, -(2**62)], [2**63]),
        ({"type": "integer", "minimum": -(10**400), "maximum": 10**400}, [0, 10**18], []),
        ({"type": "array", "items": {"type": "integer", "exclusiveMinimum": BIG}}, [[BIG + 3]], [[BIG], [BIG - 1]]),
        ({"properties": {"minimum": {"const": 2**60}}, "required": ["minimum"]}, [{"minimum": 2**60}], []),
    ],
)
def test_bounds_beyond_doubles(schema: dict[str, Any], kept: list[Any], broken: list[Any]) -> None:
    for value in kept + broken:
        matcher = compiled(Constraint("json_schema", json.dumps(schema), "json_schema"))
        text = json.dumps(value, separators=(",", ":"))
        said = all(matcher.allows(byte) and matcher.accept(byte) for byte in text.encode()) and matcher.allows(EOG)
        assert said == (value in kept), value


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 10**30}, "minimum is beyond 64 bits (at /)"),
        ({"type": "integer", "minimum": 10**19, "maximum": 10**20}, "minimum is beyond 64 bits (at /)"),
        ({"type": "integer", "minimum": 10**400}, "minimum is beyond 64 bits (at /)"),
        (
            {"type": "object", "properties": {"a": {"maximum": -(10**30)}}},
            "maximum is beyond 64 bits (at /properties/a)",
        ),
        ({"const": BIG}, "const has a number with more digits than a double holds (at /)"),
        ({"const": 2**63}, "const has a number with more digits"),
        (
            {"anyOf": [{"enum": [{"a": [10**30 + 1]}]}]},
            "enum has a number with more digits than a double holds (at /anyOf/0)",
        ),
    ],
)
def test_numbers_that_cannot_be_held_are_refused(fake_server: RunningServer, schema: dict, words: str) -> None:
    """By the name of the schema, wherever it stands."""
    inner = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    place = re.escape(words).replace(r"\(at\ /", r"\(at\ /properties/x/?")
    for body, param in (
        ({"json_schema": inner}, "json_schema"),
        ({"tools": [tool(inner)], "tool_choice": "required"}, "tools[0].function.parameters"),
        ({"tools": [tool(inner, strict=True)]}, "tools[0].function.parameters"),
    ):
        reply = post(fake_server, **body)
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, param), error
        assert re.search(place, error["message"]), error


def test_bounds_of_64_bits_are_served(fake_server: RunningServer) -> None:
    wide = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
    assert post(fake_server, json_schema=wide, max_tokens=3).status_code == 200


def test_a_schema_s_numbers_are_bounded_where_they_are_bounds() -> None:
    schema = {"properties": {"maximum": {"default": BIG, "maximum": BIG}}, "x": {"maximum": BIG}, "maximum": True}
    loaded = schema_walk.load(json.dumps(schema))
    assert loaded["properties"]["maximum"] == {"default": BIG, "maximum": BIG - 1}
    assert (loaded["x"], loaded["maximum"]) == ({"maximum": BIG}, True)


# What is beyond the library's limits


def test_limits_that_are_met_at_once_are_found_when_it_is_compiled() -> None:
    for schema in (MANY, {"type": "object", "properties": {"a": MANY}, "required": ["a"]}):
        for after in ([], [b"</think>"]):
            with pytest.raises(GrammarError, match="items") as caught:
                compiled(Constraint("json_schema", json.dumps(schema), "json_schema", after))
            assert len(str(caught.value)) < 400


def assert_a_sentence(server: RunningServer, script: str = "", **options: Any) -> None:
    """In the reply and in the log."""
    schema = {"type": "array", "prefixItems": [{"const": 1}, MANY], "minItems": 2}
    reply = post(server, script, json_schema=schema, max_tokens=100, **options)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "json_schema"), error
    assert "items" in error["message"] and len(error["message"]) < 400
    assert len(server.log_of(reply)) < 1_000


def test_limits_that_are_met_later_are_a_sentence(saying: RunningServer) -> None:
    assert_a_sentence(saying, "[1,{}]")


def test_limits_that_are_met_later_are_a_sentence_on_both_engines(server: RunningServer) -> None:
    assert_a_sentence(server)


def test_a_schema_that_refers_to_itself_is_refused_in_a_sentence(fake_server: RunningServer) -> None:
    for body in ({"json_schema": {"$ref": "#"}}, {"tools": [tool({"$ref": "#"})], "tool_choice": "required"}):
        reply = post(fake_server, **body)
        assert reply.status_code == 400 and len(reply.json()["error"]["message"]) < 400, reply.text


# Compiling


RUNNER = FakeRunner(EngineSpec("fake", ""))
COMPILER = GrammarCompiler(RUNNER.tokenizer, RUNNER.info)


def compiled(constraint: Constraint) -> GrammarMatcher:
    return COMPILER.matcher(constraint)


def test_several_threads_compile_at_once() -> None:
    """And each gets what it would have got alone."""
    schemas = [
        {"type": "object", "properties": {f"p{i}_{j}": {"type": "integer"} for j in range(60)}} for i in range(4)
    ]
    constraints = [Constraint("json_schema", json.dumps(schema), "json_schema") for schema in schemas]
    constraints += [
        Constraint("json_schema", '{"type":"integer","minimum":1e30}', "x"),
        Constraint("regex", "a+b", "y"),
    ]
    start = threading.Barrier(6)

    def masks(constraint: Constraint) -> list[bytes] | str:
        try:
            matcher = COMPILER.matcher(constraint).copy()
        except GrammarError as error:
            return str(error)
        found = []
        for _ in range(12):
            mask = matcher.first_mask()
            found.append(mask)
            if token := next((t for t in range(255, 0, -1) if mask[t // 8] >> t % 8 & 1), 0):
                assert matcher.accept(token)
        return found

    def together(constraint: Constraint) -> list[bytes] | str:
        start.wait(60)
        return masks(constraint)

    alone = [masks(constraint) for constraint in constraints]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(10):
            assert list(pool.map(together, constraints)) == alone


def test_what_nobody_wants_is_not_compiled_further() -> None:
    schemas = [Schema('{"type":"object"}', f"tools[{i}]") for i in range(5)]
    constraint = Constraint("layout", "start: " + " ".join(f"schema_{i}" for i in range(5)), "tools", schemas=schemas)
    looks = []

    def wanted() -> bool:
        looks.append(None)
        return len(looks) < 4

    with pytest.raises(CompileCancelled):
        COMPILER.matcher(constraint, wanted)
    assert len(looks) == 4
    assert COMPILER.matcher(constraint).allows(ord("{"))
