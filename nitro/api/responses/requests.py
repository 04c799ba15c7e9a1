"""The request of `POST /v1/responses`, as msgspec structs. Every optional field takes null; what is in a list of items,
tools or choices is read where it is used.

Shapes: `openai/types/responses/response_create_params.py` of the Python SDK 3.54; the extensions are those of chat.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from msgspec import Struct

from nitro.api.names import Known
from nitro.api.openai.requests import (
    MAX_LOGPROBS,
    MAX_STOP_TOKENS,
    MAX_STOPS,
    SERVICE_TIER,
    Prediction,
    SamplingRequest,
    ServiceTier,
)
from nitro.api.prefix_cache import CacheControl, CacheOptions
from nitro.api.responses import names
from nitro.parameters import Param

SUMMARIES = ("auto", "detailed")
VERBOSITIES = ("low", "medium", "high")
TRUNCATIONS = ("auto", "disabled")

_structured = partial(Param, capability="structured_output")
_tools = partial(Param, capability="tools")
_reasoning = partial(Param, capability="reasoning")


class ReasoningOptions(Struct):
    """How the model thinks, and how that is told."""

    known: ClassVar[Mapping[str, Known]] = names.REASONING

    effort: str | None = None
    summary: str | None = None


class TextOptions(Struct):
    """What the answer's text is like."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponseStreamOptions(Struct):
    """Options of a stream, none of which is needed here."""

    known: ClassVar[Mapping[str, Known]] = names.STREAM_OPTIONS


class ResponsesRequest(SamplingRequest, frozen=True, kw_only=True):
    """`POST /v1/responses`."""

    known: ClassVar[Mapping[str, Known]] = names.RESPONSE

    model: Annotated[
        str | None,
        Param(
            "The name of a model. Where one is offered, any name is answered, and listed in the header x-nitro-ignored."
        ),
    ] = None
    input: Annotated[
        str | list[dict[str, Any]] | None,
        Param("A text, or items: messages, calls and their outputs, reasoning, references.", capability="chat"),
    ] = None
    instructions: Annotated[str | None, Param("A system message before all else. It is not inherited.")] = None
    previous_response_id: Annotated[
        str | None, Param("The stored response that this one goes on with: its items come before those of `input`.")
    ] = None
    conversation: Annotated[
        str | dict[str, Any] | None,
        Param("The stored conversation that this response goes on with, and is added to: its id."),
    ] = None
    store: Annotated[bool | None, Param("false: keep nothing of this response.")] = None
    background: Annotated[bool | None, Param("Answer at once, with a response that is queued, and generate it.")] = None
    stream: Annotated[bool | None, Param("Stream the response: server-sent events, as OpenAI's.")] = None
    stream_options: Annotated[
        ResponseStreamOptions | None, Param("Only `include_obfuscation`, which has no effect.")
    ] = None
    max_output_tokens: Annotated[
        int | None,
        Param("At most this many tokens are generated. By default, and for -1, what fits.", ge=1, unlimited=True),
    ] = None
    tools: Annotated[
        list[dict[str, Any]] | None,
        _tools("What the model may call: `function`, `custom` with a Lark grammar or a regex, `namespace` of those."),
    ] = None
    tool_choice: Annotated[
        str | dict[str, Any] | None,
        _tools("`none`, `auto`, `required`, one tool by its type and name, or `allowed_tools`."),
    ] = None
    parallel_tool_calls: Annotated[bool | None, _tools("Whether one response may contain several calls.")] = None
    max_tool_calls: Annotated[
        int | None, _tools("Of the calls of hosted tools, of which there are none: any number is kept.", ge=1)
    ] = None
    text: Annotated[
        TextOptions | None,
        _structured(
            "`format`: `text`, `json_object`, or `json_schema`, which is enforced. `verbosity` goes to the template."
        ),
    ] = None
    reasoning: Annotated[
        ReasoningOptions | None,
        _reasoning(
            "`effort` goes to the chat template; `none` switches reasoning off. `summary`, `auto` or `detailed`: "
            "what the model thought is told as a summary, and else as the content of a reasoning item."
        ),
    ] = None
    include: Annotated[
        list[str] | None,
        Param("`message.output_text.logprobs`, `reasoning.encrypted_content`; of hosted tools there is nothing."),
    ] = None
    top_logprobs: Annotated[
        int | None,
        Param("Add each token's log probability, and this many of the most likely tokens.", ge=0, le=MAX_LOGPROBS),
    ] = None
    truncation: Annotated[
        str | None,
        Param(
            "`auto`: where the prompt does not fit, its oldest items are left out; else it is a 400.",
            choices=TRUNCATIONS,
        ),
    ] = None
    metadata: Annotated[dict[str, Any] | None, Param("Up to 16 texts by name, which come back.")] = None
    prompt_cache_key: Annotated[
        str | None, Param("The prompt stays in the prefix cache, as in chat completions. Comes back.")
    ] = None
    prompt_cache_retention: Annotated[
        str | None, Param("How long, as in chat completions. Comes back.", choices=("in_memory", "24h"))
    ] = None
    prompt_cache_options: Annotated[
        CacheOptions | None, Param("As in chat completions, for `prompt_cache_breakpoint` of a message's parts.")
    ] = None
    cache_control: Annotated[CacheControl | None, Param("As in chat completions.")] = None
    safety_identifier: Annotated[str | None, Param("Comes back.")] = None
    user: Annotated[str | None, Param("Comes back.")] = None
    service_tier: Annotated[ServiceTier | None, Param(SERVICE_TIER)] = None

    stop: Annotated[
        str | list[str] | None,
        Param(f"A string, or up to {MAX_STOPS}, at which the text ends. Not looked for in reasoning and tool calls."),
    ] = None
    stop_token_ids: Annotated[
        list[int] | None,
        Param(f"Up to {MAX_STOP_TOKENS} token ids, at which the answer ends. Its text does not contain that token."),
    ] = None
    include_stop_str_in_output: Annotated[
        bool | None, Param("End the answer with the stop string, or with the text of the stop token.")
    ] = None
    prediction: Annotated[Prediction | None, Param("Expected text. Never changes the answer; may speed it up.")] = None
    json_schema: Annotated[dict[str, Any] | None, _structured("The answer is JSON that matches this schema.")] = None
    grammar: Annotated[str | None, _structured("The answer matches this grammar, in GBNF or Lark.")] = None
    regex: Annotated[str | None, _structured("The whole answer matches this regular expression.")] = None
    choice: Annotated[list[str] | None, _structured("The answer is one of these strings.")] = None
    disable_additional_properties: Annotated[
        bool | None,
        _structured("false: objects may have properties that their schema does not list, as in JSON Schema."),
    ] = None
    cache_prompt: Annotated[
        bool | None, Param("false: compute the whole prompt, and reuse nothing from earlier requests.")
    ] = None
    keep_alive: Annotated[
        float | str | None,
        Param("How long the model stays loaded once it is idle: seconds, or as in 5m; 0: not at all; -1: for ever."),
    ] = None
    continue_final_message: Annotated[
        bool | None, Param("true: continue the last message, which is the assistant's.")
    ] = None
    enable_thinking: Annotated[
        bool | None, _reasoning("Passed to the chat template, to switch reasoning on or off.")
    ] = None
    thinking_budget: Annotated[
        int | None, _reasoning("End the reasoning after at most this many tokens. -1: no limit.", ge=0, unlimited=True)
    ] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Param("More variables to pass to the chat template.")] = None
