"""What a protocol asks of the service: one generation, checked, in words of no protocol.

A protocol's reader makes a `GenerationRequest` of the bytes that came over HTTP. After that nothing is optional or
unchecked. Reading may take long, so it happens in an intake process (see `intake/`); what travels to it is a
`RawRequest`.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from nitro.engines.shares import Share, Tier
from nitro.engines.types import Constraint, SamplingParams
from nitro.keys.key import NO_HURRY, Rights
from nitro.models.setup import ModelSetup
from nitro.service.asked import Asked
from nitro.service.media.sources import MediaSource
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

if TYPE_CHECKING:
    from nitro.keys.account import Use
    from nitro.service.request_log import RequestLog

KEPT_SECONDS = 1800.0  # OpenAI's shortest lifetime of a prompt's beginning in its cache


class OfferedTools(Struct, frozen=True):
    """`offered`: the tools that the model is shown, in OpenAI's form. `callable`: those that it may call."""

    offered: list[dict[str, Any]]
    callable: list[CallableTool]
    required: bool  # the answer is a call
    parallel: bool | None  # several calls in one answer; None: as the model's own format allows

    @property
    def enforced(self) -> bool:
        """Whether a grammar keeps calls well formed."""
        return self.required or any(called.enforced for called in self.callable)

    @property
    def by_name(self) -> dict[str, Tool]:
        """The tools that may be called, by name."""
        return {called.tool.name: replace(called.tool, enforced=called.enforced) for called in self.callable}


class Conversation(Struct, frozen=True, kw_only=True, tag=True):
    """A prompt that the model's chat template writes."""

    messages: list[
        dict[str, Any]
    ]  # as chat templates want them, but that `content` is a list of parts: see `text_part` and `media_part`
    media: list[MediaSource] = []  # what its parts refer to
    tools: OfferedTools | None = None  # None: none may be called
    places: list[str] = []  # what the protocol calls each message, for errors; none: messages[0] and so on
    variables: dict[str, Any] = {}  # for the chat template
    variables_set_by: dict[str, list[str]] = {}  # by the request's parameter: the variables that it sets
    thinking_budget: int | None = None  # tokens
    continues: bool = False  # the answer goes on with the last message, which is the assistant's
    truncates: bool = False  # where it does not fit, its oldest messages are left out


class Texts(Struct, frozen=True, kw_only=True, tag=True):
    """Prompts that the model continues as they are: texts, or token ids."""

    texts: list[str | list[int]]
    suffix: str = ""  # what follows the answer to each of them; "": nothing in particular
    echo: bool = False  # return the prompts' tokens
    bos: Literal["each", "first", "none"] = "each"  # which of them begin as the model's texts do


class Breakpoint(Struct, frozen=True):
    """Where a beginning of a conversation ends that is to stay in the prefix cache: with a part of a message's content,
    with a message, or with the tools."""

    seconds: float  # since it was last used
    message: int | None = None  # its number; None: the tools
    part: int | None = None  # its number; None: the end of the message


class GenerationRequest(Struct, frozen=True, kw_only=True):
    """One generation, whoever asks for it.

    A protocol calls some things by names of its own: `param_names` maps ours to its, for errors and for the names of
    parameters without effect.
    """

    prompt: Conversation | Texts
    sampling: SamplingParams
    model: str | None = None  # None: whichever is served
    max_tokens: int | None = None  # None: what is left of the context; 0: nothing is generated
    choices: int = 1  # on each prompt
    stops: list[str] = []
    stop_tokens: list[int] = []
    keep_stop: bool = False  # the text ends with what has ended it
    text_bias: dict[str, float] = {}
    constraint: Constraint | None = None
    prediction: str | None = None  # what the answer may well be; it changes the speed only
    use_cache: bool = True
    lora: list[tuple[int, float]] | None = None  # numbers of adapters and their scales; None: it says nothing of them
    prefix_key: str | None = None  # requests that begin alike have the same; its whole prompt stays in the prefix cache
    prefix_seconds: float | None = None  # so long since it was last used; with a key None is KEPT_SECONDS, else: not
    prefix_breakpoints: list[Breakpoint] = []
    stream: bool = False
    keep_alive: float | None = None  # seconds that the model stays loaded once it is idle; None: as it was
    tier: Tier | None = None  # of the share that it belongs to; None: it asks for none
    progress: bool = False  # a stream says with every burst how far it is
    reply_options: bytes = b""  # for the protocol's renderer alone
    only_tokens: bool = False  # it asks about tokens: any model has them, one that generates no text too
    ignored: list[str] = []  # parameters that have no effect, as they may stand in a header
    param_names: dict[str, str] = {}

    def param(self, name: str) -> str:
        """What the protocol calls a field of ours."""
        return self.param_names.get(name, name)


Reader = Callable[[bytes, ModelSetup], GenerationRequest]  # raises ApiError 400 with the parameter at fault
# Reader of a protocol whose server remembers: its last argument is the RawRequest's `history`.
RememberingReader = Callable[[bytes, ModelSetup, bytes], GenerationRequest]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(GenerationRequest).decode


def read_encoded(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of a request that has been read before."""
    return _decode(body)


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came. `reader`: where its Reader is, as "module:function". `body`: gives its pieces, once; raises
    ClientDisconnected or ApiError. `prompt_param`: what it calls its prompt. `asked`: its model, where that is known;
    else it is read by `namer`, a Namer's place, where a server has more than one, or it is not loaded.

    `history`: what the server remembers of the conversation that the request goes on with, in the protocol's own form.
    It travels to the intake process in front of the body. None: the reader is a Reader; else, also where it is empty, a
    RememberingReader. Who needs it has the request named first (`GenerationService.asked`), since the name says what is
    to be remembered."""

    reader: str
    body: Callable[[], Awaitable[list[bytes]]]
    prompt_param: str = "messages"
    asked: Asked | None = None
    namer: str | None = None
    history: bytes | None = None

    @classmethod
    def of(cls, request: GenerationRequest) -> "RawRequest":
        """One that no protocol has to read any more: of a batch, say."""

        async def body() -> list[bytes]:
            return [_encode(request)]

        asked = Asked(request.model, request.stream, tier=request.tier)
        return cls(f"{__name__}:{read_encoded.__name__}", body, request.param("prompt"), asked)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `left` is done once nobody waits for the reply any more. `follow` is told of the request's
    log, by somebody who wants to know how it goes. `route`: what they asked, for people. `tier`: of all that they ask
    for; None: it is for each request to say."""

    request_id: str
    left: Future[None]
    user: str = ""  # whose requests share the engine with others'
    rights: Rights = NO_HURRY  # which models and tiers they may use, and how long a context
    follow: Callable[["RequestLog"], None] | None = None
    route: str = ""
    use: "Use | None" = None  # of their key, which counts what they use
    tier: Tier | None = None

    @property
    def may_keep_models(self) -> bool:
        """Whether they may say how long a model stays loaded: others use it, too."""
        return self.use is None or self.use.key.admin

    def share(self, tier: Tier | None) -> Share:
        """What they share the engine as, where they ask for this tier."""
        return Share(self.user, self.tier or self.rights.tier(tier), self.rights.longest_context)


def text_part(text: str) -> dict[str, Any]:
    """A part of a message's content."""
    return {"type": "text", "text": text}


def media_part(source: MediaSource, media: list[MediaSource]) -> dict[str, Any]:
    """The same of an image or a sound, which becomes the last one of a conversation's."""
    media.append(source)
    return {"type": source.kind, "medium": len(media) - 1}
