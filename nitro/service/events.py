"""What happens in a generation, in the order in which it happens. A protocol's renderer makes bytes of it.

    (Progress? (PromptLogprobs | TextDelta | ReasoningDelta | CallDelta | Finished)*)*  Done
                                                                                      or Failed, at any time

A burst is what came together. What is known before the first one is `Started`.

Every choice ends with one Finished. Deltas of one choice come in order; those of several are mixed. Token ids and
logprobs come with the next delta of their choice, even if its text is empty.
"""

from typing import Literal

from msgspec import Struct

from nitro.engines.media import MediaKind
from nitro.engines.shares import Tier
from nitro.engines.types import Logprobs
from nitro.errors import ApiError

FinishReason = Literal["stop", "length", "tool_calls"]


class PlacedToken(Struct, frozen=True, gc=False):
    """A token with its logprobs, and its place in the text of its choice: the characters [begin, end)."""

    begin: int
    end: int
    logprobs: Logprobs


class TokenUsage(Struct, frozen=True):
    """Tokens of all choices together. Those of a prediction are None where none was given."""

    prompt_tokens: int
    cached_tokens: int  # of the prompt
    completion_tokens: int
    reasoning_tokens: int = 0
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    media_tokens: dict[MediaKind, int] = {}  # of the prompt: those of images and of sounds
    cache_write_tokens: int = 0  # of the prompt: computed, and kept in the prefix cache because the request says so


class GenerationTimings(Struct, frozen=True):
    """How fast it went, as far as it has come. Seconds are 0 where they are not known yet."""

    cached_tokens: int
    computed_prompt_tokens: int
    prompt_seconds: float  # until the first tokens, without the queue
    completion_tokens: int
    completion_seconds: float  # from the first tokens to the last
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of the drafted ones


class Started(Struct, frozen=True):
    """The engine has accepted the request."""

    model: str
    fingerprint: str  # changes when a seed may no longer give the same text
    created: int  # seconds since 1970
    choices: int
    prompt_tokens: int  # of all prompts together
    prompts: list[list[bytes]] = []  # the tokens of each, as the vocabulary writes them, if asked for
    tier: Tier | None = None  # that it is served at, if asked for one


class PromptLogprobs(Struct, frozen=True):
    """Logprobs of a prompt's next tokens, from its second on, if asked for."""

    index: int
    logprobs: list[Logprobs]


class TextDelta(Struct, frozen=True, gc=False):
    """More of an answer's text. `ids`: of the tokens that came, whether their text did or not."""

    index: int
    text: str
    tokens: list[PlacedToken] = []  # if their logprobs were asked for
    ids: list[int] = []


class ReasoningDelta(Struct, frozen=True, gc=False):
    """More of what the model thinks before it answers."""

    index: int
    text: str
    tokens: list[PlacedToken] = []
    ids: list[int] = []


class CallDelta(Struct, frozen=True, gc=False):
    """More of a tool call's arguments, in JSON. `id` and `name` are with the first delta of each call."""

    index: int
    call: int  # its number in this answer
    arguments: str
    id: str | None = None
    name: str | None = None
    tokens: list[PlacedToken] = []
    ids: list[int] = []


class Finished(Struct, frozen=True, gc=False):
    """A choice has ended. `stop`: the stop string that ended its text."""

    index: int
    reason: FinishReason
    stop: str | None = None


class Progress(Struct, frozen=True):
    """How far it is, if asked for: the first of a burst."""

    usage: TokenUsage
    timings: GenerationTimings


class Done(Struct, frozen=True):
    """All choices have ended."""

    usage: TokenUsage
    timings: GenerationTimings


class Failed(Struct, frozen=True):
    """It ends here: a fault after the reply has begun."""

    error: ApiError


Delta = TextDelta | ReasoningDelta | CallDelta
Event = PromptLogprobs | Delta | Finished | Progress | Done | Failed
