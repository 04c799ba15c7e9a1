"""MLX as a runner, on mlx-lm's models and KV caches. Only the files in this folder touch MLX.

A slot at rest has caches of its own. Slots that decode are in a Group (decode_group.py), merged and one token ahead;
they leave it when they do not go on. Prompt chunks are computed slot by slot, all but a prompt's last token: that one
is the first step of a group. A slot that has guessed tokens checked is at rest, too (draft_check.py).

Every call is on one thread: MLX's streams belong to the thread that made them.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from msgspec.structs import replace

from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.backends.mlx import kv_cache, library, model_info, sampler, saved_caches
from nitro.engines.backends.mlx.adapters import MlxAdapters
from nitro.engines.backends.mlx.decode_group import Group, GroupRow, padding
from nitro.engines.backends.mlx.draft_check import DraftCheck
from nitro.engines.backends.mlx.draft_model import DraftModel
from nitro.engines.backends.mlx.encoders.chat_vectors import ChatVectors
from nitro.engines.backends.mlx.encoders.decoder import Decoder
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.opening import open_model
from nitro.engines.backends.mlx.sampler import Bias, LazyLogprobs, SamplerRow
from nitro.engines.backends.mlx.self_test import try_out
from nitro.engines.backends.mlx.sharing import ALONE, Alone
from nitro.engines.backends.mlx.step_memory import StepMemory
from nitro.engines.backends.mlx.towers import parts
from nitro.engines.backends.mlx.towers.whole_runs import WholeRuns
from nitro.engines.hardware import memory
from nitro.engines.media_encoder import MediaEncoder
from nitro.engines.runner import Chunk, OutOfKV, Result, Tokenizer
from nitro.engines.scheduling.media_borders import whole_pieces
from nitro.engines.scheduling.prompt_grid import PromptGrid
from nitro.engines.types import EngineSpec, ModelInfo, SamplingParams

log = logging.getLogger("nitro.mlx")

# What is summed up for a token, and in which order, goes by the shape it is computed in. Where answers have to be the
# same bit by bit, prompts are computed in pieces of so many tokens, and each row decodes alone.
DETERMINISTIC_GRID = 64


class MlxRunner:
    """A model, and the KV caches of its slots, at rest or in groups."""

    def __init__(self, spec: EngineSpec, ranks: Alone = ALONE):
        """`ranks`: which share the network. Raises LoadError, and CannotOpen for a GGUF file that only llama.cpp
        opens."""
        library.check_gpu(spec)
        library.check_deterministic(spec)
        library.set_limits(spec)
        path = Path(spec.model)
        self._model = open_model(path, spec, ranks)
        self._ranks = ranks
        ranks.meet(self._model.fingerprint)
        self._trial = ranks.agree(try_out(self._model, path, spec.parallel > 1 and not spec.deterministic))
        self._draft = DraftModel(self._model, self._trial, spec) if spec.draft else None
        mx.clear_cache()  # what trying it out took
        self._adapters = MlxAdapters(self._model, path, self._trial.batches, ranks.draw)
        self._grid = PromptGrid(DETERMINISTIC_GRID if spec.deterministic else 0)
        self.tokenizer: Tokenizer = self._model.tokenizer
        self.media: MediaEncoder | None = self._model.encoder
        self._whole_runs = WholeRuns()
        self._caches: dict[int, Caches] = {}  # of slots at rest that hold anything
        self._held: dict[int, int] = {}  # tokens in each slot that holds any
        self._groups: list[Group] = []
        self._checks: dict[int, DraftCheck] = {}  # by slot, in this step
        self._biases: dict[int, Bias | None] = {}  # by sequence id
        self._prompt_scores: dict[int, list[LazyLogprobs]] = {}  # by slot, in this step
        self._batch: list[Chunk] = []
        self._vectors = self._find_vectors(path)
        self.info = self._describe(spec)
        if self._draft:
            self._draft.max_tokens = self.info.kv_tokens
        self.info = replace(self.info, adapters=list(map(self._adapters.load, spec.adapter_sources)))
        self._memory = StepMemory(self._model.network, self._trial.token_bytes, bool(library.gpu_kind()))
        self.saving = saved_caches.saving(self.info, self._model, entire=not self._trial.can_truncate)
        self._max_padding = min(ranks.least(self._model.size) // self._trial.token_bytes, self.info.kv_tokens // 4)

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        """Nothing: samplers have no state here."""

    def submit(self, batch: list[Chunk]) -> None:
        """Raises OutOfKV, OutOfMemory."""
        self.check(batch)
        self.compute(batch)

    def check(self, batch: list[Chunk]) -> None:
        """Whether there is room for it. Raises OutOfKV, OutOfMemory."""
        if sum(self._held.values()) + sum(chunk.size for chunk in batch) > self.info.kv_tokens:
            raise OutOfKV
        self._memory.check(batch)

    def count_memory_of(self, ranks: Callable[[], list[int]]) -> None:
        """Have `check` look at what is free for other ranks as well: bytes."""
        self._memory.others = ranks

    def compute(self, batch: list[Chunk]) -> None:
        """Groups go on, the other chunks are computed slot by slot, and what samples forms groups again. Nothing is
        waited for."""
        going_on = self._continue(batch)
        started = [chunk for chunk in batch if chunk.slot not in going_on]
        for chunk in started:
            self._prefill(chunk)
            if chunk.draft:
                caches = self._caches[chunk.slot]
                self._checks[chunk.slot] = DraftCheck.submit(self._adapters, caches, chunk, self._bias(chunk))
        self._start_groups([chunk for chunk in started if chunk.wants_token and not chunk.draft])
        self._join_groups()
        for group in self._groups:
            group.look_ahead()
        for chunk in batch:
            self._held[chunk.slot] = chunk.stop
            self._whole_runs.note(chunk)
        self._batch = batch

    def collect(self) -> list[Result]:
        """Wait for the tokens, the checked drafts, and the caches of the prompts."""
        fetched = (row for group in self._groups for row in zip(group.rows, group.fetch(), group.scores, strict=True))
        drawn = {row.slot: ([token], [scores] if scores else []) for row, token, scores in fetched}
        for slot, check in self._checks.items():
            tokens = check.accepted(self.info.eog)
            drawn[slot] = (tokens, check.scores)
            self._held[slot] += len(tokens) - 1
        self._checks = {}
        mx.eval([kv_cache.arrays(self._caches[chunk.slot]) for chunk in self._batch if not chunk.wants_token])
        return [self._result(chunk, *drawn.get(chunk.slot, ([], []))) for chunk in self._batch]

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """What the draft model says, drawn as the sequences will draw."""
        if self._draft is None:
            return [[] for _ in chunks]
        rows = zip(chunks, limits, strict=True)
        return [self._draft.guess(chunk, limit, self._bias(chunk)) for chunk, limit in rows]

    def load_adapter(self, source: AdapterSource) -> AdapterInfo:
        """Put it into the layers that it changes."""
        return self._adapters.load(source)

    def drop_adapter(self, adapter: int) -> None:
        """Free it."""
        self._leave(list(self._held))  # what was computed ahead refers to it
        self._adapters.drop(adapter)

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """See Embedder."""
        assert self._vectors
        return self._vectors.embed(sequences, meanwhile)

    def trim(self, slot: int, length: int) -> int:
        """Take the slot out of its group, and cut its caches. 0 where one of them cannot be cut so far."""
        held = self._held.get(slot, 0)
        if 0 < length <= held and self._whole_runs.allow(slot, length):
            self._leave([slot])
            if kv_cache.cut(self._caches[slot], held - length):
                self._held[slot] = length
                self._whole_runs.keep(slot, length)
                return length
        return self._clear(slot)

    def offload(self, slot: int) -> None:
        """Nothing: a slot at rest has arrays of its own, which no step reads."""

    def copy(self, src: int, dst: int, length: int) -> int:
        """Copy the caches of `src`, which stays in its group, and cut them. 0 where they cannot be cut so far."""
        self._clear(dst)
        caches = self._look(src) if self._whole_runs.allow(src, length) else None
        if caches is None or not 0 < length <= self._held[src] or not kv_cache.cut(caches, self._held[src] - length):
            return 0
        if not kv_cache.settle(caches):  # until then they refer to all of the source
            return 0
        self._caches[dst] = caches
        self._held[dst] = length
        self._whole_runs.keep(dst, length, src)
        return length

    def export(self, slot: int) -> list[memoryview] | None:
        """What its caches hold, at rest."""
        self._leave([slot])
        return saved_caches.pack(self._caches[slot]) if slot in self._caches else None

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """Caches of the slot's own."""
        self._clear(slot)
        caches = saved_caches.unpack(self._model.network, state, length)
        if caches is not None:
            self._caches[slot], self._held[slot] = caches, length
        return caches is not None

    def free_sequence(self, sequence_id: int) -> None:
        """Drop its logit bias, which is all there is of it outside its slot."""
        self._biases.pop(sequence_id, None)

    def release_idle_memory(self) -> None:
        """Drop what was computed ahead, and give back the memory that MLX keeps for reuse."""
        self._leave(list(self._held))
        mx.eval([kv_cache.arrays(caches) for caches in self._caches.values()])
        mx.clear_cache()

    def reset(self) -> None:
        """Drop all caches and groups, and give their memory back."""
        self._groups = []
        self._caches = {}
        self._held = {}
        self._prompt_scores = {}
        self._checks = {}
        self._whole_runs = WholeRuns()
        if self._draft:
            self._draft.reset()
        mx.clear_cache()

    def close(self) -> None:
        """Free the weights too, once the device is done."""
        self.reset()
        mx.synchronize()
        del self._model, self._adapters
        self.media = None
        self._draft = None
        self._vectors = None
        mx.clear_cache()

    # A batch

    def _continue(self, batch: list[Chunk]) -> set[int]:
        """Let the groups go on with those rows that the batch continues; the others leave. The slots that go on."""
        by_slot = {chunk.slot: chunk for chunk in batch}
        rows = [(group, i, row) for group in self._groups for i, row in enumerate(group.rows)]
        undrafted = {chunk.slot for chunk in batch if not chunk.draft}
        going_on = {row.slot for group, i, row in rows if row.slot in undrafted and group.goes_on(i, by_slot[row.slot])}
        self._leave([row.slot for _, _, row in rows if row.slot not in going_on])
        for group in self._groups:
            group.advance([by_slot[row.slot] for row in group.rows])
        return going_on

    def _prefill(self, chunk: Chunk) -> None:
        """Compute a chunk in its slot, but for the last token of one that samples."""
        stop = chunk.stop - chunk.wants_token
        if chunk.slot not in self._caches:
            self._caches[chunk.slot] = make_prompt_cache(self._model.network)
        for start, end in whole_pieces(self._grid, chunk, stop):
            caches = self._caches[chunk.slot]
            logits = self._adapters.read(chunk, start, end, caches)
            if scores := self._scores(chunk, logits, start):
                self._prompt_scores.setdefault(chunk.slot, []).extend(scores)
            mx.async_eval(kv_cache.arrays(caches), [s.arrays for s in scores])

    def _scores(self, chunk: Chunk, logits: mx.array, start: int) -> list[LazyLogprobs]:
        """Of the prompt's tokens that the chunk wants scored after those from `start` on; lazy. `logits`: [computed
        tokens, vocabulary]."""
        top_count = chunk.sampling.logprobs or 0
        wanted = chunk.score_tokens[start - chunk.start :][: len(logits)]
        tokens = [mx.array(token, mx.uint32) for token in wanted]
        return [sampler.logprobs(logits[i], token, top_count) for i, token in enumerate(tokens)]

    def _start_groups(self, chunks: list[Chunk]) -> None:
        """Let slots decode whose last token is yet to be computed, those of about one length together."""
        open_group: list[Chunk] = []
        for chunk in sorted(chunks, key=lambda chunk: chunk.stop, reverse=True):
            if open_group and not self._may_merge([c.stop for c in [*open_group, chunk]]):
                self._groups.append(self._group(open_group))
                open_group = []
            open_group.append(chunk)
        if open_group:
            self._groups.append(self._group(open_group))

    def _group(self, chunks: list[Chunk]) -> Group:
        rows = [
            GroupRow(
                chunk.slot,
                chunk.sequence_id,
                chunk.stop - 1,
                self._sampler_row(chunk),
                chunk.adapters,
                parts.shift(chunk.tokens, chunk.media),
            )
            for chunk in chunks
        ]
        caches = [self._caches.pop(chunk.slot) for chunk in chunks]
        return Group(self._adapters, rows, caches, [chunk.tokens[-1] for chunk in chunks])

    def _join_groups(self) -> None:
        """Merge groups where the padding costs less than another pass through the weights."""
        joined: list[Group] = []
        for group in sorted(self._groups, key=lambda group: -max(row.length for row in group.rows)):
            for other in joined:
                if self._may_merge([row.length for row in other.rows + group.rows]):
                    other.absorb(group)
                    break
            else:
                joined.append(group)
        self._groups = joined

    def _may_merge(self, lengths: list[int]) -> bool:
        return self._trial.batches and padding(lengths) <= self._max_padding

    def _sampler_row(self, chunk: Chunk) -> SamplerRow:
        return SamplerRow(chunk.sampling, chunk.tokens, self._bias(chunk), chunk.matcher)

    def _bias(self, chunk: Chunk) -> Bias | None:
        """The sequence's logit bias, which stays on the device."""
        if chunk.sequence_id not in self._biases:
            self._biases[chunk.sequence_id] = Bias.of(chunk.sampling)
        return self._biases[chunk.sequence_id]

    def _result(self, chunk: Chunk, tokens: list[int], scores: list[LazyLogprobs]) -> Result:
        """`tokens`: none unless the chunk samples; and their scores, where the request wants logprobs."""
        of_prompt = zip(self._prompt_scores.pop(chunk.slot, []), chunk.score_tokens, strict=False)
        prompt_logprobs = [score.fetch(scored) for score, scored in of_prompt]
        if not tokens:
            return Result([], prompt_logprobs=prompt_logprobs)
        if sampler.NONE not in tokens and (chunk.matcher is None or chunk.matcher.accept(tokens[0])):
            logprobs = [score.fetch(token) for score, token in zip(scores, tokens, strict=False)]
            return Result(tokens, logprobs=logprobs, prompt_logprobs=prompt_logprobs)
        self._clear(chunk.slot)  # what it holds is no numbers
        return Result.failed(chunk.matcher, bool(chunk.sampling.logit_bias))

    # Slots

    def _leave(self, slots: list[int], keep: bool = True) -> None:
        """Take these slots out of their groups, to rest or, without `keep`, for good."""
        for group in self._groups.copy():
            leaving = [i for i, row in enumerate(group.rows) if row.slot in slots]
            for i in leaving if keep else []:
                caches = self._caches[group.rows[i].slot] = group.own_caches(i)
                mx.async_eval(kv_cache.arrays(caches))  # until then they refer to all of the group's
            if len(leaving) == len(group.rows):
                self._groups.remove(group)
            elif leaving:
                group.keep([i for i in range(len(group.rows)) if i not in leaving])

    def _look(self, slot: int) -> Caches | None:
        """A copy of a slot's caches, wherever they are."""
        for group in self._groups:
            for i, row in enumerate(group.rows):
                if row.slot == slot:
                    return group.own_caches(i)
        return kv_cache.snapshot(self._caches[slot]) if slot in self._caches else None

    def _clear(self, slot: int) -> int:
        self._leave([slot], keep=False)
        self._caches.pop(slot, None)
        self._held.pop(slot, None)
        self._whole_runs.keep(slot, 0)
        return 0

    # Loading

    def _find_vectors(self, path: Path) -> ChatVectors | None:
        if self._ranks is not ALONE:
            return None
        try:
            return ChatVectors(Decoder(self._model.network), self._trial.batches)
        except Exception as error:
            log.warning("%s makes no embeddings: %s", path, error)
            return None

    def _describe(self, spec: EngineSpec) -> ModelInfo:
        trial, draft = self._trial, self._draft
        token_bytes = trial.token_bytes + (draft.token_bytes if draft else 0)
        free = self._ranks.least(library.free_memory()) - (spec.parallel + memory.SPARE_SLOTS) * trial.state_bytes
        plan = memory.plan(
            spec.context,
            trained=self._model.trained_context,
            parallel=spec.parallel,
            token_bytes=token_bytes,
            free_bytes=memory.room_for_kv(max(free, 0), spec.kv_bytes),
        )
        about = model_info.describe(spec, self._model, trial, plan)
        return replace(
            about,
            has_draft_model=draft is not None,
            prompt_grid=self._grid.size,
            embedding=self._vectors.describe(plan.context, self._bos()) if self._vectors else None,
        )

    def _bos(self) -> list[int]:
        """What goes before a text that no chat template made."""
        return self.tokenizer.encode(self._model.bos) if self._model.adds_bos and self._model.bos else []
