"""The bodies of the first Nitro's requests. Fields, their defaults and their meanings: v0.3.22, controllers/llamaCPP.cc
and models/chat_completion_request.h; the last five of LoadRequest came with its successor, cortex.llamacpp."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Struct

from nitro.api.first_nitro import names
from nitro.api.names import Known
from nitro.api.openai.requests import Part, SamplingRequest
from nitro.engines.sampling_params import INT32
from nitro.parameters import Param

ALL_LAYERS = 100  # its default for `ngl`, which no model of its time exceeded


class LoadRequest(Struct, frozen=True, kw_only=True):
    """`POST /inferences/llamacpp/loadmodel`. A prompt that is None was not sent."""

    known: ClassVar[Mapping[str, Known]] = names.LOAD

    llama_model_path: str | None = None
    mmproj: str | None = None
    ngl: Annotated[int | None, Param("Layers on the GPU. 100 or more, and by default: all.", ge=0, unlimited=True)] = (
        None
    )
    ctx_len: Annotated[int | None, Param("Tokens of a request, prompt and answer. 0: as trained.", ge=0)] = None
    n_parallel: Annotated[int | None, Param("Requests that run at the same time.", ge=1, le=128)] = None
    cpu_threads: Annotated[int | None, Param("CPU threads.", ge=1, le=INT32)] = None
    mlock: bool | None = None
    model_type: str | None = None
    user_prompt: str | None = None
    ai_prompt: str | None = None
    system_prompt: str | None = None
    pre_prompt: str | None = None
    repeat_last_n: Annotated[int | None, Param("Tokens that penalties look at. -1: all.", ge=-1, le=INT32)] = None
    grammar_file: str | None = None
    model_alias: str | None = None
    flash_attn: bool | None = None
    cache_type: Literal["f16", "q8_0", "q4_0"] | None = None
    use_mmap: bool | None = None
    engine: str | None = None


class Message(Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str | Part | list[str | Part] | None = None


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """`POST /inferences/llamacpp/embedding`."""

    known: ClassVar[Mapping[str, Known]] = names.EMBEDDING

    input: Any = None


class ChatRequest(SamplingRequest, frozen=True, kw_only=True):
    """`POST /inferences/llamacpp/chat_completion`. Sampling parameters that the first Nitro did not know work, too."""

    known: ClassVar[Mapping[str, Known]] = names.CHAT

    messages: list[Message]
    stream: bool | None = None
    max_tokens: Annotated[int | None, Param("Tokens that are generated. -1: what fits.", ge=1, unlimited=True)] = None
    stop: str | list[str] | None = None
