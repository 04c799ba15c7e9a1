"""A conversation of the first Nitro's becomes a `GenerationRequest`. Runs in an intake process."""

from typing import Any

from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.first_nitro import prompts, status
from nitro.api.first_nitro.requests import ChatRequest, EmbeddingRequest, Message
from nitro.api.openai.logit_bias import parse_bias
from nitro.api.openai.messages import MAX_MESSAGES, parse_content
from nitro.api.openai.parse import parse_stops
from nitro.api.openai.requests import ROLES
from nitro.api.openai.sampling import inert, parse_sampling
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import INT32
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import NO_LIMIT, check_count, check_request
from nitro.service import ignored_parameters
from nitro.service.embedding_request import MAX_INPUTS
from nitro.service.embedding_request import EmbeddingRequest as Embedding
from nitro.service.requests import Conversation, GenerationRequest, text_part

MAX_TOKENS = 500  # by default
# What it sampled with, whatever the model recommends: its own defaults, and those of its llama.cpp.
SAMPLING = SamplingDefaults(
    temperature=0.8,
    top_p=0.95,
    top_k=40,
    min_p=0.05,
    repetition_penalty=1.1,
    frequency_penalty=0.0,
    presence_penalty=0.0,
)
LAST_N = SamplingDefaults(repeat_last_n=32)  # for a model that was loaded without


def read_chat(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /inferences/llamacpp/chat_completion`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, ChatRequest)
    try:
        check_request(request)
        bias, text_bias = parse_bias(request.logit_bias or {})
        sampling = parse_sampling(request, SAMPLING.over(setup.sampling).over(LAST_N), bias, setup.info.samplers)
        max_tokens = MAX_TOKENS if request.max_tokens is None else request.max_tokens
        stops = list(dict.fromkeys((*parse_stops(request.stop), prompts.IM_END)))
        return GenerationRequest(
            prompt=Conversation(messages=_messages(request.messages, setup)),
            sampling=replace(sampling, logprobs=None),
            max_tokens=None if max_tokens == NO_LIMIT else min(max_tokens, INT32),
            stops=stops,
            text_bias=text_bias,
            stream=bool(request.stream),
            reply_options=status.encode(
                status.of_request(sampling, request, max_tokens, list(dict.fromkeys((*stops, *setup.stops))))
            ),
            ignored=[*told, *map(ignored_parameters.escaped, inert(request, setup.info.samplers))],
            param_names={"prompt": "messages"},
        )
    except ApiError as error:
        raise error.renamed(given) if given else error from None


def read_embedding(body: bytes, setup: ModelSetup) -> Embedding:
    """The EmbeddingReader of `POST /inferences/llamacpp/embedding`. What of a list is no text is left out. Raises
    ApiError 400."""
    request, told, _ = json_body.decode(body, EmbeddingRequest)
    given = request.input if isinstance(request.input, list) else [request.input]
    inputs: list[str | list[int]] = [text for text in given if isinstance(text, str)]
    check_count("input", inputs, MAX_INPUTS, "texts")
    if "" in inputs:
        raise ApiError.invalid("input", "texts that are not empty")
    return Embedding(inputs=inputs, ignored=told)


def _messages(messages: list[Message], setup: ModelSetup) -> list[dict[str, Any]]:
    """As chat templates want them. Prefixes take any role, a model's own template OpenAI's."""
    if not messages:
        raise ApiError.invalid("messages", "at least one message")
    check_count("messages", messages, MAX_MESSAGES, "messages")
    any_role = prompts.are_prefixes(setup.template)
    parsed = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not any_role and message.role not in ROLES:
            raise ApiError.invalid(f"{where}.role", f"one of {', '.join(ROLES)}, got '{message.role}'")
        content = [text_part(text) for text in parse_content(message.content, f"{where}.content")]
        parsed.append({"role": message.role, "content": content})
    return parsed
