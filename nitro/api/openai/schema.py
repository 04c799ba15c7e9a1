"""The OpenAI API's replies, as msgspec structs. Requests: requests.py.

Shapes: the OpenAI API reference; the extensions have llama-server's and vLLM's names.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

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
