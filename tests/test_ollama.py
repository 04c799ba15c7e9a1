"""Ollama's requests: what becomes of each name, and what they mean. Its lines: what they hold. No server."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import ollama._types as sdk
import pytest
from msgspec.structs import replace
from sdk_fields import unknown

from nitro.api import readers
from nitro.api.names import Harmless, Known, Mapped, Refused, asks
from nitro.api.ollama import embedding, inventory, model_names, names, parse, requests
from nitro.api.ollama.renderer import ChatRenderer, GenerateRenderer
from nitro.api.openai.names import inside, sources
from nitro.api.openai.reply_options import ReplyOptions, encode
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.types import SAMPLERS, Logprobs, ModelInfo, ScoredToken
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.service.events import (
    CallDelta,
    Done,
    Event,
    Finished,
    GenerationTimings,
    PlacedToken,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenUsage,
)
from nitro.service.requests import Conversation, GenerationRequest, Texts

HELLO = [{"role": "user", "content": "Hello."}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
REASONS = PLAIN + "{% if enable_thinking %}<think>{% endif %}{# </think> #}"
INFO = ModelInfo(
    engine="fake",
    device="",
    layers="",
    slots=1,
    parallel=1,
    context=4096,
    trained_context=4096,
    kv_tokens=4096,
    kv_bytes=0,
    step_tokens=512,
    vocabulary=1000,
    eog=frozenset({2}),
    samplers=frozenset(SAMPLERS),
)
SETUP = ModelSetup(INFO, ["fake"], REASONS, REASONS, None, NOTHING)
WITHOUT_TEMPLATE = replace(SETUP, template=None, tool_template=None)

Read = Callable[..., GenerationRequest]


def _seeded(options: Any) -> Any:
    return {"seed": 1, **options} if isinstance(options, dict) else options or {"seed": 1}


def chat(setup: ModelSetup = SETUP, **fields: Any) -> GenerationRequest:
    body = {"messages": HELLO, **fields, "options": _seeded(fields.get("options"))}
    return parse.read_chat(json.dumps(body).encode(), setup)


def text(setup: ModelSetup = SETUP, **fields: Any) -> GenerationRequest:
    body = {"prompt": "Hello.", **fields, "options": _seeded(fields.get("options"))}
    return parse.read_generate(json.dumps(body).encode(), setup)


def refusal(read: Callable[..., Any] = chat, *arguments: Any, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(*arguments, **fields)
    assert caught.value.status == 400 and f"'{caught.value.param}'" in str(caught.value)
    return caught.value


# The tables


@pytest.mark.parametrize(
    ("ours", "theirs", "openings", "free"),
    [
        (
            requests.OllamaChatRequest,
            sdk.ChatRequest,
            {"tools[]": inside.TOOL, "messages[].tool_calls[]": inside.TOOL_CALL},
            {"tools[].function.parameters", "messages[].images[]"},  # images become base64 there
        ),
        (requests.OllamaGenerateRequest, sdk.GenerateRequest, {}, {"images[]"}),
        (requests.EmbedRequest, sdk.EmbedRequest, {}, set()),
        (requests.OllamaEmbeddingsRequest, sdk.EmbeddingsRequest, {}, set()),
        (requests.PullRequest, sdk.PullRequest, {}, set()),
        (requests.ShowRequest, sdk.ShowRequest, {}, set()),
        (requests.ModelRequest, sdk.DeleteRequest, {}, set()),
        (requests.OllamaOptions, sdk.Options, {}, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_all_that_the_client_sends_is_known(ours: Any, theirs: Any, openings: Any, free: set[str]) -> None:
    assert unknown(ours, theirs, openings=openings, free=free) == set()


def test_every_route_of_the_client_is_known() -> None:
    asked = {"ChatRequest", "GenerateRequest", "EmbedRequest", "EmbeddingsRequest", "PullRequest", "ShowRequest"}
    refused = {"PushRequest", "CreateRequest", "CopyRequest"}
    elsewhere = {"WebSearchRequest", "WebFetchRequest", "SystemOneRequest"}  # of ollama.com
    base = {"BaseRequest", "BaseStreamableRequest", "BaseGenerateRequest", "DeleteRequest"}
    assert {name for name in vars(sdk) if name.endswith("Request")} == asked | refused | elsewhere | base


# What Ollama itself takes, as it was when its source was read (0.32, api/types.go): DefaultOptions, and the requests.
OPTIONS = """
    num_keep seed num_predict top_k top_p min_p typical_p repeat_last_n temperature repeat_penalty presence_penalty
    frequency_penalty stop num_ctx num_batch num_gpu main_gpu use_mmap num_thread draft_num_predict
"""
GENERATE = """
    model prompt suffix system template context stream raw format keep_alive images options think truncate shift
    _debug_render_only logprobs top_logprobs
"""
CHAT = """
    model messages stream format keep_alive tools options think truncate shift _debug_render_only logprobs top_logprobs
"""
MESSAGE = "role content thinking images tool_calls tool_name tool_call_id"


@pytest.mark.parametrize(
    ("struct", "fields"),
    [
        (requests.OllamaOptions, OPTIONS),
        (requests.OllamaGenerateRequest, GENERATE),
        (requests.OllamaChatRequest, CHAT),
        (requests.OllamaMessage, MESSAGE),
        (requests.EmbedRequest, "model input keep_alive truncate dimensions options"),
        (requests.OllamaEmbeddingsRequest, "model prompt keep_alive options"),
        (requests.ShowRequest, "model system template verbose options name"),
        (requests.PullRequest, "model insecure username password stream name"),
        (requests.ModelRequest, "model name"),
    ],
)
def test_all_that_ollama_takes_is_known(struct: Any, fields: str) -> None:
    own = {field.name for field in msgspec.structs.fields(struct)}
    assert set(fields.split()) <= own | struct.known.keys()
    assert not own & struct.known.keys()
    for name, row in struct.known.items():
        assert row.sources and set(row.sources) <= set(sources.WHERE), name
        assert not isinstance(row, Mapped) or row.to in own
        assert not row.note or (row.note.endswith(".") and len(row.note) <= 100), name


@pytest.mark.parametrize(("read", "table"), [(chat, names.CHAT), (text, names.GENERATE)], ids=["chat", "generate"])
def test_each_refused_name_asks_for_nothing_by_its_neutral_values_alone(read: Read, table: Mapping[str, Known]) -> None:
    nothing = read()
    for name, row in table.items():
        if isinstance(row, Refused):
            for value in (None, *row.neutral):
                assert read(**{name: value}) == nothing, (name, value)
            for value in (True, "x", 7, {"x": 1}, ["x"]):
                if asks(value, row.neutral):
                    assert refusal(read, **{name: value}).param == name
        elif isinstance(row, Harmless):
            assert read(**{name: "x"}) == nothing


def test_each_option_is_taken_refused_or_harmless() -> None:
    for name, row in names.OPTIONS.items():
        for value in (True, "x", 7):
            if isinstance(row, Harmless):
                assert chat(options={name: value}) == chat()
            elif asks(value, row.neutral):
                assert refusal(options={name: value}).param == f"options.{name}"
    assert chat(options={"foo": 1}).ignored == ["options.foo"]


# What they mean


def test_what_is_not_set_is_ollamas() -> None:
    request = chat()
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.repetition_penalty) == (0.8, 40, 0.9, 1.0)
    assert request.stream and request.max_tokens is None and request.keep_alive is None
    own = replace(SETUP, sampling=SamplingDefaults(temperature=0.6, top_k=20))
    sampling = chat(own).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.6, 20, 0.9), "the model's own come first"


def test_options_are_sampling_parameters() -> None:
    options = {"temperature": 0.1, "top_k": 5, "repeat_penalty": 1.5, "min_p": 0.2, "mirostat": 0, "num_predict": 7}
    for read in (chat, text):
        request = read(options={**options, "stop": ["a", "b"], "seed": 42}, stream=False, keep_alive="5m")
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0.1, 5, 0.2)
        assert (sampling.repetition_penalty, sampling.seed) == (1.5, 42)
        assert (request.stops, request.max_tokens, request.stream, request.keep_alive) == (["a", "b"], 7, False, 300)
    assert chat(options={"num_predict": -2}).max_tokens is None
    seeds = {chat(options={"seed": -1}).sampling.seed for _ in range(8)}
    assert len(seeds) > 1, "random"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"num_ctx": 4097}}, "options.num_ctx"),
        ({"options": {"stop": ["a"] * 17}}, "options.stop"),
        ({"options": {"top_k": "many"}}, "options.top_k"),
        ({"options": {"repeat_penalty": 1.1, "repetition_penalty": 1.2}}, "options.repeat_penalty"),
        ({"options": 5}, "options"),
        ({"format": "yaml"}, "format"),
        ({"think": "much"}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": "a", "images": ["eA=="]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
    ],
    ids=json.dumps,
)
def test_what_is_wrong_has_the_name_that_was_sent(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_a_context_up_to_what_is_served_changes_nothing() -> None:
    assert chat(options={"num_ctx": 4096}) == chat() == chat(options={"num_ctx": 16}) == chat(options={"num_ctx": 0})
    assert "at most 4096, the context that this model is served with, got 8192" in str(
        refusal(options={"num_ctx": 8192})
    )


def test_formats() -> None:
    for read in (chat, text):
        assert read(format="").constraint is None is read(format=None).constraint
        json_object, by_schema = read(format="json").constraint, read(format=SCHEMA).constraint
        assert json_object and json.loads(json_object.source)["type"] == "object"
        assert by_schema and json.loads(by_schema.source)["properties"] == SCHEMA["properties"]
        assert json_object.param == by_schema.param == "format"


def variables(request: GenerationRequest) -> dict[str, Any]:
    assert isinstance(request.prompt, Conversation)
    return request.prompt.variables


def test_thinking() -> None:
    for read in (chat, text):
        assert variables(read()) == {}
        assert variables(read(think=True)) == {"enable_thinking": True, "thinking": True}
        assert variables(read(think=False)) == {"enable_thinking": False, "thinking": False}
        assert variables(read(think="high"))["reasoning_effort"] == "high"
        assert set(read(think="max").prompt.variables_set_by) == {"think"}  # type: ignore[union-attr]
    plain = replace(SETUP, template=PLAIN, tool_template=PLAIN)
    assert "does not support thinking" in str(refusal(chat, plain, think=True))
    assert "does not support thinking" in str(refusal(text, plain, think="low"))
    assert variables(chat(plain, think=False)) == {}


def test_a_conversation_with_calls() -> None:
    """Calls have no ids, their arguments are objects, and results name their tool."""
    calls = [{"function": {"name": name, "arguments": {"a": 1}}} for name in ("f", "g", "f")]
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "tool_name": "g", "content": "of g"},
        {"role": "tool", "tool_name": "f", "content": "of the first f"},
        {"role": "TOOL", "content": "of what is left"},
    ]
    request = chat(messages=messages, tools=[TOOL])
    assert isinstance(request.prompt, Conversation) and request.prompt.tools
    _, said, *results = request.prompt.messages
    assert said["reasoning_content"] == "Hm." and request.prompt.tools.offered == [TOOL]
    assert [call["id"] for call in said["tool_calls"]] == ["call_0", "call_1", "call_2"]
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == [{"a": 1}] * 3
    assert [result["tool_call_id"] for result in results] == ["call_1", "call_0", "call_2"]
    assert request.ignored == []


def test_generate() -> None:
    request = text(system="Be brief.")
    assert isinstance(request.prompt, Conversation)
    assert [message["role"] for message in request.prompt.messages] == ["system", "user"]
    assert text(raw=True).prompt == Texts(texts=["Hello."]) == text(WITHOUT_TEMPLATE).prompt
    assert text(suffix="Bye.").prompt == Texts(texts=["Hello."], suffix="Bye.")
    for fields, param in (
        ({"raw": True, "system": "a"}, "system"),
        ({"suffix": "b", "system": "a"}, "system"),
        ({"raw": True, "suffix": "a"}, "suffix"),
        ({"raw": True, "think": True}, "think"),
        ({"context": [1]}, "context"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"images": ["eA=="]}, "images[0]"),
        ({"width": 5}, "width"),
        ({"raw": True, "top_logprobs": 2}, "top_logprobs"),
    ):
        assert refusal(text, **fields).param == param
    assert text(context=[], template="", system="", suffix="", images=[], raw=False).prompt == text().prompt


@pytest.mark.parametrize("fields", [{}, {"messages": []}, {"messages": None}, {"messages": [], "tools": [TOOL]}])
def test_a_request_without_messages_has_nothing_to_answer(fields: dict[str, Any]) -> None:
    asked = parse.name_chat(json.dumps({"model": "a", "keep_alive": 0, **fields}).encode())
    wants = parse.decode_wants(asked.own)
    assert (asked.model, asked.stream, wants.empty, wants.keep_alive) == ("a", True, True, 0)


def test_a_request_with_a_question_has() -> None:
    for namer, fields in (
        (parse.name_chat, {"messages": HELLO * 100}),
        (parse.name_generate, {"prompt": "a"}),
        (parse.name_generate, {"prompt": "", "suffix": "a"}),
    ):
        asked = namer(json.dumps({"stream": False, "options": {"num_ctx": 5}, **fields}).encode())
        wants = parse.decode_wants(asked.own)
        assert (asked.stream, wants.empty, wants.context) == (False, False, 5)
    assert parse.decode_wants(parse.name_generate(b'{"prompt": "", "suffix": null}').own).empty


def test_embedding_requests() -> None:
    def embed(**fields: Any) -> Any:
        return embedding.read_embed(json.dumps(fields).encode(), SETUP)

    assert (embed(input="a").inputs, embed(input=["a", "b"]).inputs, embed(input=[]).inputs) == (["a"], ["a", "b"], [])
    assert (embed(input="a", truncate=True).overflow, embed(input="a").overflow) == ("truncate", None)
    assert embed(input="a", dimensions=0, options={"temperature": 1, "num_gpu": 1}, keep_alive=5).keep_alive == 5
    assert embed(input="a", foo=1).ignored == ["foo"]
    for fields, param in (
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": "a", "options": {"num_ctx": 9999}}, "options.num_ctx"),
    ):
        assert refusal(embed, **fields).param == param
    old = embedding.read_embeddings(b'{"prompt": "a"}', SETUP)
    assert (old.inputs, embedding.read_embeddings(b'{"prompt": ""}', SETUP).inputs) == (["a"], [])


def test_readers_are_where_they_are_said_to_be() -> None:
    for place in (name for name in vars(readers) if name.startswith("OLLAMA")):
        module, _, function = getattr(readers, place).partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


# Replies

STARTED = Started(model="org/m:Q4_K_M", fingerprint="", created=0, choices=1, prompt_tokens=3)
DONE = Done(TokenUsage(3, 0, 5), GenerationTimings(0, 3, 0.25, 5, 0.5))


def lines(*bursts: list[Event], renderer: Any = ChatRenderer, logprobs: int | None = None) -> list[dict[str, Any]]:
    made = renderer(STARTED, encode(ReplyOptions(logprobs=logprobs)), 0.0)
    said = b"".join([made.opening(), *map(made.events, bursts), made.closing()])
    assert said.endswith(b"\n")
    return [json.loads(line) for line in said.decode().splitlines()]


def test_lines_of_an_answer() -> None:
    first, second, last = lines(
        [ReasoningDelta(0, "Hm.")], [TextDelta(0, ""), TextDelta(0, "é\n")], [Finished(0, "stop"), DONE]
    )
    assert first["message"] == {"role": "assistant", "content": "", "thinking": "Hm."} and not first["done"]
    assert second["message"] == {"role": "assistant", "content": "é\n"} and "done_reason" not in second
    assert last["message"] == {"role": "assistant", "content": ""} and last["model"] == "org/m:Q4_K_M"
    assert (last["done"], last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == (True, "stop", 3, 5)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (250_000_000, 500_000_000)
    assert last["total_duration"] >= last["load_duration"] > 0 and last["created_at"].endswith("Z")
    thought, said, end = lines(
        [ReasoningDelta(0, "Hm.")], [TextDelta(0, "a")], [Finished(0, "length"), DONE], renderer=GenerateRenderer
    )
    assert (thought["thinking"], said["response"], end["done_reason"]) == ("Hm.", "a", "length")


def test_calls_go_out_whole() -> None:
    first, second, last = lines(
        [CallDelta(0, 0, '{"a":\n', "id0", "f")],
        [CallDelta(0, 0, "1}"), CallDelta(0, 1, "{}", "id1", "g")],
        [Finished(0, "tool_calls"), DONE],
    )
    assert first["message"]["tool_calls"] == [
        {"id": "id0", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    ]
    assert second["message"]["tool_calls"] == [{"id": "id1", "function": {"index": 1, "name": "g", "arguments": {}}}]
    assert last["done_reason"] == "stop"


@pytest.mark.parametrize("arguments", ['{"a": "b', "[1]", "", "5"])
def test_a_call_that_is_no_object_is_content(arguments: str) -> None:
    first, last = lines([CallDelta(0, 0, arguments, "id0", "f")], [Finished(0, "length"), DONE])
    assert first["message"] == {"role": "assistant", "content": f'{{"name": "f", "arguments": {arguments}'}
    assert last["done_reason"] == "length"


def test_logprobs_go_with_the_next_line() -> None:
    def token(written: bytes) -> PlacedToken:
        scored = ScoredToken(1, -0.5, written)
        return PlacedToken(0, 0, Logprobs(scored, [scored]))

    first, last = lines(
        [TextDelta(0, "a", [token(b"a")])], [TextDelta(0, "", []), Finished(0, "stop"), DONE], logprobs=1
    )
    alone = {"token": "a", "logprob": -0.5, "bytes": [97]}
    assert first["logprobs"] == [{**alone, "top_logprobs": [alone]}] and "logprobs" not in last
    call = CallDelta(0, 0, "{}", "id0", "f", [token(b"{")])
    first, _ = lines([call], [Finished(0, "tool_calls"), DONE], logprobs=0)
    assert first["logprobs"] == [{"token": "{", "logprob": -0.5, "bytes": [123]}] and "tool_calls" in first["message"]


def test_a_sign_of_life_and_an_error_are_lines() -> None:
    renderer = ChatRenderer(STARTED, encode(ReplyOptions()), 0.0)
    idle = json.loads(renderer.idle())
    assert (idle["message"], idle["done"]) == ({"role": "assistant", "content": ""}, False)
    assert renderer.error(ApiError(500, "It's broken.")) == b'{"error":"It\'s broken."}\n'


# What there is


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (134_515_008, "134.52M"),
        (8_030_261_248, "8.0B"),
        (7_000_000_000, "7B"),
        (135_000_000, "135M"),
        (9_500, "10K"),
        (5, "5"),
    ],
)
def test_numbers_of_weights(count: int, told: str) -> None:
    assert inventory.human(count) == told


@pytest.mark.parametrize(
    ("layers", "bytes"),
    [
        ("all 30 on the CPU", 0),
        ("15 of 30 on the GPU", 500),
        ("all 30 on the GPU", 1000),
        ("30 of 30 on the GPU", 1000),
        ("none", 0),
    ],
)
def test_bytes_on_a_gpu(layers: str, bytes: int) -> None:
    assert inventory.on_gpu(1000, layers) == bytes


def test_names_have_tags() -> None:
    assert [model_names.listed(id) for id in ("a", "a:1b", "org/a:Q4", "org/a", "host:80/a")] == [
        "a:latest",
        "a:1b",
        "org/a:Q4",
        "org/a:latest",
        "host:80/a:latest",
    ]
    asked = ("org/a:Q4", "hf.co/org/a:Q4", "huggingface.co/org/a:latest", "HF.co/org/a")
    assert [model_names.of_hub(name) for name in asked] == ["org/a:Q4", "org/a:Q4", "org/a", "org/a"]
