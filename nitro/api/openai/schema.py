"""The OpenAI API's objects, as msgspec structs: what is read from requests and written into replies.

A request struct declares what is supported; `UNSUPPORTED` names what is known and refused until it is. Every optional
field takes null. Shapes: the OpenAI API reference; the extensions are llama-server's and vLLM's names.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

# Requests


class Part(Struct):
    """One part of a message's content; a part without a type is text."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class Message(Struct):
    role: str
    content: str | Part | list[str | Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Prediction(Struct):
    """Predicted outputs: what the answer may well be."""

    content: str | Part | list[str | Part]
    type: str | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class SamplingRequest(Struct):
    """How tokens are to be drawn: see api/openai/sampling.py."""

    seed: int | None = None
    temperature: float | None = None
    top_n_sigma: float | None = None
    top_k: int | None = None
    typical_p: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    min_tokens: int | None = None
    logit_bias: dict[str, float | bool] | list[list[str | int | float | bool]] | None = None
    ignore_eos: bool | None = None


class CommonRequest(SamplingRequest):
    """What chat and text completions have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    prediction: Prediction | None = None
    cache_prompt: bool | None = None
    return_tokens: bool | None = None
    timings_per_token: bool | None = None
    response_format: dict[str, Any] | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    choice: list[str] | None = None


class ChatRequest(CommonRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning_format: str | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None


class CompletionRequest(CommonRequest, kw_only=True):
    """`POST /v1/completions`. `prompt`: a text, texts, token ids, or lists of them."""

    prompt: str | list[str | int | list[int]]
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None


# Parameters that are known and not supported yet, each with the values by which it asks for nothing, besides NOTHING.
NOTHING: tuple[Any, ...] = (None, False, [], "none")
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "modalities": (["text"],),
    "web_search_options": (),
}

# Replies

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class PromptTokensDetails(Struct):
    cached_tokens: int = 0


class CompletionTokensDetails(Struct):
    """Tokens that were reasoning; of a prediction's tokens that were checked, those that came true and those not."""

    reasoning_tokens: int | UnsetType = UNSET
    accepted_prediction_tokens: int | UnsetType = UNSET
    rejected_prediction_tokens: int | UnsetType = UNSET


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET


class Timings(Struct):
    """llama-server's. Of all choices together; the answer's first token belongs to the prompt. 0 is not known yet."""

    cache_n: int
    prompt_n: int  # tokens computed
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | UnsetType = UNSET
    draft_n_accepted: int | UnsetType = UNSET


class WithTimings(Struct, kw_only=True):
    """A reply whole, or a chunk: timings are on the last, and on each if asked for."""

    timings: Timings | UnsetType = UNSET


class TopLogprob(Struct):
    """`bytes` are null where the token adds nothing to the text; a token that is a part of a character is U+FFFD."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct):
    content: list[TokenLogprob]
    refusal: None = None


class FunctionCall(Struct):
    """`arguments` are JSON; in a stream, the next piece of it, and `name` is with the first."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCall(Struct):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ToolCallDelta(Struct):
    """`id` and `type` are with the first delta of a call."""

    index: int
    function: FunctionCall
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ReplyMessage(Struct):
    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class Choice(Struct):
    index: int
    message: ReplyMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class ChatCompletion(WithTimings):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    object: Literal["chat.completion"] = "chat.completion"


class Delta(Struct):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class ChunkChoice(Struct):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: ChoiceLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class ChatCompletionChunk(WithTimings):
    """`usage` is absent unless asked for; then it is null on every chunk but the last, which has no choices."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class LegacyLogprobs(Struct):
    """By token; a prompt's first has none. A token that is no text by itself is written "bytes:\\xf0\\x9f"."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]  # characters


class TextChoice(Struct):
    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: LegacyLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class Completion(WithTimings):
    """Whole, or a chunk of a stream: there `usage` is as in ChatCompletionChunk."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    object: Literal["text_completion"] = "text_completion"


class Model(Struct):
    id: str
    created: int
    context_length: int | None
    max_model_len: int | None
    engine: str | None
    loaded: bool
    capabilities: dict[str, bool]
    tool_format: str | None = None
    proof: dict[str, Any] | None = None  # of a conversion: nitro.convert.comparison.Proof
    owned_by: str = "nitro"
    object: Literal["model"] = "model"


class ModelList(Struct):
    data: list[Model]
    object: Literal["list"] = "list"


class Health(Struct, omit_defaults=True):
    status: Literal["ok", "loading", "restarting", "down", "stalled"]
    reason: str | None = None


class ErrorBody(Struct):
    """`param` is what in the request is at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Struct):
    """Every error, as a reply or as an event of a stream."""

    error: ErrorBody
