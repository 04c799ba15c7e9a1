"""The messages between server and engine process: the engine's wire.

A verb is a message to the engine and the messages that answer it:

    Import      → nothing                               before Load, or not at all
    Load        → Loading after Loading, then Ready | LoadFailed; once
    Generate    → Accepted, then Step after Step | Rejected | TooLong
    Embed       → Accepted, then Embedded after Embedded, maybe EmbeddingFailed | Rejected | TooLong
    Tokenize    → Tokenized | Rejected | TooLong
    Detokenize  → Detokenized | Rejected
    LoadAdapter → AdapterLoaded | Rejected
    DropAdapter → AdapterDropped                        once nothing applies it any more
    Abort       → nothing
    Watch       → Slots after Slots, until the next Watch ends it

How to add one: a message below, in `Request`; its answers in `FromEngine`; a handler in `worker/handlers.py`; and who
receives the answers in `client/engine.py`.
"""

import msgspec

from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.media import MediaKind
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import EngineSpec, LoadProgress, ModelInfo, Output, Overflow, SlotState, StepRecord
from nitro.system.frames import WireMessage

# To the engine


class Import(WireMessage, frozen=True):
    """Import this engine's library: a Load will follow, if at all."""

    engine: str  # as EngineSpec has it


class Load(WireMessage, frozen=True):
    """Load a model."""

    spec: EngineSpec


class Generate(WireMessage, frozen=True):
    """Begin these sequences: as many on each prompt of the work, in its order.

    Answered for all by Accepted, Rejected or TooLong under the first id.
    """

    ids: list[int]
    work: bytes  # an encoded Work: what is wrong in it is this request's fault, and not the frame's
    share: Share = NOBODYS


class Embed(WireMessage, frozen=True):
    """Embed the inputs of this work."""

    id: int
    work: bytes  # an encoded EmbeddingWork
    overflow: Overflow = "error"  # for work that says none
    user: str = ""  # whose it is, as in Share


class Tokenize(WireMessage, frozen=True):
    """Which tokens are the prompts of this work? Nothing is computed. `ids`: which, not only how many; `pieces`: and
    what each is. `parse_special`: control tokens that are written in a text are those tokens."""

    id: int
    work: bytes
    ids: bool = False
    pieces: bool = False
    parse_special: bool = True


class Detokenize(WireMessage, frozen=True):
    """What do the prompts of this work, which are token ids, say?"""

    id: int
    work: bytes


class LoadAdapter(WireMessage, frozen=True):
    """Have this adapter, so that work may apply it."""

    id: int
    source: AdapterSource


class DropAdapter(WireMessage, frozen=True):
    """No work will apply this adapter any more: free it once the last sequence has ended that does."""

    id: int
    adapter: int


class Abort(WireMessage, frozen=True):
    """End these sequences or embeddings, and forget these questions; nothing more is said. Unknown ids are ignored."""

    ids: list[int]


class Watch(WireMessage, frozen=True):
    """Somebody watches what the slots hold, or nobody any more."""

    active: bool


# From the engine


class Loading(WireMessage, frozen=True):
    """So much of the weights is read. It comes a few times a second, where a load takes as long."""

    progress: LoadProgress


class Ready(WireMessage, frozen=True):
    """The model is loaded."""

    info: ModelInfo


class LoadFailed(WireMessage, frozen=True):
    """The model cannot be loaded; the process ends."""

    message: str  # a sentence


class Accepted(WireMessage, frozen=True):
    """The sequences of this request are queued."""

    id: int
    prompt_tokens: int  # of all prompts together
    echoes: list[list[bytes]] = []  # the prompts' tokens as the vocabulary writes them, if requested
    unenforced: list[str] = []  # what of the constraint's schemas is let through: "tools[0].function.parameters: …"
    media_tokens: dict[MediaKind, int] = {}  # of `prompt_tokens`, with the marks around each medium


class Tokenized(WireMessage, frozen=True):
    """The tokens of each prompt. `pieces`: how the vocabulary writes each, control tokens too."""

    id: int
    counts: list[int]
    ids: list[list[int]] = []
    pieces: list[list[bytes]] = []


class Detokenized(WireMessage, frozen=True):
    """The text of each prompt, control tokens too."""

    id: int
    texts: list[bytes]


class AdapterLoaded(WireMessage, frozen=True):
    """The adapter is there."""

    id: int
    info: AdapterInfo


class AdapterDropped(WireMessage, frozen=True):
    """The adapter is gone, or was not there."""

    id: int


class Rejected(WireMessage, frozen=True):
    """This request cannot run; `param` names the parameter at fault, None: the prompt."""

    id: int
    message: str
    param: str | None = None
    too_large: bool = False  # it is no fault of a parameter: there is no memory for it


class TooLong(WireMessage, frozen=True):
    """This request cannot run: the prompt leaves no room in the context for an answer."""

    id: int
    prompt_tokens: int
    context: int
    partly: bool = False  # it has more tokens than were counted
    param: str | None = None  # what the request calls it; None: the prompt


class Step(WireMessage, frozen=True):
    """One step is done: what it did, and the new tokens of all sequences."""

    record: StepRecord
    outputs: list[Output]


class Slots(WireMessage, frozen=True):
    """What the slots hold that hold anything."""

    slots: list[SlotState]


class Embedded(WireMessage, frozen=True):
    """Vectors of some of a request's inputs: float32, little endian, of length 1."""

    id: int
    places: list[int]  # of the inputs in the request; each comes once
    vectors: list[bytes]


class EmbeddingFailed(WireMessage, frozen=True):
    """A step failed that computed inputs of this request, which ends. `too_large`: there is no memory for them."""

    id: int
    message: str
    too_large: bool = False


Question = Tokenize | Detokenize | LoadAdapter | DropAdapter  # answered by one message
Answer = Tokenized | Detokenized | AdapterLoaded | AdapterDropped
Request = Generate | Embed | Question | Abort | Watch
ToEngine = Import | Load | Request
Generating = Accepted | Rejected | TooLong | Step | Embedded | EmbeddingFailed
FromEngine = Loading | Ready | LoadFailed | Generating | Answer | Slots

decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode
