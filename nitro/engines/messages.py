"""The messages between server and engine process."""

import msgspec

from nitro.engines.types import EngineSpec, ModelInfo, Output, StepRecord
from nitro.system.frames import Message

# To the engine


class Load(Message, frozen=True):
    """The first frame, once."""

    spec: EngineSpec


class Generate(Message, frozen=True):
    """Begin these sequences: as many on each prompt of the work, in its order.

    Answered for all by Accepted, Rejected or TooLong under the first id.
    """

    ids: list[int]
    work: bytes  # a Work, closed: what is wrong in it is this request's fault, and not the frame's


class Abort(Message, frozen=True):
    """End these sequences without another word about them. Unknown ids are ignored."""

    ids: list[int]


# From the engine


class Ready(Message, frozen=True):
    info: ModelInfo


class LoadFailed(Message, frozen=True):
    message: str


class Accepted(Message, frozen=True):
    id: int
    prompt_tokens: int  # of all prompts together
    echoes: list[list[bytes]] = []  # the prompts' tokens as the vocabulary writes them, if asked for
    unenforced: list[str] = []  # what of the constraint's schemas is let through: "tools[0].function.parameters: …"


class Rejected(Message, frozen=True):
    """This generation cannot run; `param` names what is wrong, None: the prompt."""

    id: int
    message: str
    param: str | None = None


class TooLong(Message, frozen=True):
    """This generation cannot run: the prompt leaves no room in the context for an answer. `partly`: it has more tokens
    than were counted."""

    id: int
    prompt_tokens: int
    context: int
    partly: bool = False


class Step(Message, frozen=True):
    """One step is done: what it did, and the tokens of all sequences."""

    record: StepRecord
    outputs: list[Output]


ToEngine = Load | Generate | Abort
FromEngine = Ready | LoadFailed | Accepted | Rejected | TooLong | Step

decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode
