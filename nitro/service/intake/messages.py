"""What passes between the server and a process that reads requests: plain data. Framed as an engine's messages are.

The server sends one Import, then Use for each model, and a Read for each request. The answer is Prepared, Rendered or
one of the refusals; Compiling may come before it. Or it is Wants: the Read is sent again, with what it wants. A Check
is answered by Valid or a refusal, a Name by Named or a refusal.
"""

import signal

import msgspec
from msgspec import Struct

from nitro.engines.adapters import AdapterSet
from nitro.engines.shares import Tier
from nitro.engines.work import EncodedEmbeddingWork, EncodedWork, MediaPrompt, Prompt, decode_work
from nitro.errors import ApiError, NitroError, PromptRejected, PromptTooLong, TemplateError
from nitro.models.setup import ModelSetup
from nitro.service.asked import Asked
from nitro.service.media.limits import DEFAULT_LIMITS, MediaLimits
from nitro.system.frames import WireMessage
from nitro.text.tools import Tool

# The process dies of these where reading, or a template, takes too long.
READ_TIMEOUT = signal.SIGPROF
RENDER_TIMEOUT = signal.SIGVTALRM
MAX_SETUPS = 8  # models that a process knows at a time
MEDIUM = "<__media__>"  # stands for an image or a sound where a prompt is shown, as with llama-server
MAX_FAULT = 2000  # characters of a fault's text: a client's own words may be megabytes


class ChannelOptions(Struct, frozen=True, kw_only=True):
    """How the model's text is taken apart into reasoning, content and calls."""

    tools: bytes | None  # by name, in JSON; opened once the engine has accepted; None: none may be called
    parallel_calls: bool  # several in one answer
    live: bool  # arguments of calls are passed on as they come: a grammar makes them certain
    calls_before: int  # in the conversation
    opened: bool  # the prompt has begun the reasoning
    begun: bool  # the answer goes on with the last message


class OutputOptions(Struct, frozen=True, kw_only=True):
    """How what the engine generates is read. `channels` None: all of it is text."""

    stops: list[str]
    predicted: bool  # the client gave a prediction; usage says how much of it came true
    progress: bool  # a stream says with every burst how far it is
    channels: ChannelOptions | None = None
    stop_tokens: list[int] = []
    keep_stop: bool = False  # the text ends with what has ended it
    hide_answer: bool = False  # the generated text is not returned
    bos_added: list[bool] = []  # of each prompt: whether a BOS was put before it


# To the process


class Import(WireMessage, frozen=True):
    """Import these readers now, and what else a request needs, not with the first one. `memory`: MiB of address space
    that the process may take."""

    readers: list[str]
    memory: int


class Use(WireMessage, frozen=True):
    """A model that requests will be for, and its place, below MAX_SETUPS: it takes that of the one that was there.
    `limits`: of media in its requests."""

    place: int
    setup: ModelSetup
    limits: MediaLimits = DEFAULT_LIMITS


class Read(WireMessage, frozen=True):
    """A request; its body is the next payload. `reader`: who reads it, as "module:function". `seconds`: its limit of
    processor time. `strict`: refuse parameters that would be ignored. `place`: that of its model. `found`: its name for
    the model was found to mean this one. `history`: so many bytes at the payload's start are the request's history,
    which goes to the reader beside the body; None: it has none, and its reader takes none. `share`: so much of a
    conversation's text may stay: see shortened.py.
    `only_prompt`: the answer is Rendered, not Prepared. `fetched`: files that the request has by their addresses, and
    their sizes in bytes; they stand before the body, behind the history."""

    reader: str
    seconds: float
    strict: bool = False
    place: int = 0
    found: bool = False
    history: int | None = None
    share: float = 1.0
    only_prompt: bool = False
    fetched: list[tuple[str, int]] = []


class Name(WireMessage, frozen=True):
    """Which model does a request want? Its body is the next payload. `namer`: who reads it, as "module:function"."""

    namer: str
    seconds: float


class Check(WireMessage, frozen=True):
    """Is this a chat template? Answered by Valid or TemplateRefusal."""

    template: str
    seconds: float


# From it


class Compiling(WireMessage, frozen=True):
    """The chat template is being compiled, or `done`. That happens once per process and model."""

    done: bool


class Wants(WireMessage, frozen=True):
    """The files behind these addresses are to be fetched; then the request is to be sent again, with them. By address:
    what the request calls it."""

    urls: dict[str, str]


class Named(WireMessage, frozen=True):
    """What a request wants."""

    asked: Asked


class Valid(WireMessage, frozen=True):
    """It is a chat template."""


class Prepared(WireMessage, frozen=True):
    """A request that the engine can work on. `ignored`: parameters without effect, as they may stand in a header.
    `unknown_model`: the name it has for a model, where that is not ours. `keep_alive`, `tier`: see GenerationRequest;
    `truncates`: see Conversation. `adapters`: those that are applied; `adapter`: the one that answers as a model.
    `prefix`: see prefix_hash."""

    work: EncodedWork
    output: OutputOptions
    streamed: bool
    reply_options: bytes  # for the protocol's renderer
    ignored: list[str]
    unknown_model: str | None
    keep_alive: float | None = None
    truncates: bool = False
    adapters: AdapterSet = ()
    adapter: str | None = None
    tier: Tier | None = None
    prefix: str = ""


class PreparedEmbedding(WireMessage, frozen=True):
    """The same of a request for embeddings. Fields: see Prepared."""

    work: EncodedEmbeddingWork
    reply_options: bytes
    ignored: list[str]
    unknown_model: str | None
    keep_alive: float | None = None


class Rendered(WireMessage, frozen=True):
    """The first prompt of a request, in JSON. The others: as in Prepared."""

    prompt: bytes
    ignored: list[str]
    unknown_model: str | None
    keep_alive: float | None = None

    @classmethod
    def of(cls, prepared: Prepared) -> "Rendered":
        """The prompt of a request that is ready for the engine."""
        work = decode_work(prepared.work.raw)
        prompt = msgspec.json.encode(_told(work.prompts[0]))
        return cls(prompt, prepared.ignored, prepared.unknown_model, prepared.keep_alive)


def _told(prompt: Prompt) -> str | list[int]:
    """A prompt as it is shown."""
    if not isinstance(prompt, MediaPrompt):
        return prompt
    return "".join(piece if isinstance(piece, str) else MEDIUM for piece in prompt.pieces)


class ApiRefusal(WireMessage, frozen=True):
    """An ApiError."""

    status: int
    message: str
    param: str | None
    code: str | None
    kind: str  # the API's `type`


class TemplateRefusal(WireMessage, frozen=True):
    """A TemplateError."""

    message: str
    param: str | None = None


class LengthRefusal(WireMessage, frozen=True):
    """A PromptTooLong."""

    prompt_tokens: int
    context: int
    param: str | None = None


class PromptRefusal(WireMessage, frozen=True):
    """A PromptRejected."""

    message: str
    param: str | None


class IntakeBug(WireMessage, frozen=True):
    """A bug in Nitro, with its traceback."""

    trace: str


ToIntake = Import | Use | Read | Name | Check
Refusal = ApiRefusal | TemplateRefusal | LengthRefusal | PromptRefusal | IntakeBug
FromIntake = Compiling | Wants | Valid | Named | Prepared | PreparedEmbedding | Rendered | Refusal

decode_to_intake = msgspec.msgpack.Decoder(ToIntake).decode
decode_from_intake = msgspec.msgpack.Decoder(FromIntake).decode
encode_tools = msgspec.json.Encoder().encode
decode_tools = msgspec.json.Decoder(dict[str, Tool]).decode


def refusal(error: Exception, trace: str) -> Refusal:
    """An exception as a message."""
    message, param = _cut(str(error)), _cut(getattr(error, "param", None))
    match error:
        case ApiError():
            return ApiRefusal(error.status, message or "", param, error.code, error.type)
        case TemplateError():
            return TemplateRefusal(message or "", param)
        case PromptTooLong():
            return LengthRefusal(error.prompt_tokens, error.context, param)
        case PromptRejected():
            return PromptRefusal(message or "", param)
        case MemoryError():
            return ApiRefusal(400, "The request takes too much memory to be read.", None, None, "invalid_request_error")
    return IntakeBug(trace)


def raised(refusal: Refusal) -> NitroError:
    """The exception that the message stands for."""
    match refusal:
        case ApiRefusal(status, message, param, code, kind):
            return ApiError(status, message, param=param, code=code, type=kind)
        case TemplateRefusal(message, param):
            return TemplateError(message, param)
        case LengthRefusal(prompt_tokens, context, param):
            return PromptTooLong(prompt_tokens, context, param=param)
        case PromptRefusal(message, param):
            return PromptRejected(message, param)
        case IntakeBug(trace):
            return ApiError(500, f"The request could not be read: {trace.splitlines()[-1]}", type="server_error")


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_FAULT else f"{text[:MAX_FAULT]}…"
