"""Ollama's replies, as msgspec structs. Source: Ollama 0.32, api/types.go.

Durations are nanoseconds, sizes bytes, times RFC 3339.
"""

from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

DoneReason = Literal["stop", "length", "load", "unload"]


class OllamaTokenLogprob(Struct, omit_defaults=True):
    """A token, how likely the model finds it by itself, and its bytes."""

    token: str
    logprob: float
    bytes: list[int] | UnsetType = UNSET


class OllamaLogprob(OllamaTokenLogprob, omit_defaults=True):
    """The same of a token of the answer, with the likeliest at its place."""

    top_logprobs: list[OllamaTokenLogprob] | UnsetType = UNSET


class OllamaCalledFunction(Struct):
    """`arguments`: an object."""

    index: int
    name: str
    arguments: Raw


class OllamaToolCall(Struct):
    """A call of a tool."""

    id: str
    function: OllamaCalledFunction


class OllamaReplyMessage(Struct, omit_defaults=True):
    """What the model says; in a stream a part of it."""

    role: Literal["assistant"]
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[OllamaToolCall] | UnsetType = UNSET


class Reply(Struct, omit_defaults=True, kw_only=True):
    """What the replies of chat and generate have in common. The last has a reason and the figures."""

    model: str
    created_at: datetime
    done: bool
    done_reason: DoneReason | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[OllamaLogprob] | UnsetType = UNSET


class ChatReply(Reply, omit_defaults=True, kw_only=True):
    """Of `POST /api/chat`: whole, or a line of a stream."""

    message: OllamaReplyMessage


class GenerateReply(Reply, omit_defaults=True, kw_only=True):
    """Of `POST /api/generate`: whole, or a line of a stream."""

    response: str
    thinking: str | UnsetType = UNSET


class EmbedFigures(Struct, kw_only=True):
    """How long vectors took, and how many tokens there were."""

    total_duration: int
    load_duration: int
    prompt_eval_count: int


class EmbedReply(EmbedFigures, kw_only=True):
    """Of `POST /api/embed`."""

    model: str
    embeddings: list[list[float]]


class EmbeddingsReply(Struct):
    """Of `POST /api/embeddings`."""

    embedding: list[float]


class Details(Struct, kw_only=True, omit_defaults=True):
    """What a model's files say of it."""

    parent_model: str
    format: str  # "gguf" or "safetensors"
    family: str
    families: list[str]
    parameter_size: str  # "134.52M"; empty: not known
    quantization_level: str
    context_length: int | UnsetType = UNSET  # trained
    embedding_length: int | UnsetType = UNSET


class ListedModel(Struct, kw_only=True):
    """A model of `GET /api/tags`."""

    name: str
    model: str
    modified_at: datetime
    size: int
    digest: str
    details: Details


class Tags(Struct):
    """Of `GET /api/tags`."""

    models: list[ListedModel]


class LoadedModel(Struct, kw_only=True):
    """A model of `GET /api/ps`."""

    name: str
    model: str
    size: int  # bytes that are set aside for it
    digest: str
    details: Details
    expires_at: datetime
    size_vram: int
    context_length: int  # that a request can use


class Processes(Struct):
    """Of `GET /api/ps`."""

    models: list[LoadedModel]


class Tensor(Struct):
    """Of `POST /api/show` with `verbose`."""

    name: str
    type: str
    shape: list[int]


class Shown(Struct, kw_only=True, omit_defaults=True):
    """Of `POST /api/show`."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: datetime
    license: str | UnsetType = UNSET
    system: str | UnsetType = UNSET
    tensors: list[Tensor] | UnsetType = UNSET


class Version(Struct):
    """Of `GET /api/version`: which Ollama's API this is, and what serves it."""

    version: str
    nitro: str


class Progress(Struct, omit_defaults=True):
    """Of `POST /api/pull`."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET
