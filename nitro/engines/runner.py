"""The contract between the scheduler and whatever computes: token ids in, token ids out.

A runner knows nothing of requests, queues, text or HTTP: those are handled once, above it, for every runner.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from nitro.engines.adapters import AdapterInfo, AdapterSet, AdapterSource
from nitro.engines.media_encoder import NO_RUNS, EncodedRuns, MediaEncoder
from nitro.engines.types import Logprobs, ModelInfo, SamplingParams
from nitro.errors import Sentence

UNUSABLE_LOGITS = "The model finds no token possible: its weights are damaged, or a computation overflowed."


class OutOfKV(Exception):
    """The KV pool has no room for this batch. Nothing was computed."""


class OutOfMemory(Exception):
    """The device has no memory to compute this batch. The message says more. The slots in `lost`, some of the batch's,
    are empty now, all others as before the step. None: the runner must be `reset`."""

    def __init__(self, message: str, lost: list[int] | None):
        super().__init__(message)
        self.lost = lost


class StepFailed(Exception):
    """The step failed for `slots`, some of the batch's, which are now empty. All others are as before the step."""

    def __init__(self, slots: list[int], message: str):
        super().__init__(message)
        self.slots = slots


class LoadError(Sentence):
    """The model cannot be loaded. The message is one sentence for the person who starts the server."""


class CannotOpen(LoadError):
    """This runner cannot open such a file; another one may. Raised before any weight is read."""


class Matcher(Protocol):
    """What a sequence may say next, by its constraint. The runner asks it before each draw, then reports the token."""

    @property
    def param(self) -> str:
        """What the request calls the constraint or, once it has failed, the part of it that failed."""

    @property
    def problem(self) -> str:
        """Why no token is left that may come next."""

    @property
    def schema_violated(self) -> bool:
        """Whether it failed because a complete value breaks its schema, though each token was allowed."""

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""

    def mask(self) -> bytes | None:
        """One bit per token, the lowest first: those that may come next. None: any may. All zero once it has failed."""

    def accept(self, token: int) -> bool:
        """The token was drawn. Returns False if the matcher has failed by it."""

    @property
    def active(self) -> "Matcher | None":
        """The matcher to use from now on: itself, one that it wraps, or None once anything may come."""


class Chunk(Struct):
    """Tokens [start, stop) of one sequence, to be computed in `slot`, which holds [0, start).

    `tokens` are prompt and answer so far: the scheduler's own list, not to be changed. An id below zero stands for a
    row of `media`. No chunk ends inside a run that is atomic, and the last token of a prompt is text.
    """

    sequence_id: int
    slot: int
    tokens: list[int]
    start: int
    stop: int
    sampling: SamplingParams
    prompt_length: int = 0
    matcher: Matcher | None = None
    draft: list[int] = []  # tokens that may follow, to be checked; only if it wants a token
    media: EncodedRuns = NO_RUNS  # all that the sequence has
    adapters: AdapterSet = ()  # that are applied, as they were for all that the slot holds

    @property
    def size(self) -> int:
        """Tokens to be computed."""
        return self.stop - self.start + len(self.draft)

    @property
    def wants_token(self) -> bool:
        """Whether the next token is to be sampled: this chunk ends where the sequence does."""
        return self.stop == len(self.tokens)

    @property
    def score_tokens(self) -> list[int]:
        """The tokens of the prompt whose logprobs are wanted: they follow the computed ones, from the first on."""
        if not self.sampling.prompt_logprobs:
            return []
        return self.tokens[self.start + 1 : min(self.stop + 1, self.prompt_length)]


class Result(Struct):
    """What a chunk gave: its sampled tokens (none unless it wants one), or why sampling failed for this row.

    With a draft: those of its tokens that are what would have been sampled, up to the first end-of-generation token,
    and the one sampled after them. The slot then holds all of them but the last.
    With `sampling.logprobs`, those of each sampled token, and those that Chunk.score_tokens` asks for.
    """

    tokens: list[int]
    error: str | None = None
    param: str | None = None  # with `error`: the parameter of the request that is at fault, if any is
    logprobs: list[Logprobs] = []
    prompt_logprobs: list[Logprobs] = []
    schema_violated: bool = False  # with `error`: see Matcher

    @classmethod
    def failed(cls, matcher: Matcher | None, biased: bool = False) -> "Result":
        """The result of a row for which no token is possible: its matcher allows none any more, or a bias has banned
        those that it allows; or else the model's logits are unusable, all of them -inf or one no number."""
        if matcher is None or (not biased and _allows_any(matcher)):
            return cls([], UNUSABLE_LOGITS)
        return cls([], matcher.problem, matcher.param, schema_violated=matcher.schema_violated)


def _allows_any(matcher: Matcher) -> bool:
    mask = matcher.mask()
    return mask is None or any(mask)


class Tokenizer(Protocol):
    """Made with the model. Thread-safe: the worker's preparers encode while the engine thread steps."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`. Control tokens written in the text are parsed; no BOS is added."""

    def encode_plain(self, text: str) -> list[int]:
        """The same, but that control tokens written in the text are text like any other."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token adds to the text; control tokens add none."""

    def vocabulary_text(self, token: int) -> bytes:
        """Its `token_bytes` or, where those are empty, how the vocabulary writes it."""


class ModelRunner(Protocol):
    """One loaded model. Created, called and closed on one thread; implementations need no locks.

    A slot is a row of the KV cache. A slot absent from a batch keeps its cache; so an idle slot is a cached prefix.
    Sampler and random state belong to the sequence, not to the slot: a sequence that moves does not start again.
    """

    info: ModelInfo
    tokenizer: Tokenizer
    media: MediaEncoder | None  # None: it takes text only

    def prepare(self, sampling: SamplingParams) -> None:
        """A sequence with this sampling will come: do what takes long ahead of it.

        Called by the worker's preparers; the only call from another thread than the engine's. It may be left out.
        """

    def submit(self, batch: list[Chunk]) -> None:
        """Start computing every chunk; may return before the device is done.

        At most `info.step_tokens` tokens, beside runs of media that are atomic, and one chunk per slot; a chunk starts
        where its slot ends. All have the same adapters, unless `info.mixes_adapters`.
        Raises OutOfKV, OutOfMemory or StepFailed. An exception that says that there is no memory (`memory_faults.py`)
        counts as OutOfMemory. Any other is a bug: the worker fails the batch and calls `reset`.
        """

    def collect(self) -> list[Result]:
        """Wait for the submitted batch. One result per chunk, in order. Raises as `submit` does, but not OutOfKV."""

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """What the draft model says after each chunk's tokens[:stop], at most so many each; fewer where it is unsure.

        Called before `submit`, and only if `info.has_draft_model`. Nothing is computed in the slots. The runner finds
        by itself what the draft model's own KV has in common with those tokens, whatever became of the sequence that
        was there. A guess may be any token of the vocabulary but an end-of-generation one, at which it ends.
        """

    def load_adapter(self, source: AdapterSource) -> AdapterInfo:
        """Have an adapter, so that chunks may apply it. Raises LoadError; nothing has changed then.

        Called only if `info.takes_adapters`. Those of the spec are loaded with the model, and are in `info.adapters`.
        """

    def drop_adapter(self, adapter: int) -> None:
        """Free it. No chunk applies it any more."""

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = ...) -> list[bytes]:
        """See embedder.Embedder. Called only if `info.embedding`."""

    def trim(self, slot: int, length: int) -> int:
        """Cut a slot to its first `length` tokens. Returns what remains: `length`, or 0 where it cannot be cut, as
        inside a run of media that is atomic."""

    def offload(self, slot: int) -> None:
        """Take what the slot holds out of the KV pool: nothing is computed in it for a while.

        `trim` and `copy` restore it, or return 0. Called only if `info.offload_tokens` > 0, for so many tokens in all.
        """

    def copy(self, src: int, dst: int, length: int) -> int:
        """Make `dst` hold the first `length` tokens of `src`, which stays. Returns what `dst` holds: `length`, or 0."""

    def free_sequence(self, sequence_id: int) -> None:
        """The sequence ended: free its sampler and random state. Unknown ids are ignored."""

    def release_idle_memory(self) -> None:
        """Nothing runs or waits for now: free memory that is held for speed only. Slots keep their caches."""

    def reset(self) -> None:
        """Empty every slot and create the device's state anew; samplers stay."""

    def close(self) -> None:
        """Free everything. No other call follows."""
