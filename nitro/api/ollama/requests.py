"""The bodies of Ollama's requests, as msgspec structs. Source: Ollama 0.32, api/types.go and docs/api.md.

Every optional field takes null. Types, bounds and descriptions stand here; those of sampling in
engines/sampling_params.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from msgspec import Struct

from nitro.api.names import Known
from nitro.api.ollama import names
from nitro.api.openai.requests import MAX_LOGPROBS, MAX_STOPS
from nitro.engines.sampling_params import SamplingOptions
from nitro.parameters import Param

ROLES = ("system", "user", "assistant", "tool")
LEVELS = ("low", "medium", "high", "max")  # of `think`

_MODEL = Param("The name of a model. `NAME:latest` and `hf.co/ORG/NAME` mean NAME and ORG/NAME.")
_KEEP_ALIVE = Param(
    "How long the model stays loaded once it is idle: seconds, or as in 5m; 0: not at all; -1: for ever."
)
_structured = partial(Param, capability="structured_output")
_reasoning = partial(Param, capability="reasoning")


class OllamaOptions(SamplingOptions, frozen=True, kw_only=True):
    """`options`: how tokens are drawn, where the answer ends, and how a model is loaded."""

    known: ClassVar[Mapping[str, Known]] = names.OPTIONS

    seed: Annotated[int | None, Param("Fixes the draws. -1: random.")] = None
    num_predict: Annotated[
        int | None, Param("At most this many tokens are generated. -1, -2, and by default: what fits.", ge=-2)
    ] = None
    num_ctx: Annotated[
        int | None,
        Param("Tokens of the context. At most what the model is served with (--ctx): more is a 400.", ge=0),
    ] = None
    stop: Annotated[str | list[str] | None, Param(f"A string, or up to {MAX_STOPS}, at which the content ends.")] = None


class OllamaMessage(Struct):
    """One message of a conversation."""

    known: ClassVar[Mapping[str, Known]] = names.MESSAGE

    role: Annotated[str, Param("Who the message is from.", choices=ROLES)]
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    images: list[str] | None = None


class CommonRequest(Struct, frozen=True, kw_only=True):
    """What chat and generate have in common."""

    model: Annotated[str | None, _MODEL] = None
    stream: Annotated[bool | None, Param("false: the answer comes whole. By default it is streamed, as NDJSON.")] = None
    format: Annotated[
        str | dict[str, Any] | None,
        _structured('"json": the answer is a JSON object. A JSON schema: it matches that, which is enforced.'),
    ] = None
    options: Annotated[OllamaOptions | None, Param("How the answer is drawn, and where it ends: see below.")] = None
    think: Annotated[
        bool | str | None,
        _reasoning(f"Whether the model reasons before it answers, or how much: {', '.join(LEVELS)}."),
    ] = None
    keep_alive: Annotated[float | str | None, _KEEP_ALIVE] = None
    logprobs: Annotated[
        bool | None,
        Param("Add each token's log probability, as the model alone gives it: no option changes it."),
    ] = None
    top_logprobs: Annotated[
        int | None,
        Param("Add this many of the most likely tokens at each place. Needs `logprobs`.", ge=0, le=MAX_LOGPROBS),
    ] = None


class OllamaChatRequest(CommonRequest, frozen=True, kw_only=True):
    """`POST /api/chat`."""

    known: ClassVar[Mapping[str, Known]] = names.CHAT

    messages: Annotated[
        list[OllamaMessage] | None,
        Param(
            "The conversation. If the last message is the assistant's, it is continued. None: the model is loaded or, "
            "with `keep_alive` 0, unloaded.",
            capability="chat",
        ),
    ] = None
    tools: Annotated[list[dict[str, Any]] | None, Param("Functions that the model may call.", capability="tools")] = (
        None
    )


class OllamaGenerateRequest(CommonRequest, frozen=True, kw_only=True):
    """`POST /api/generate`."""

    known: ClassVar[Mapping[str, Known]] = names.GENERATE

    prompt: Annotated[
        str | None,
        Param(
            "What the user says; where the model has no chat template, or with `raw`: the text that it continues. "
            "None: as without `messages`."
        ),
    ] = None
    images: Annotated[
        list[str] | None, Param("Images in base64, which stand before the prompt.", capability="vision")
    ] = None
    suffix: Annotated[
        str | None, Param("The text that follows the answer, if the vocabulary has tokens to fill in the middle.")
    ] = None
    system: Annotated[str | None, Param("A system message, in place of the model's own.", capability="chat")] = None
    raw: Annotated[bool | None, Param("Continue the prompt as it is, without the chat template.")] = None


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """`POST /api/embed`."""

    known: ClassVar[Mapping[str, Known]] = names.EMBED

    model: Annotated[str | None, _MODEL] = None
    input: Annotated[
        str | list[str] | None,
        Param("A text, or a list of texts. None, or an empty list: the model is loaded.", capability="embeddings"),
    ] = None
    dimensions: Annotated[
        int | None,
        Param("Numbers in each vector, which is cut and made of length 1 again. Of models trained for it.", ge=0),
    ] = None
    truncate: Annotated[
        bool | None,
        Param(
            "true: only the beginning of a text that is too long counts. false: it is a 400. Default: as the server "
            "has it, by --embedding-overflow."
        ),
    ] = None
    options: Annotated[OllamaOptions | None, Param("`num_ctx` is checked; the others change no vector.")] = None
    keep_alive: Annotated[float | str | None, _KEEP_ALIVE] = None


class OllamaEmbeddingsRequest(Struct, frozen=True, kw_only=True):
    """`POST /api/embeddings`, the older form of `/api/embed`."""

    known: ClassVar[Mapping[str, Known]] = names.EMBED

    model: Annotated[str | None, _MODEL] = None
    prompt: Annotated[
        str | None, Param("A text. None, or an empty one: the model is loaded.", capability="embeddings")
    ] = None
    options: Annotated[OllamaOptions | None, Param("`num_ctx` is checked; the others change no vector.")] = None
    keep_alive: Annotated[float | str | None, _KEEP_ALIVE] = None


class ModelRequest(Struct, frozen=True, kw_only=True):
    """A body that names a model: of `DELETE /api/delete`."""

    known: ClassVar[Mapping[str, Known]] = names.DELETE

    model: Annotated[str, _MODEL]


class ShowRequest(ModelRequest, frozen=True, kw_only=True):
    """`POST /api/show`."""

    known: ClassVar[Mapping[str, Known]] = names.SHOW

    verbose: Annotated[bool | None, Param("Also what the file lists at length, and its tensors.")] = None


class PullRequest(Struct, frozen=True, kw_only=True):
    """`POST /api/pull`."""

    known: ClassVar[Mapping[str, Known]] = names.PULL

    model: Annotated[str, Param("ORG/NAME or ORG/NAME:TYPE of the Hugging Face hub, with or without `hf.co/`.")]
    stream: Annotated[bool | None, Param("false: one reply, at the end. By default lines tell of the progress.")] = None
