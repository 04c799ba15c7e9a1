"""A request of Ollama's becomes a `GenerationRequest`. Runs in an intake process.

It is put into our own names, as a request of chat or text completions, and read as such; what is wrong with it is told
in the client's names.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.json_body import Decoded
from nitro.api.ollama import messages
from nitro.api.ollama.requests import (
    LEVELS,
    CommonRequest,
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaOptions,
)
from nitro.api.openai import parse, requests
from nitro.api.openai.model_name import seconds_of
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import SamplingOptions
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import NO_LIMIT, check_request
from nitro.service.asked import Asked
from nitro.service.requests import Conversation, GenerationRequest
from nitro.text.family import ModelFamily

# What Ollama draws with where neither the model nor who serves it says otherwise (api/types.go, DefaultOptions).
SAMPLING = SamplingDefaults(temperature=0.8, top_k=40, top_p=0.9)
RANDOM = -1  # a seed
UNLIMITED = (-1, -2)  # num_predict: for ever; until the context is full. Here both are what fits


class Wants(Struct, frozen=True):
    """What a request says before it is read; `Asked.own` of this API. `empty`: it has nothing to answer, so that it
    loads its model, or unloads it where it also keeps it for 0 seconds. `context`: tokens that it expects. `ignored`:
    what has no effect in an empty one, as it may stand in a header."""

    empty: bool
    keep_alive: float | None = None
    context: int | None = None
    ignored: list[str] = []


encode_wants = msgspec.msgpack.Encoder().encode
decode_wants = msgspec.msgpack.Decoder(Wants).decode


NULL = Raw(b"null")


class _Context(Struct):
    num_ctx: int | None = None


class _Named(Struct):
    model: str | None = None
    stream: bool | None = None
    keep_alive: float | str | None = None
    options: _Context | None = None


class _NamedChat(_Named):
    messages: Raw = NULL


class _NamedGenerate(_Named):
    prompt: Raw = NULL
    suffix: Raw = NULL


_IMAGE = re.compile(r"(?:messages|prompt)\[(\d+)\]\.content\[(\d+)\]\.(?:image_url|type)")  # as chat calls it


def name_chat(body: bytes) -> Asked:
    """The Namer of `POST /api/chat`. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _NamedChat)
    return _asked(named, _is_empty(named.messages), body, OllamaChatRequest)


def name_generate(body: bytes) -> Asked:
    """The Namer of `POST /api/generate`. Raises ApiError 400 with `param`."""
    named = json_body.glance(body, _NamedGenerate)
    return _asked(named, _is_empty(named.prompt) and _is_empty(named.suffix), body, OllamaGenerateRequest)


def _asked(named: _Named, empty: bool, body: bytes, type: type[CommonRequest]) -> Asked:
    context = named.options.num_ctx if named.options else None
    wants = Wants(empty, seconds_of(named.keep_alive), context, _ignored(body, type) if empty else [])
    return Asked(named.model, named.stream is not False, encode_wants(wants))


def _ignored(body: bytes, type: type[CommonRequest]) -> list[str]:
    """What has no effect in a request that no Reader reads. Raises ApiError 400 for what is wrong or refused in it."""
    request, told, given = json_body.decode(body, type)
    try:
        check_request(request)
    except ApiError as error:
        raise error.renamed(given) from None
    return told


def _is_empty(value: Raw) -> bool:
    """Whether a value that may be long is null, or a text or a list with nothing in it."""
    return bytes(memoryview(value)[:100]).translate(None, b" \t\r\n") in (b"null", b'""', b"[]")


def read_chat(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /api/chat`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, OllamaChatRequest)
    try:
        check_request(request)
        ours, named = _common(request, setup)
        template = setup.tool_template if request.tools else setup.template
        ours |= _thinks(request.think, named, template, setup)
        chat = requests.ChatRequest(
            messages=messages.ours(request.messages or []),
            tools=request.tools,
            logprobs=request.logprobs,
            top_logprobs=request.top_logprobs,
            **ours,
        )
    except ApiError as error:
        raise error.renamed(given) from None
    names = {ours: given.get(theirs, theirs) for ours, theirs in named.items()}
    return _with_images(Decoded(chat, told, {**given, **names}), setup, r"messages[\1].images[\2]")


def read_generate(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /api/generate`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, OllamaGenerateRequest)
    try:
        check_request(request)
        _check_raw(request)
        ours, named = _common(request, setup)
        if request.raw or request.suffix or (setup.template is None and not request.system and not request.images):
            return _continued(request, told, given, ours | _no_thinking(request), named, setup)
        ours |= _thinks(request.think, named, setup.template, setup)
        system = [requests.Message("system", request.system)] if request.system else []
        said = messages.content(request.prompt or "", request.images)
        chat = requests.ChatRequest(
            messages=[*system, requests.Message("user", said)],
            logprobs=request.logprobs,
            top_logprobs=request.top_logprobs,
            **ours,
        )
    except ApiError as error:
        raise error.renamed(given) from None
    names = {ours: given.get(theirs, theirs) for ours, theirs in named.items()} | {"messages": "prompt"}
    parsed = _with_images(Decoded(chat, told, {**given, **names}), setup, r"images[\2]")
    return replace(parsed, param_names={**parsed.param_names, "prompt": "prompt"})


def _with_images(decoded: Decoded[requests.ChatRequest], setup: ModelSetup, called: str) -> GenerationRequest:
    """Read a chat whose images have the names of Ollama's requests. Raises ApiError 400."""
    try:
        parsed = parse.read(decoded, parse.chat_parser(setup), _with_defaults(setup))
    except ApiError as error:
        message, param = (_IMAGE.sub(called, text) for text in (str(error), error.param or ""))
        message = message.replace("'image_url'", "'images'")
        raise ApiError(error.status, message, param=param or None, code=error.code, type=error.type) from None
    prompt = parsed.prompt
    if not isinstance(prompt, Conversation) or not prompt.media:
        return parsed
    media = [replace(source, part="", field=_IMAGE.sub(called, source.param), type="") for source in prompt.media]
    return replace(parsed, prompt=replace(prompt, media=media))


def _continued(
    request: OllamaGenerateRequest,
    told: list[str],
    given: Mapping[str, str],
    ours: dict[str, Any],
    named: dict[str, str],
    setup: ModelSetup,
) -> GenerationRequest:
    """A prompt that no template writes."""
    if request.top_logprobs and not request.logprobs:
        raise ApiError.invalid("top_logprobs", "'logprobs' to be true where it is given")
    text = requests.CompletionRequest(
        prompt=request.prompt or "",
        suffix=request.suffix,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        **ours,
    )
    return parse.read(Decoded(text, told, {**given, **named}), parse.parse_completion, _with_defaults(setup))


def _with_defaults(setup: ModelSetup) -> ModelSetup:
    return replace(setup, sampling=setup.sampling.over(SAMPLING))


def _common(request: CommonRequest, setup: ModelSetup) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of our request that both kinds set, and by them the client's names. Raises ApiError 400."""
    options = request.options or OllamaOptions()
    check_options(options, setup.info.context)
    ours: dict[str, Any] = {
        "model": request.model,
        "stream": request.stream is not False,
        "keep_alive": request.keep_alive,
        "seed": None if options.seed == RANDOM else options.seed,
        "stop": options.stop,
        "max_tokens": NO_LIMIT if options.num_predict in UNLIMITED else options.num_predict,
        **{name: getattr(options, name) for name in SamplingOptions.__struct_fields__},
        **_format(request.format),
    }
    named = {name: f"options.{name}" for name in (*SamplingOptions.__struct_fields__, "seed", "stop")}
    named |= {"max_tokens": "options.num_predict", "response_format": "format", "json_schema": "format"}
    return ours, named


def check_options(options: OllamaOptions, context: int) -> None:
    """Hold what only Ollama has to what is served: `context` tokens. Raises ApiError 400."""
    try:
        check_request(options)
    except ApiError as error:
        raise error.renamed({name: f"options.{name}" for name in OllamaOptions.__struct_fields__}) from None
    check_context(options.num_ctx, context)


def check_context(wanted: int | None, served: int) -> None:
    """Raises ApiError 400 where a request expects a larger context than its model is served with. A smaller one changes
    no answer: nothing is cut here."""
    if wanted and wanted > served:
        raise ApiError.invalid(
            "options.num_ctx",
            f"at most {served}, the context that this model is served with, got {wanted}; start the server with a "
            "larger --ctx",
        )


def _format(value: str | dict[str, Any] | None) -> dict[str, Any]:
    """What the answer must be. Raises ApiError 400."""
    if value in (None, ""):
        return {}
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    if not isinstance(value, dict):
        raise ApiError.invalid("format", f"'json' or a JSON schema, which is an object, got '{value}'")
    return {"json_schema": value}


def _thinks(think: bool | str | None, named: dict[str, str], template: str | None, setup: ModelSetup) -> dict[str, Any]:
    """Whether, and how much, the model reasons; adds to `named`. Raises ApiError 400, as Ollama does where the model
    cannot."""
    if isinstance(think, str) and think not in LEVELS:
        raise ApiError.invalid("think", f"true, false, or one of {', '.join(LEVELS)}, got '{think}'")
    family = ModelFamily.of(template or "", setup.tool_format)
    if think and family.reasoning_markers is None:
        raise ApiError.unsupported("think", "needs a model that reasons, and this one does not support thinking")
    if isinstance(think, str):
        named["reasoning_effort"] = "think"
        return {"reasoning_effort": _level(think, family)}
    if think is None or family.reasoning_markers is None:  # who cannot reason is not told not to
        return {}
    named["enable_thinking"] = "think"
    return {"enable_thinking": think}


def _level(level: str, family: ModelFamily) -> str:
    """gpt-oss knows three levels; Ollama gives it the highest for "max", too."""
    return "high" if level == "max" and family.format.messages else level


def _no_thinking(request: OllamaGenerateRequest) -> dict[str, Any]:
    if request.think:
        raise ApiError.invalid("think", "false where no chat template writes the prompt")
    return {}


def _check_raw(request: OllamaGenerateRequest) -> None:
    """Raises ApiError 400 for what only a template could take in."""
    if request.images and (request.raw or request.suffix):
        raise ApiError.invalid("images", f"none beside '{'raw' if request.raw else 'suffix'}'")
    if request.raw and request.suffix:
        raise ApiError.invalid("suffix", "nothing beside 'raw'")
    if request.system and (request.raw or request.suffix):
        raise ApiError.invalid("system", f"nothing beside '{'raw' if request.raw else 'suffix'}'")
