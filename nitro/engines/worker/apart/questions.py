"""What the engine process asks of a process apart, and what it answers: frames on a socket pair, one after the other.

Begin   → Begun                                     once
Approve → Approved | NotEnforceable | NoMemory
Encode  → Encoded | NoMemory
"""

import msgspec

from nitro.engines.constraints.approved import ApprovedConstraint
from nitro.engines.runner import TokenizerRecipe
from nitro.engines.types import Constraint, ModelInfo
from nitro.system.frames import WireMessage


class Limits(msgspec.Struct, frozen=True):
    """Of one question."""

    name: str  # the flags that set them begin with it
    seconds: float  # of processor time
    memory: int  # MiB, beside what the process takes by itself


class Begin(WireMessage, frozen=True):
    """Be for this model."""

    recipe: TokenizerRecipe
    info: ModelInfo
    compiles: bool = False  # constraints will come: be ready for them, too


class Approve(WireMessage, frozen=True):
    """Can this constraint be enforced, and how?"""

    constraint: Constraint
    limits: Limits


class Encode(WireMessage, frozen=True):
    """Which tokens are this text, in UTF-8? `plain`: see Tokenizer.encode_plain."""

    text: bytes
    plain: bool
    limits: Limits


class Begun(WireMessage, frozen=True):
    """The tokenizer is there."""


class Approved(WireMessage, frozen=True):
    """It can."""

    approved: ApprovedConstraint


class NotEnforceable(WireMessage, frozen=True):
    """It cannot. `param`: the schema at fault, where it is known."""

    problem: str  # a sentence
    param: str | None


class Encoded(WireMessage, frozen=True):
    """The ids: 32-bit integers in this machine's order."""

    ids: bytes


class NoMemory(WireMessage, frozen=True):
    """The question takes more memory than it may."""


Question = Approve | Encode
Answer = Approved | NotEnforceable | Encoded | NoMemory

decode_question = msgspec.msgpack.Decoder(Begin | Question).decode
decode_answer = msgspec.msgpack.Decoder(Begun | Answer).decode
