"""A request for a response becomes a `GenerationRequest`: all is checked, and no default is missing.

What it has in common with chat completions is read as there, by the names of chat; errors have the names of this API.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.openai import parse as chat
from nitro.api.openai.constraints import closes_objects
from nitro.api.openai.requests import ChatRequest
from nitro.api.openai.sampling import inert
from nitro.api.prefix_cache import parse_whole
from nitro.api.responses import history, input_items, reply_options
from nitro.api.responses.items import ConversationReader, Item
from nitro.api.responses.metadata import check_metadata
from nitro.api.responses.names import MOVED
from nitro.api.responses.reply_options import ReplyOptions
from nitro.api.responses.requests import (
    SUMMARIES,
    TRUNCATIONS,
    VERBOSITIES,
    ReasoningOptions,
    ResponsesRequest,
    TextOptions,
)
from nitro.api.responses.tools import ReadTools, read_tools
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import check_request
from nitro.service import ignored_parameters
from nitro.service.requests import Conversation, GenerationRequest, text_part

# What `include` may name. Of hosted tools and images there is nothing to include.
LOGPROBS, ENCRYPTED = "message.output_text.logprobs", "reasoning.encrypted_content"
OF_OTHERS = (
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
)
SYSTEM_ROLES = ("system", "developer")
_PLAIN = (
    *("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"),
    *("prompt_cache_retention", "safety_identifier", "user"),
)
# The parameters of chat that mean the same here
_SHARED = [
    name
    for name in ChatRequest.__struct_fields__
    if name in ResponsesRequest.__struct_fields__
    and name not in ("stream_options", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs")
]


def read(body: bytes, setup: ModelSetup, remembered: bytes | None = None) -> GenerationRequest:
    """The Reader of `POST /v1/responses`; with `remembered`, a history, its RememberingReader. Raises ApiError 400 with
    `param`."""
    request, told, given = json_body.decode(body, ResponsesRequest)
    # by its name in chat's API, or ours: what the client calls a parameter
    called = {ours: given.get(here, here) for ours, here in MOVED.items()} | {"messages": "input"} | given
    try:
        parsed, more = _parse(request, setup, remembered)
    except ApiError as error:
        raise error.renamed(called) from None
    unused = [ignored_parameters.escaped(given.get(name, name)) for name in inert(request, setup.info.samplers)]
    return replace(chat.with_given(parsed, called), ignored=[*told, *more, *unused])


def _parse(
    request: ResponsesRequest, setup: ModelSetup, remembered: bytes | None
) -> tuple[GenerationRequest, list[str]]:
    """And names without effect, as they may stand in a header."""
    check_request(request)
    _check_lasting(request, remembered is not None)
    _check_others(request)
    like_chat = _like_chat(request)
    tools = read_tools(request.tools, request.tool_choice, request.parallel_tool_calls, closes_objects(like_chat))
    if tools.offered and tools.offered.required and request.ignore_eos:
        raise ApiError.invalid("ignore_eos", "false beside 'tool_choice', which says where the answer ends")
    reader, items = _read_input(request, remembered, tools, setup.info.media)
    max_tokens = chat.unlimited(request.max_output_tokens)
    chat.check_min_tokens(request.min_tokens, max_tokens)
    include = _include(request)
    logprobs = (request.top_logprobs or 0) if request.top_logprobs or LOGPROBS in include else None
    common = chat.parse_common(like_chat, setup.sampling, setup.info.samplers, logprobs)
    sampling = common["sampling"]
    conversation = Conversation(
        messages=reader.messages,
        media=reader.media,
        places=reader.places,
        tools=tools.offered,
        variables=chat.parse_variables(like_chat) | _verbosity(request),
        variables_set_by=chat.variables_set_by(like_chat) | {f"text.{name}": [name] for name in _verbosity(request)},
        thinking_budget=chat.unlimited(request.thinking_budget),
        continues=_continues(request, reader.messages),
        truncates=request.truncation == "auto",
    )
    options = ReplyOptions(
        echoed=_echoed(request, tools) | {"temperature": sampling.temperature, "top_p": sampling.top_p},
        called=tools.called,
        summarizes=_summarizes(request),
        encrypts=ENCRYPTED in include,
        logprobs=logprobs,
        input_items=b"[]" if request.store is False else input_items.kept(items),
    )
    parsed = GenerationRequest(
        prompt=conversation,
        max_tokens=max_tokens,
        prefix_breakpoints=reader.breakpoints,
        reply_options=reply_options.encode(options),
        param_names={"prompt": "input"},
        **common,
    )
    return parsed, tools.told + reader.told


def _like_chat(request: ResponsesRequest) -> ChatRequest:
    """The request's parameters that chat has, as chat has them."""
    reasoning = request.reasoning or ReasoningOptions()
    return ChatRequest(
        messages=[],
        reasoning_effort=reasoning.effort,
        response_format=_response_format(request.text),
        **{name: getattr(request, name) for name in _SHARED},
    )


def _response_format(text: TextOptions | None) -> dict[str, Any] | None:
    """`text.format` as chat has it. There, the schema and its name are an object of their own."""
    form = text.format if text else None
    if form is None:
        return None
    kind = form.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise ApiError.invalid("text.format.type", "'text', 'json_object' or 'json_schema'")
    if kind != "json_schema":
        return form
    inner = form.get("json_schema", form)  # in chat's form, too
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise ApiError.invalid("text.format.schema", "a JSON schema, which is an object")
    return {"type": "json_schema", "json_schema": inner}


def _verbosity(request: ResponsesRequest) -> dict[str, Any]:
    """A variable of the template, but for the usual."""
    verbosity = request.text.verbosity if request.text else None
    if verbosity not in (None, *VERBOSITIES):
        raise ApiError.invalid("text.verbosity", f"one of {', '.join(VERBOSITIES)}, got '{verbosity}'")
    return {} if verbosity in (None, "medium") else {"verbosity": verbosity}


def _summarizes(request: ResponsesRequest) -> bool:
    summary = request.reasoning.summary if request.reasoning else None
    if summary not in (None, "none", *SUMMARIES):
        expected = f"one of {', '.join(SUMMARIES)}, got '{summary}': the summary is what the model thought"
        raise ApiError.invalid("reasoning.summary", expected)
    return summary in SUMMARIES


def _include(request: ResponsesRequest) -> list[str]:
    include = request.include or []
    for i, name in enumerate(include):
        if name not in (LOGPROBS, ENCRYPTED, *OF_OTHERS):
            raise ApiError.invalid(f"include[{i}]", f"one of {', '.join((LOGPROBS, ENCRYPTED, *OF_OTHERS))}")
    return include


def _check_lasting(request: ResponsesRequest, remembers: bool) -> None:
    """Raises ApiError where the request needs what nobody remembers."""
    if not remembers:
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(request, name):
                raise ApiError.unsupported(name, "is not supported: this server keeps no responses")


def _check_others(request: ResponsesRequest) -> None:
    if request.truncation not in (None, *TRUNCATIONS):
        raise ApiError.invalid("truncation", f"one of {', '.join(TRUNCATIONS)}, got '{request.truncation}'")
    check_metadata(request.metadata)


def _read_input(
    request: ResponsesRequest, remembered: bytes | None, tools: ReadTools, media: MediaInfo | None
) -> tuple[ConversationReader, list[Item]]:
    """The conversation, and the request's own items."""
    kept = history.decode(remembered or b"")
    inherited = parse_whole(None, None, request.prompt_cache_options).inherited
    decode = msgspec.json.decode
    reader = ConversationReader(
        tools.named, {id: decode(item) for id, item in kept.referenced.items()}, inherited=inherited, about=media
    )
    if request.instructions:
        reader.add({"role": "system", "content": [text_part(request.instructions)]}, "instructions")
    before = "conversation" if request.conversation is not None else "previous_response_id"
    reader.read([decode(item) for item in kept.items], before)
    given = request.input
    if given is None and not kept.items:
        raise ApiError.missing("input")
    items = reader.read(input_items.of_text(given) if isinstance(given, str) else given or [], "input")
    if all(message["role"] in SYSTEM_ROLES for message in reader.messages):
        reader.add({"role": "user", "content": []}, "input")  # a probe: nothing is said
    return reader, items


def _continues(request: ResponsesRequest, messages: list[dict[str, Any]]) -> bool:
    """Only where that is asked for: an answer is an item of its own."""
    can = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    if request.continue_final_message and not can:
        raise ApiError.invalid("continue_final_message", "the last message to be the assistant's, without tool calls")
    return bool(request.continue_final_message)


def _echoed(request: ResponsesRequest, tools: ReadTools) -> dict[str, Any]:
    """What of the request comes back. See ReplyOptions."""
    reasoning, text = request.reasoning or ReasoningOptions(), request.text or TextOptions()
    json = msgspec.json.encode
    return {
        **{name: value for name in _PLAIN if (value := getattr(request, name)) is not None},
        "conversation": json(_conversation(request.conversation)),
        "metadata": json(request.metadata or {}),
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "reasoning": json({"effort": reasoning.effort, "summary": reasoning.summary}),
        "text": json({"format": _format(text.format), "verbosity": text.verbosity or "medium"}),
        "tool_choice": json(request.tool_choice or "auto"),
        "tools": json(tools.echoed),
        "top_logprobs": request.top_logprobs or 0,
        "truncation": request.truncation or "disabled",
    }


def _format(form: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """As a reply has it. A schema has a name there."""
    if form is None or form["type"] != "json_schema":
        return form or {"type": "text"}
    return {"type": "json_schema", "name": "answer", **form.get("json_schema", form)}


def _conversation(conversation: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As a reply has it."""
    if conversation is None:
        return None
    return {"id": conversation if isinstance(conversation, str) else conversation.get("id")}
