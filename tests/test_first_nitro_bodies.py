"""The first Nitro's bodies: what its loads and conversations become, and its replies byte for byte."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.first_nitro import loading, parse, prompts, renderer, status
from nitro.api.first_nitro.renderer import FirstNitroRenderer
from nitro.api.first_nitro.requests import LoadRequest
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import EngineSpec, Output
from nitro.engines.work import decode_work
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.service.choices import ChoiceAssembler, OutputSpec
from nitro.service.events import Done, Event, GenerationTimings, Started, TextDelta, TokenUsage
from nitro.service.intake.messages import Prepared
from nitro.service.intake.prepare import Preparer
from nitro.service.renderer import Answer
from nitro.text.family import ModelFamily
from nitro.text.template import ChatTemplate

INFO = FakeRunner(EngineSpec("fake", "")).info
QUICKSTART = b"""{
    "llama_model_path": "/model/llama-2-7b-model.gguf",
    "ctx_len": 512,
    "ngl": 100, // all of them
    "embedding": true,
    "pre_prompt": "A chat.\\n",
    "user_prompt": "USER: ",
    "ai_prompt": "ASSISTANT: ",
  }"""


def load(**fields: Any) -> LoadRequest:
    return json_body.decode(json.dumps(fields).encode(), LoadRequest).request


def setup(request: LoadRequest | None = None, grammar: str | None = None, **info: Any) -> ModelSetup:
    """A model that was loaded so."""
    settings = loading.settings(request or load(), grammar)
    template = settings.template or INFO.template
    known = replace(INFO, **info)
    defaults = settings.defaults
    return ModelSetup(known, ["m"], template, template, None, defaults, None, list(settings.stops), settings.grammar)


def prepared(body: dict[str, Any] | bytes, model: ModelSetup) -> Prepared:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Preparer(model).prepare(content, parse.read_chat)


def prompt(request: LoadRequest, *messages: tuple[str, str], **info: Any) -> str:
    body = {"messages": [{"role": role, "content": content} for role, content in messages]}
    (text,) = decode_work(prepared(body, setup(request, **info)).work.raw).prompts
    assert isinstance(text, str)
    return text


# Loads


def test_the_quickstarts_load_with_its_comment_and_comma() -> None:
    decoded = json_body.decode(QUICKSTART, LoadRequest)
    settings = loading.settings(decoded.request, None)
    assert decoded.told == ["embedding"] and settings.options == {"context": 512, "parallel": 1}
    assert settings.template and settings.stops == ("<|im_end|>", "USER:")
    assert settings.pin and settings.keep_alive == math.inf


def test_a_load_without_settings_has_the_first_nitros() -> None:
    settings = loading.settings(load(llama_model_path="m"), None)
    assert settings.options == {"context": 2048, "parallel": 1} and settings.template is None and not settings.stops
    assert settings.defaults == SamplingDefaults(repeat_last_n=32)


@pytest.mark.parametrize(
    ("field", "value", "options"),
    [
        ("ngl", 20, {"gpu_layers": 20}),
        ("ngl", 0, {"gpu_layers": 0}),
        ("ngl", 100, {}),
        ("ngl", -1, {}),
        ("ctx_len", 4096, {"context": 4096}),
        ("ctx_len", 0, {"context": None}),
        ("n_parallel", 4, {"parallel": 4}),
        ("cpu_threads", 3, {"threads": 3}),
        ("mlock", True, {"mlock": True}),
        ("mlock", False, {}),
        ("flash_attn", True, {"flash_attn": "on"}),
        ("cache_type", "q8_0", {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}),
        ("use_mmap", False, {"no_mmap": True}),
        ("use_mmap", True, {}),
        ("n_batch", 512, {}),
        ("grp_attn_n", 1, {}),
        ("mmproj", "", {}),
        ("mmproj", "/clip.gguf", {"mmproj": "/clip.gguf"}),
    ],
)
def test_each_field(field: str, value: Any, options: dict[str, Any]) -> None:
    """What only llama.cpp has chooses it."""
    found = loading.settings(load(**{field: value}), None).options
    engine = {"engine": "llama"} if options.keys() & loading.LLAMA_OPTIONS else {}
    assert found == {"context": 2048, "parallel": 1, **options, **engine}


@pytest.mark.parametrize(
    "field",
    [
        "embedding",
        "n_batch",
        "cont_batching",
        "caching_enabled",
        "clean_cache_threshold",
        "llama_log_folder",
        "grp_attn_w",
        "nonsense",
    ],
)
def test_what_changes_nothing_is_told(field: str) -> None:
    assert json_body.decode(json.dumps({field: 5}).encode(), LoadRequest).told == [field]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"grp_attn_n": 4, "grp_attn_w": 1024}, "grp_attn_n"),
        ({"n_parallel": 0}, "n_parallel"),
        ({"ctx_len": 8}, "ctx_len"),
        ({"ngl": -2}, "ngl"),
        ({"cache_type": "q3"}, "cache_type"),
        ({"llama_model_path": 5}, "llama_model_path"),
    ],
)
def test_what_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as error:
        loading.settings(load(**fields), None)
    assert error.value.status == 400 and error.value.param == param and f"'{param}'" in str(error.value)


def test_engines_of_cortex() -> None:
    loading.check_engine(load(engine="cortex.llamacpp"))
    with pytest.raises(ApiError, match=r"^Could not load engine cortex\.onnx$"):
        loading.check_engine(load(engine="cortex.onnx"))


# Prompts


def assembled(request: LoadRequest, messages: Sequence[tuple[str, str]]) -> str:
    """As the first Nitro put them together."""
    before = {"user": request.user_prompt, "assistant": request.ai_prompt, "system": request.system_prompt}
    defaults = {"user": "USER: ", "assistant": "ASSISTANT: ", "system": "ASSISTANT's RULE: "}
    prefix = {role: defaults[role] if text is None else text for role, text in before.items()}
    text = request.pre_prompt or ""
    for role, content in messages:
        if role == "system":
            text = prefix["system"] + content + text
        else:
            text += prefix.get(role, role) + content
    return text + prefix["assistant"]


STORIES: list[list[tuple[str, str]]] = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", "Hello")],
    [("user", "a"), ("assistant", "b"), ("system", "late"), ("user", "c"), ("narrator", ": d")],
    [("assistant", "Hello there"), ("user", "Write a long and sad story for me")],
    [("user", ""), ("assistant", "b")],
]


@pytest.mark.parametrize("messages", STORIES)
@pytest.mark.parametrize(
    "prefixes",
    [
        {"user_prompt": "USER: "},
        {"ai_prompt": "", "pre_prompt": "First. "},
        {"system_prompt": "<|im_start|>system\n", "user_prompt": "<|im_end|>\n<|im_start|>user\n", "ai_prompt": "\n"},
        {"user_prompt": "{{ x }}{% raw %}'\"\\n\\\r\n\t{#\u2028\U0001f600 %}", "ai_prompt": "é}}"},
    ],
)
def test_prompts_are_put_together_as_they_were(messages: list[tuple[str, str]], prefixes: dict[str, str]) -> None:
    """Whatever a prefix holds, it is text."""
    request = load(**prefixes)
    assert prompt(request, *messages) == assembled(request, messages)


def test_a_text_that_begins_with_a_bos_begins_with_it() -> None:
    request = load(user_prompt="U")
    assert prompt(request, ("user", "x"), bos="<s>", adds_bos=True) == "<s>UxASSISTANT: "
    assert prompt(request, ("user", "x"), bos="<s>", adds_bos=False) == "UxASSISTANT: "


def test_a_load_without_prefixes_has_the_models_template() -> None:
    assert prompt(load(pre_prompt="not used"), ("user", "x")) == "<user>x<assistant>"


def test_other_clients_may_continue_an_answer() -> None:
    source = prompts.template(load(user_prompt="U", ai_prompt="A"))
    assert source
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert ChatTemplate(source).render(messages, continues=True) == "UxAy"


# Conversations


def test_a_conversations_defaults() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "model": "gpt-3.5-turbo"}
    read = prepared(body, setup(load(user_prompt="### Human:\n")))
    params = decode_work(read.work.raw).params
    sampling = params.sampling
    assert (params.max_tokens, read.streamed, read.ignored) == (500, False, [])
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.8, 0.95, 40, 0.05)
    assert (sampling.repetition_penalty, sampling.repeat_last_n) == (1.1, 32)
    assert read.output.stops == ["<|im_end|>", "### Human:"]


def test_what_a_conversation_may_set() -> None:
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "stream": True,
        "max_tokens": -1,
        "temperature": 0,
        "top_p": 0.5,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "stop": ["a", "b"],
        "seed": 7,
        "top_k": 3,
        "user": "me",
        "cache_prompt": True,
    }
    read = prepared(body, setup())
    params = decode_work(read.work.raw).params
    assert read.streamed and params.max_tokens is None and read.output.stops == ["a", "b", "<|im_end|>"]
    assert read.ignored == ["cache_prompt"]
    data = json.loads(status.model_data("/m.gguf", 512, None, read.reply_options))
    assert data["n_predict"] == -1 and data["stop"] == ["a", "b", "<|im_end|>"] and data["seed"] == 7
    assert (data["temperature"], data["top_k"], data["stream"], data["n_keep"]) == (0, 3, True, -1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grammar_file": "/etc/passwd"}, "'grammar_file' is not supported by this server. Send it with loadmodel"),
        ({"temperature": -1}, "'temperature'"),
        ({"messages": []}, "'messages'"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "'messages[0].role'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"max_tokens": "many"}, "'max_tokens'"),
    ],
)
def test_what_of_a_conversation_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as error:
        prepared({"messages": [{"role": "user", "content": "x"}], **fields}, setup())
    assert error.value.status == 400 and words in str(error.value)


def test_trailing_commas_and_comments() -> None:
    body = b'{"messages": [{"role": "user", "content": "a, // b",},], "stream": true, /* so */ }'
    assert prepared(body, setup()).streamed


def test_a_grammar_of_the_load_holds_for_every_request() -> None:
    read = prepared({"messages": [{"role": "user", "content": "x"}]}, setup(grammar='root ::= "yes"'))
    constraint = decode_work(read.work.raw).params.constraint
    assert constraint and (constraint.kind, constraint.source) == ("grammar", 'root ::= "yes"')
    with pytest.raises(ApiError, match="ignore_eos"):
        prepared({"messages": [{"role": "user", "content": "x"}], "ignore_eos": True}, setup(grammar='root ::= "a"'))


# The state of the model

DOCUMENTED = (
    '{"frequency_penalty":0.0,"grammar":"","ignore_eos":false,"logit_bias":[],"min_p":0.05,"mirostat":0,'
    '"mirostat_eta":0.1,"mirostat_tau":5.0,"model":"/path/model.gguf","n_ctx":2048,"n_keep":0,"n_predict":2,'
    '"n_probs":0,"penalize_nl":true,"penalty_prompt_tokens":[],"presence_penalty":0.0,"repeat_last_n":64,'
    '"repeat_penalty":1.1,"seed":4294967295,"stop":[],"stream":false,"temperature":0.8,"tfs_z":1.0,"top_k":40,'
    '"top_p":0.95,"typical_p":1.0,"use_penalty_prompt_tokens":false}'
)


def test_the_state_after_the_load_is_the_documented_text() -> None:
    assert status.model_data("/path/model.gguf", 2048, None, None) == DOCUMENTED


def test_the_state_after_a_request_has_the_same_keys() -> None:
    read = prepared({"messages": [{"role": "user", "content": "x"}]}, setup(load(user_prompt="U: ")))
    told = json.loads(status.model_data("/m", 512, "root ::= [0-9]", read.reply_options))
    assert list(told) == list(json.loads(DOCUMENTED)) and len(told) == 27
    assert told["n_predict"] == 500 and told["repeat_last_n"] == 32 and told["seed"] == 2**32 - 1
    assert told["stop"] == ["<|im_end|>", "U:"] and told["grammar"] == "root ::= [0-9]"


# Replies

USAGE = TokenUsage(prompt_tokens=90, cached_tokens=0, completion_tokens=13)
DONE = Done(USAGE, GenerationTimings(0, 90, 0.0, 13, 0.0))
STARTED = Started("m", "fp_x", 1_700_215_278, 1, 90)


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """aaaa…, bbbb…, cccc…"""
    letters = iter("abcdefgh")
    monkeypatch.setattr(renderer.random, "choices", lambda _, k: [next(letters)] * k)


def said(*pieces: str, spec: OutputSpec | None = None) -> tuple[list[list[Event]], ChoiceAssembler]:
    """The bursts of an answer, and what they add up to."""
    choice = ChoiceAssembler(0, spec or OutputSpec())
    outputs = [Output(1, [i], [piece.encode()]) for i, piece in enumerate(pieces)] + [Output(1, [9], [b""], "stop")]
    bursts = [choice.feed(output) for output in outputs]
    bursts[-1].append(DONE)
    return bursts, choice


def chunk(text: str, id: str, finish: str = "null") -> str:
    return (
        f'data: {{"choices":[{{"delta":{{"content":{text}}},"finish_reason":{finish},"index":0}}],'
        f'"created":1700215278,"id":"{id * 20}","model":"_","object":"chat.completion.chunk"}}\n\n'
    )


def streamed(bursts: Sequence[Sequence[Event]]) -> list[bytes]:
    rendered = FirstNitroRenderer(STARTED, b"")
    parts = [rendered.opening(), *(rendered.events(burst) for burst in bursts), rendered.idle()]
    parts[-2] += rendered.closing()
    return [part for part in parts if part]


def test_a_stream_byte_for_byte(ids: None) -> None:
    """Space before the answer is not sent, nor a frame for it. The last two events are one piece."""
    bursts, _ = said("\n", " Hello", "", ' "é😀"\n')
    assert streamed(bursts) == [
        chunk('"Hello"', "a").encode(),
        chunk('" \\"\\u00e9\\ud83d\\ude00\\"\\n"', "b").encode(),
        (chunk('""', "c", '"stop"') + "data: [DONE]\n\n").encode(),
    ]


def test_a_whole_reply_byte_for_byte(ids: None) -> None:
    _, choice = said("\n Hello", ", how may é assist you?")
    assert FirstNitroRenderer(STARTED, b"").whole(Answer(STARTED, [choice], DONE)).decode() == (
        '{"choices":[{"finish_reason":null,"index":0,"message":'
        '{"content":"Hello, how may \\u00e9 assist you?","role":"assistant"}}],"created":1700215278,'
        f'"id":"{"a" * 20}","model":"_","object":"chat.completion","system_fingerprint":"_",'
        '"usage":{"completion_tokens":13,"prompt_tokens":90,"total_tokens":103}}'
    )


def test_a_stream_that_fails_just_ends() -> None:
    rendered = FirstNitroRenderer(STARTED, b"")
    assert rendered.events([TextDelta(0, "a")])
    assert rendered.error(ApiError(500, "x")) + rendered.closing() == b""


def test_ids_are_20_letters_and_digits() -> None:
    ids = {renderer.random_id() for _ in range(200)}
    assert len(ids) == 200 and all(len(id) == 20 and id.isascii() and id.isalnum() for id in ids)


def test_a_reasoning_stands_in_the_text_in_both_modes() -> None:
    family = ModelFamily.of("<think></think>{{ enable_thinking }}", None)
    spec = OutputSpec(parser=lambda: family.parser(None, False, False, False))
    bursts, choice = said("<think>", "hm", "</think>", "Yes", ".", spec=spec)
    frames = b"".join(streamed(bursts)).decode().split("\n\n")
    deltas = [json.loads(frame.removeprefix("data: "))["choices"][0]["delta"]["content"] for frame in frames[:-2]]
    whole = json.loads(FirstNitroRenderer(STARTED, b"").whole(Answer(STARTED, [choice], DONE)))
    assert "".join(deltas) == whole["choices"][0]["message"]["content"] == "<think>hm</think>Yes."
