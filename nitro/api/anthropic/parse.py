"""A request for a message becomes a `GenerationRequest`: all is checked, and no default is missing."""

from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.anthropic import context_edits, conversation, reply_options, tools
from nitro.api.anthropic.requests import DISPLAYS, EFFORTS, THINKING_TYPES, MessagesRequest, OutputConfig, Thinking
from nitro.api.openai.logit_bias import parse_bias
from nitro.api.openai.model_name import seconds_of
from nitro.api.openai.parse import THINKING, parse_stops
from nitro.api.openai.sampling import inert, parse_sampling
from nitro.api.prefix_cache import parse_whole
from nitro.engines.sampling_params import INT32
from nitro.engines.types import Constraint
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import check_number, check_request, parameters
from nitro.service import ignored_parameters
from nitro.service.requests import Conversation, GenerationRequest
from nitro.text.closed_schemas import closed

FORMAT = "output_config.format"
SCHEMA = f"{FORMAT}.schema"
NAMES = {
    "prompt": "messages",
    "thinking_budget": "thinking.budget_tokens",
    "stop": "stop_sequences",
    "json_schema": SCHEMA,
}


def read(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/messages`. Raises ApiError 400 with `param`."""
    decoded = json_body.decode(body, MessagesRequest)
    if decoded.request.max_tokens is None:
        raise ApiError.missing("max_tokens")
    return _parse(decoded, setup)


def read_count(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/messages/count_tokens`, whose requests have no `max_tokens`. Raises ApiError 400."""
    return _parse(json_body.decode(body, MessagesRequest), setup)


def _parse(decoded: json_body.Decoded[MessagesRequest], setup: ModelSetup) -> GenerationRequest:
    """Parse a request, with the client's own names for parameters in errors."""
    request, told, given = decoded
    try:
        parsed = parse(request, setup)
    except ApiError as error:
        raise error.renamed(given) if given else error from None
    if given and parsed.constraint:
        theirs = f"{given.get(FORMAT, FORMAT)}.schema"
        parsed = replace(parsed, constraint=replace(parsed.constraint, param=theirs))
    return replace(parsed, ignored=[*told, *parsed.ignored])


def parse(request: MessagesRequest, setup: ModelSetup) -> GenerationRequest:
    """Check everything that needs no engine. Raises ApiError 400 with `param`."""
    check_request(request)
    bias, text_bias = parse_bias(request.logit_bias or {})
    sampling = parse_sampling(request, setup.sampling, bias, setup.info.samplers)
    conversed = conversation.parse(request, setup.info.media)
    messages = conversed.messages
    edits = context_edits.apply(request.context_management, messages)
    offered, unused_tools = tools.parse(request)
    thinking, output = request.thinking, request.output_config
    _check_thinking(thinking)
    max_tokens = _max_tokens(request)
    stops = _stops(request)
    return GenerationRequest(
        prompt=Conversation(
            messages=messages,
            media=conversed.media,
            places=conversed.places,
            tools=offered,
            variables=_variables(thinking, output),
            variables_set_by=_variables_set_by(thinking, output),
            thinking_budget=thinking.budget_tokens if thinking else None,
            continues=messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"),
        ),
        sampling=replace(sampling, logprobs=None),
        model=request.model,
        max_tokens=max_tokens,
        stops=stops,
        text_bias=text_bias,
        prefix_seconds=parse_whole(None, None, None, request.cache_control).seconds,
        prefix_breakpoints=[*tools.breakpoints(request.tools or []), *conversed.breakpoints],
        constraint=_constraint(output, request),
        stream=bool(request.stream),
        keep_alive=seconds_of(request.keep_alive),
        reply_options=_reply_options(request, stops, max_tokens),
        ignored=[*edits, *unused_tools, *map(ignored_parameters.escaped, inert(request, setup.info.samplers))],
        param_names=NAMES,
    )


def _reply_options(request: MessagesRequest, stops: list[str], max_tokens: int | None) -> bytes:
    omits = request.thinking is not None and request.thinking.display == "omitted"
    edits = request.context_management is not None
    return reply_options.encode(reply_options.ReplyOptions(stops, max_tokens or 0, omits, edits))


def _max_tokens(request: MessagesRequest) -> int | None:
    most = None if request.max_tokens is None else min(request.max_tokens, INT32)
    if most is not None and (request.min_tokens or 0) > most:
        raise ApiError.invalid("min_tokens", f"at most max_tokens, which is {most}, got {request.min_tokens}")
    return most


def _stops(request: MessagesRequest) -> list[str]:
    try:
        return parse_stops(request.stop_sequences)
    except ApiError as error:
        raise error.renamed(NAMES) from None


def _check_thinking(thinking: Thinking | None) -> None:
    if thinking is None:
        return
    if thinking.type not in THINKING_TYPES:
        raise ApiError.invalid("thinking.type", f"one of {', '.join(THINKING_TYPES)}, got '{thinking.type}'")
    if thinking.display not in (None, *DISPLAYS):
        raise ApiError.invalid("thinking.display", f"one of {', '.join(DISPLAYS)}, got '{thinking.display}'")
    if thinking.budget_tokens is not None:
        if thinking.type != "enabled":
            raise ApiError.invalid("thinking.budget_tokens", f"nothing beside the type '{thinking.type}'")
        check_number("thinking.budget_tokens", thinking.budget_tokens, parameters(Thinking)["budget_tokens"])


def _variables(thinking: Thinking | None, output: OutputConfig | None) -> dict[str, Any]:
    """The variables of the chat template: see openai/parse.py."""
    variables: dict[str, Any] = {}
    if thinking:
        variables |= dict.fromkeys(THINKING, thinking.type != "disabled")
    effort = output.effort if output else None
    if effort is not None:
        if effort not in EFFORTS:
            raise ApiError.invalid("output_config.effort", f"one of {', '.join(EFFORTS)}, got '{effort}'")
        variables["reasoning_effort"] = effort
    return variables


def _variables_set_by(thinking: Thinking | None, output: OutputConfig | None) -> dict[str, list[str]]:
    """By the request's parameter: the variables that it sets. `adaptive` lets the model reason, which asks nothing of a
    model that does not; nor does `disabled`, where none would."""
    set_by: dict[str, list[str]] = {}
    if thinking and thinking.type == "enabled":
        set_by["thinking"] = list(THINKING)
    if output and output.effort is not None:
        set_by["output_config.effort"] = ["reasoning_effort"]
    return set_by


def _constraint(output: OutputConfig | None, request: MessagesRequest) -> Constraint | None:
    """The form of the answer. Raises ApiError 400."""
    value = output.format if output else None
    if value is None:
        return None
    if value.get("type") != "json_schema":
        raise ApiError.invalid(f"{FORMAT}.type", f"'json_schema', got '{value.get('type')}'")
    schema = value.get("schema")
    if not isinstance(schema, dict):
        raise ApiError.invalid(SCHEMA, "a JSON schema, which is an object")
    if request.ignore_eos:
        raise ApiError.invalid("ignore_eos", f"false beside '{FORMAT}', which says where the answer ends")
    return Constraint("json_schema", msgspec.json.encode(closed(schema)).decode(), SCHEMA)
