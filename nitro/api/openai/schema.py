"""The OpenAI API's replies, as msgspec structs. Requests: requests.py.

Shapes: the OpenAI API reference; the extensions have llama-server's and vLLM's names.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from nitro.engines.shares import Tier
from nitro.models.pool_entry import State

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class PromptTokensDetails(Struct):
    """Tokens of the prompt that were not computed again; and those that were, and stay in the cache since the request
    says so. Those of images and of sounds, with the marks around them."""

    cached_tokens: int = 0
    cache_write_tokens: int | UnsetType = UNSET
    image_tokens: int | UnsetType = UNSET
    audio_tokens: int | UnsetType = UNSET


class CompletionTokensDetails(Struct):
    """Tokens of reasoning; and of the predicted tokens that were checked, how many were right and how many wrong."""

    reasoning_tokens: int | UnsetType = UNSET
    accepted_prediction_tokens: int | UnsetType = UNSET
    rejected_prediction_tokens: int | UnsetType = UNSET


class Usage(Struct):
    """Token counts. Completion tokens are those of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET


class EmbeddingUsage(Struct):
    """Token counts of a request for embeddings."""

    prompt_tokens: int
    total_tokens: int


class Embedding(Struct, kw_only=True):
    """The vector of one input: numbers or, where base64 was asked for, their float32 bytes in it."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct, kw_only=True):
    """The reply of `POST /v1/embeddings`."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class InputTokens(Struct):
    """How many tokens a request's prompt has. `object`: OpenAI's and llama-server's, for both kinds of requests."""

    input_tokens: int
    object: str = "response.input_tokens"


class Timings(Struct):
    """llama-server's timings, of all choices together. 0: not known yet.

    `prompt_n` counts the tokens that were computed, not those from the cache. The time to the answer's first token
    is the prompt's.
    """

    cache_n: int
    prompt_n: int
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
    """A whole reply, or a chunk of a stream. The last chunk has timings; each has, if the request says so."""

    timings: Timings | UnsetType = UNSET


class TopLogprob(Struct):
    """A token and its log probability.

    `bytes` is null where the token adds nothing to the text. A part of a character is U+FFFD in `token`.
    """

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token of the answer, and the most likely tokens at its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct):
    """Log probabilities of the tokens of an answer, or of a chunk."""

    content: list[TokenLogprob]
    refusal: None = None


class FunctionCall(Struct):
    """`arguments` is JSON. In a stream, it is the next piece of it, and the first piece comes with `name`."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCall(Struct):
    """A call in a whole reply."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ToolCallDelta(Struct):
    """A piece of a call in a stream. The first piece of a call has `id` and `type`."""

    index: int
    function: FunctionCall
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ReplyMessage(Struct):
    """The message that answers a conversation. `content` is null where there are only calls or reasoning."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class Choice(Struct):
    """One answer. `tokens`: its token ids, for `return_tokens`."""

    index: int
    message: ReplyMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class ChatCompletion(WithTimings):
    """The whole reply of `POST /v1/chat/completions`."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    service_tier: Tier | UnsetType = UNSET
    object: Literal["chat.completion"] = "chat.completion"


class Delta(Struct):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET


class ChunkChoice(Struct):
    """What a chunk adds to one answer. `tokens`: its new token ids, for `return_tokens`."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: ChoiceLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class ChatCompletionChunk(WithTimings):
    """A chunk of a streamed chat completion.

    `usage` is there only for `stream_options.include_usage`. It is null on every chunk but the last, which has no
    choices.
    """

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    service_tier: Tier | UnsetType = UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class LegacyLogprobs(Struct):
    """Log probabilities by token; a prompt's first has none. A part of a character is written "bytes:\\xf0\\x9f"."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]  # characters


class TextChoice(Struct):
    """One text, or what a chunk adds to it. `tokens`: its token ids, for `return_tokens`."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: LegacyLogprobs | None = None
    tokens: list[int] | UnsetType = UNSET


class Completion(WithTimings):
    """The reply of `POST /v1/completions`: whole, or a chunk, whose `usage` is as in ChatCompletionChunk."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    service_tier: Tier | UnsetType = UNSET
    object: Literal["text_completion"] = "text_completion"


class Model(Struct):
    """A model that is offered. Both lengths are in tokens, and equal. `size`: bytes, of its files, or those that are
    set aside for it while it is loaded. `requests`: that are under way.

    An adapter is a model, too: `parent` is the model that it is of.

    `capabilities` says which parameters work, by the names in docs/parameters.md. The defaults are for what a request
    leaves open: sampling parameters, and the system message of a conversation that brings none; null: as the chat
    template has it.
    """

    id: str
    created: int
    context_length: int | None
    max_model_len: int | None
    engine: str | None
    loaded: bool
    state: State
    size: int
    capabilities: dict[str, bool]
    reason: str | None = None  # why it is not well
    requests: int = 0
    last_used: int | None = None  # Unix time; null: it works, or is not loaded
    pinned: bool = False
    parent: str | None = None
    tool_format: str | None = None
    default_system_message: str | None = None
    default_sampling: dict[str, float] = {}
    proof: dict[str, Any] | None = None  # of a conversion: nitro.convert.comparison.Proof
    owned_by: str = "nitro"
    object: Literal["model"] = "model"


class ModelList(Struct):
    """All models that are offered."""

    data: list[Model]
    object: Literal["list"] = "list"


class LoadedBytes(Struct):
    """How far a load is: bytes of the weights."""

    read: int
    total: int


class Pause(Struct):
    """Before an engine is started again: how many have failed soon after their start, one after the other, and seconds
    that are left."""

    failures: int
    seconds: int


class ModelHealth(Struct, omit_defaults=True):
    """The state of a model. `reason`: why it is not well. `loading`: how far it is, where it loads for some time.
    `pause`: while its engine waits to be started again."""

    id: str
    state: State
    reason: str | None = None
    loading: LoadedBytes | None = None
    pause: Pause | None = None


class Health(Struct, omit_defaults=True):
    """Whether the server is well: its default model, if it has one. `reason`: why it is not. `models`: those that were
    loaded so far, where more than one may be. `loading`: how far the default model is, where it loads for some time.
    `pause`: while its engine waits to be started again. `workers`: how many of its layers lie on which (--rpc).
    "draining": it finishes what it has begun, and ends."""

    status: Literal["ok", "loading", "restarting", "down", "stalled", "failed", "draining"]
    reason: str | None = None
    models: list[ModelHealth] = []
    loading: LoadedBytes | None = None
    pause: Pause | None = None
    workers: dict[str, int] = {}


class ErrorBody(Struct):
    """An error. `param`: which part of the request is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Struct):
    """An error, as a reply or as an event of a stream."""

    error: ErrorBody
