"""A second, smaller model that guesses what sequences say next (--draft). The target checks its guesses in their step.

It has a context of its own, with one stream of KV cells for each sequence that runs. That costs as much memory as one
pool of cells, and attention goes over a sequence's own cells only, in a row.

A guess is drawn as the target will draw: by a copy of the sequence's own sampler chain, random state included, on the
draft model's logits. Where both models find the same tokens likely, the same random number draws the same token, so
that most guesses are right at any temperature. The target's own draws do not look at the guesses, so its distribution
is untouched.

Nothing that goes wrong here fails a request: there are no guesses then.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends import draft_vocabulary
from nitro.engines.backends.draft_vocabulary import NONE, Vocabulary
from nitro.engines.backends.llama import kv_cells, library, sampler
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.context import LlamaContext, Need
from nitro.engines.backends.llama.draft_streams import Placed, Stream, Streams
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.hardware import memory
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import COLD, EngineSpec, SamplingParams

log = logging.getLogger("llama.cpp")

STEP_TOKENS = 512  # that it computes in one call before it guesses: all who decode wait for them
MAX_PENDING = 2  # tokens: a guess that was right but not computed, and the one drawn after it
DECODED = 0  # llama_decode's return codes (llama.h:994)
NO_KV_SLOT = 1
MIN_CONFIDENCE = 0.3  # of the likeliest token: where it is less likely, the target often draws another one
# Tokens that are not part of what a text says, so that they may be missing in one of the models (llama.h:104)
SPECIAL = (
    lib.LLAMA_TOKEN_ATTR_UNKNOWN
    | lib.LLAMA_TOKEN_ATTR_UNUSED
    | lib.LLAMA_TOKEN_ATTR_CONTROL
    | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
)

ChainOf = Callable[[Chunk], Any]  # the sampler chain of a chunk's sequence


@dataclass(slots=True)
class _Row:
    """A sequence that is guessed for."""

    stream: Stream
    tokens: list[int]  # the draft model's ids of all that the sequence has said
    limit: int
    sampling: SamplingParams
    chain: Any = None  # a copy of the sequence's sampler chain; None: the likeliest token is drawn
    guesses: list[int] = field(default_factory=list)  # the target's ids
    done: bool = False  # nothing more is guessed


class DraftModel:
    """The model and its context. `start` makes the context, once it is known how much memory there is."""

    def __init__(self, target: LlamaModel, spec: EngineSpec):
        """Raises LoadError: as LlamaModel does; another vocabulary; KV that cannot be cut on either side."""
        assert spec.draft
        self._model = LlamaModel(
            EngineSpec(
                engine=spec.engine,
                model=spec.draft,
                gpu_layers=spec.gpu_layers,
                require_gpu=spec.require_gpu,
                no_mmap=spec.no_mmap,
                mlock=spec.mlock,
            )
        )
        library.resume_log(target.log)
        self._model.log = target.log  # which gets every line again: what its context takes stands there
        self._context: LlamaContext | None = None
        self._failed = False
        try:
            for model in (target, self._model):
                if model.stateful:
                    raise LoadError(
                        f"--draft needs models that can take tokens back, and {model.path} has a recurrent state, "
                        f"which cannot. Leave it out."
                    )
            self._map = draft_vocabulary.check(_vocabulary(target), _vocabulary(self._model))
        except LoadError:
            self.close()
            raise
        self._eog = target.eog
        self._vocabulary = target.vocabulary
        self._instead = max(lib.llama_vocab_bos(self._model.vocab), 0)
        self._batch = Batch(STEP_TOKENS)
        self._streams = Streams(0)
        self._length = 0  # tokens that a stream may hold
        self._to_compute = 0  # tokens that this call may compute before it guesses

    @property
    def need(self) -> Need:
        """What it takes beside its target."""
        return Need(self._model.token_bytes(), self._model.mapped_bytes)

    @property
    def kv_bytes(self) -> int:
        """Bytes of its KV cache when all of it is used."""
        return self._used_context.max_kv_bytes

    def start(self, plan: memory.KVPlan, spec: EngineSpec) -> None:
        """Make the context, with a stream for each sequence that may run, and take a first step. Raises LoadError."""
        streams = min(spec.parallel, lib.llama_max_parallel_sequences())
        self._length = min(plan.context, plan.pool // streams, self._model.trained_context)
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = self._length * streams
        parameters.n_batch = parameters.n_ubatch = STEP_TOKENS
        parameters.n_seq_max = parameters.n_outputs_max = streams
        parameters.n_threads = parameters.n_threads_batch = spec.threads or memory.physical_cores()
        parameters.kv_unified = False
        parameters.swa_full = True
        parameters.no_perf = True
        self._streams = Streams(streams)
        self._context = LlamaContext(self._model, plan, parameters)
        self._context.make()
        if not self._decode([(0, 0, [self._instead])]) or not np.isfinite(self._logits(1)).any():
            raise LoadError(f"{self._model.path} computes what is no number: its weights are damaged.")
        kv_cells.clear(self._pointer, 0)
        log.info("drafts by %s, for up to %d tokens of each request", self._model.path.name, self._length)

    def guess(self, chunks: list[Chunk], limits: list[int], chain_of: ChainOf) -> list[list[int]]:
        """See ModelRunner.guess."""
        self._streams.begin()
        self._to_compute = STEP_TOKENS
        room = self._length - max(limits)  # a row may be computed as far as the one that goes on longest
        rows = [
            self._row(chunk, limit, chain_of) if self._pointer and MAX_PENDING <= chunk.stop <= room else None
            for chunk, limit in zip(chunks, limits, strict=True)
        ]
        placed = sorted((row for row in rows if row), key=lambda row: row.stream.id)
        try:
            if placed and self._pointer:
                self._guess(placed, self._even_out(placed))
        finally:
            for row in placed:
                if row.chain:
                    lib.llama_sampler_free(row.chain)
        return [row.guesses if row else [] for row in rows]

    def free_sequence(self, sequence_id: int) -> None:
        """The sequence has ended."""
        self._streams.end(sequence_id)

    def shrink(self) -> None:
        """Give back cells that nothing is in."""
        if self._pointer:
            self._used_context.shrink()

    def reset(self) -> None:
        """Make a new context."""
        self._used_context.free()
        self._used_context.make()
        self._streams = Streams(len(self._streams.all))

    def close(self) -> None:
        """Free context and model."""
        if self._context:
            self._context.free()
        self._model.close()

    # Following

    def _row(self, chunk: Chunk, limit: int, chain_of: ChainOf) -> _Row | None:
        """The row of a sequence whose stream holds all its tokens but the last one or two. None where all streams are
        in use, or it is not computed so far."""
        tokens = self._map.draft_ids(chunk.tokens[: chunk.stop], self._instead)
        placed = self._streams.place(chunk.sequence_id, tokens)
        if placed is None:
            return None
        self._copy(placed)
        row = _Row(placed.stream, tokens, limit, chunk.sampling)
        if not self._follow(row):
            return None
        if not _is_greedy(chunk.sampling):
            row.chain = lib.llama_sampler_clone(chain_of(chunk))
        return row

    def _copy(self, placed: Placed) -> None:
        """Copy what the source holds. It is cut to what is shared when the stream follows its sequence."""
        source, stream = placed.source, placed.stream
        if source is None:
            return
        stream.tokens = []
        state = kv_cells.save(self._pointer, source.id)
        if state is not None and kv_cells.restore(self._pointer, stream.id, state):
            stream.tokens = source.tokens.copy()

    def _follow(self, row: _Row) -> bool:
        """Compute what the stream lacks, but for the last two tokens. False where that fails, or where it is more than
        this call may compute: the next one goes on."""
        stream = row.stream
        stream.follow(row.tokens)
        self._cut(stream, len(row.tokens))
        missing = row.tokens[len(stream.tokens) : -MAX_PENDING]
        piece = missing[: self._to_compute]
        if piece:
            if not self._decode([(stream.id, len(stream.tokens), piece)], sampled=False):
                self._lose([row])
                return False
            stream.add(piece)
            self._to_compute -= len(piece)
        return len(piece) == len(missing)

    def _even_out(self, rows: list[_Row]) -> int:
        """How many tokens of each stream are yet to be computed, one or two. llama.cpp computes streams together only
        as far as they have equally many, so those that lack fewer forget one."""
        width = max(1, *(len(row.tokens) - len(row.stream.tokens) for row in rows))
        for row in rows:
            self._cut(row.stream, len(row.tokens) - width)
        return width

    def _cut(self, stream: Stream, length: int) -> None:
        stream.keep(length)
        lib.llama_memory_seq_rm(self._used_context.memory, stream.id, len(stream.tokens), -1)

    def _lose(self, rows: list[_Row]) -> None:
        """Something failed: nothing is known about these streams."""
        for row in rows:
            row.stream.keep(0)
            if self._pointer:
                kv_cells.clear(self._pointer, row.stream.id)
        if not self._failed:
            log.warning("the draft model could not compute a step, so there are no guesses for now")
            self._failed = True

    # Guessing

    def _guess(self, rows: list[_Row], width: int) -> None:
        """Token by token, for all of them together. `width`: tokens of each that are yet to be computed.

        A row that is done stays while others on both sides of it go on, so that their ids are consecutive.
        """
        pending = [row.tokens[-width:] for row in rows]
        while rows:
            places = [
                (row.stream.id, len(row.stream.tokens), tokens) for row, tokens in zip(rows, pending, strict=True)
            ]
            if not self._decode(places):
                self._lose(rows)
                return
            for row, tokens in zip(rows, pending, strict=True):
                row.stream.tokens += tokens
            pending = [[token] for token in self._draw(rows)]
            going_on = [i for i, row in enumerate(rows) if not row.done]
            span = slice(going_on[0], going_on[-1] + 1) if going_on else slice(0)
            rows, pending = rows[span], pending[span]

    def _draw(self, rows: list[_Row]) -> list[int]:
        """What follows in each row, as the draft model's token. A guess, unless the row is done by it."""
        logits = self._logits(len(rows))
        best = logits.argmax(axis=1)
        drawn = []
        for i, row in enumerate(rows):
            token = int(best[i])
            if not row.done and 1 / np.exp(logits[i] - logits[i, token]).sum() < MIN_CONFIDENCE:
                row.done = True
            drawn.append(token if row.done else self._guess_one(row, logits[i], token))
        return drawn

    def _guess_one(self, row: _Row, logits: Any, best: int) -> int:
        """Guess the next token."""
        token = best
        if row.chain is None:
            guess = self._map.target_id(token)
        elif self._map.to_draft is None:
            drawn = sampler.sample(row.chain, row.sampling, logits)
            guess, token = (NONE, best) if drawn is None else (drawn, drawn)
        else:
            guess = self._sample_known(row, logits)
            token = best if guess == NONE else int(self._map.to_draft[guess])
        if guess == NONE or guess in self._eog:
            row.done = True
        else:
            row.guesses.append(guess)
            row.done = len(row.guesses) == row.limit
        return token

    def _sample_known(self, row: _Row, logits: Any) -> int:
        """The target's id of what its sampler chain draws of the tokens that both models have."""
        assert self._map.to_draft is not None
        known = np.flatnonzero(self._map.to_draft != NONE)
        of_target = np.full(self._vocabulary, -np.inf, np.float32)
        of_target[known] = logits[self._map.to_draft[known]]
        guess = sampler.draw(row.chain, row.sampling, of_target)
        if guess is None:
            return NONE
        lib.llama_sampler_accept(row.chain, guess)
        return guess

    # The context

    @property
    def _used_context(self) -> LlamaContext:
        assert self._context, "it was started"
        return self._context

    @property
    def _pointer(self) -> Any:
        return self._used_context.pointer

    def _decode(self, rows: list[tuple[int, int, list[int]]], sampled: bool = True) -> bool:
        batch = self._batch.fill_ids(rows, sampled)
        code = lib.llama_decode(self._pointer, batch)
        if code == NO_KV_SLOT and self._grow({stream: len(tokens) for stream, _, tokens in rows}):
            code = lib.llama_decode(self._pointer, batch)
        return bool(code == DECODED)

    def _grow(self, more: dict[int, int]) -> bool:
        try:
            return self._used_context.grow(more)
        except LoadError as error:  # there is no context any more
            log.warning("there are no drafts from now on: %s", error)
            self._length = 0
            return False

    def _logits(self, rows: int) -> Any:
        """Of the last step: float32 [rows, vocabulary], valid until the next."""
        return np.ctypeslib.as_array(lib.llama_get_logits(self._pointer), (rows, self._model.vocabulary))


def _is_greedy(sampling: SamplingParams) -> bool:
    """Whether the likeliest token is drawn, whatever was said before."""
    changed = sampling.logit_bias or sampling.penalises or sampling.dry_multiplier
    return sampling.temperature < COLD and not changed


def _vocabulary(model: LlamaModel) -> Vocabulary:
    texts = [model.tokenizer.text(token) for token in range(model.vocabulary)]
    return Vocabulary(str(model.path), texts, lambda token: _is_special(model, token))


def _is_special(model: LlamaModel, token: int) -> bool:
    return bool(lib.llama_vocab_get_attr(model.vocab, token) & SPECIAL)
