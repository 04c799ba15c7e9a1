"""MLX as a runner, on mlx-lm's models and KV caches. Only the mlx_ files beside it and sampling.py touch MLX, too.

A slot at rest has caches of its own. Slots that decode are in a Group (mlx_group.py), merged and one token ahead; they
leave it when they do not go on. Prompt chunks are computed slot by slot, all but a prompt's last token: that one is the
first step of a group. A slot that has guessed tokens checked is at rest, too (mlx_draft.py).

Every call is on one thread: MLX's streams belong to the thread that made them.
"""

import logging
import os
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.backends import fill_in_middle
from nitro.engines.backends.mlx import kv_cache, sampler, weight_layout
from nitro.engines.backends.mlx.decode_group import Group, Row, padding
from nitro.engines.backends.mlx.draft_check import Check
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.self_test import try_out
from nitro.engines.hardware import memory as fit
from nitro.engines.hardware.libraries import Build, Device
from nitro.engines.runner import Chunk, LoadError, OutOfKV, Result
from nitro.engines.scheduling import speculation
from nitro.engines.types import EngineSpec, ModelInfo, SamplingParams

log = logging.getLogger("nitro.mlx")

STEP_TOKENS = 2048
# Mirostat and DRY go by the tokens so far, of which the last is not on the host yet when the next is drawn.
SAMPLERS = frozenset({"dynatemp_range", "xtc_probability"})
MOST_POOL, POOL_SHARE = 2 * 2**30, 16  # MLX keeps freed memory for reuse: at most so many bytes, or memory / share


class MlxRunner:
    def __init__(self, spec: EngineSpec):
        _refuse_flags(spec)
        _set_limits(spec)
        path = Path(spec.model)
        self._model = open_folder(path) if path.is_dir() else open_gguf(path)
        weight_layout.arrange(self._model.network)
        self._trial = try_out(self._model, path, batches=spec.parallel > 1)
        self.tokenizer = self._model.tokenizer
        self._caches: dict[int, Caches] = {}  # of slots at rest that hold anything
        self._held: dict[int, int] = {}  # tokens in each slot that holds any
        self._groups: list[Group] = []
        self._checks: dict[int, Check] = {}  # by slot, in this step
        self._biases: dict[int, sampler.Bias | None] = {}  # by sequence id
        self._prompt_scores: dict[int, list[sampler.Scores]] = {}  # by slot, in this step
        self._batch: list[Chunk] = []
        self.info = self._describe(spec)
        self._most_padding = min(_size(self._model) // self._trial.token_bytes, self.info.kv_tokens // 4)

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        pass

    def submit(self, batch: list[Chunk]) -> None:
        if sum(self._held.values()) + sum(chunk.size for chunk in batch) > self.info.kv_tokens:
            raise OutOfKV
        going_on = self._continue(batch)
        started = [chunk for chunk in batch if chunk.slot not in going_on]
        for chunk in started:
            self._prefill(chunk)
            if chunk.draft:
                caches = self._caches[chunk.slot]
                self._checks[chunk.slot] = Check.submit(self._model, caches, chunk, self._drawing(chunk))
        self._start_groups([chunk for chunk in started if chunk.wants_token and not chunk.draft])
        self._join_groups()
        for group in self._groups:
            group.look_ahead()
        for chunk in batch:
            self._held[chunk.slot] = chunk.stop
        self._batch = batch

    def collect(self) -> list[Result]:
        given = (row for group in self._groups for row in zip(group.rows, group.give(), group.scores, strict=True))
        drawn = {row.slot: ([token], [scores] if scores else []) for row, token, scores in given}
        for slot, check in self._checks.items():
            drawn[slot] = tokens, _ = check.right(self.info.eog), check.scores
            self._held[slot] += len(tokens) - 1
        self._checks = {}
        mx.eval([kv_cache.arrays(self._caches[chunk.slot]) for chunk in self._batch if not chunk.wants_token])
        return [self._result(chunk, *drawn.get(chunk.slot, ([], []))) for chunk in self._batch]

    def trim(self, slot: int, length: int) -> int:
        held = self._held.get(slot, 0)
        if 0 < length <= held:
            self._leave([slot])
            if kv_cache.cut(self._caches[slot], held - length):
                self._held[slot] = length
                return length
        return self._clear(slot)

    def offload(self, slot: int) -> None:
        pass  # a slot at rest has arrays of its own, which no step reads

    def copy(self, src: int, dst: int, length: int) -> int:
        self._clear(dst)
        caches = self._look(src)
        if caches is None or not 0 < length <= self._held[src] or not kv_cache.cut(caches, self._held[src] - length):
            return 0
        mx.async_eval(kv_cache.arrays(caches))  # until then they refer to the whole source
        self._caches[dst], self._held[dst] = caches, length
        return length

    def free_sequence(self, sequence_id: int) -> None:
        self._biases.pop(sequence_id, None)

    def release_idle_memory(self) -> None:
        """Drop what was computed ahead, and give back the memory that MLX keeps for reuse."""
        self._leave(list(self._held))
        mx.eval([kv_cache.arrays(caches) for caches in self._caches.values()])
        mx.clear_cache()

    def reset(self) -> None:
        self._groups, self._caches, self._held, self._prompt_scores, self._checks = [], {}, {}, {}, {}
        mx.clear_cache()

    def close(self) -> None:
        self.reset()
        mx.synchronize()
        del self._model
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
        if chunk.start < stop:
            caches = self._caches[chunk.slot]
            logits = self._model.network(mx.array(chunk.tokens[chunk.start : stop])[None], cache=caches)[0]
            if scores := self._scores(chunk, logits):
                self._prompt_scores[chunk.slot] = scores
            mx.async_eval(kv_cache.arrays(caches), [s.arrays for s in scores])

    def _scores(self, chunk: Chunk, logits: mx.array) -> list[sampler.Scores]:
        """Of those of the prompt's tokens that are asked for; lazy. `logits`: [computed tokens, vocabulary]."""
        tokens, most = chunk.score_tokens, chunk.sampling.logprobs or 0
        return [sampler.scores(logits[i], mx.array(token, mx.uint32), most) for i, token in enumerate(tokens)]

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
        rows = [Row(c.slot, c.sequence_id, c.stop - 1, self._drawing(c)) for c in chunks]
        caches = [self._caches.pop(chunk.slot) for chunk in chunks]
        return Group(self._model, rows, caches, [chunk.tokens[-1] for chunk in chunks])

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
        return self._trial.batches and padding(lengths) <= self._most_padding

    def _drawing(self, chunk: Chunk) -> sampler.Row:
        if chunk.sequence_id not in self._biases:
            self._biases[chunk.sequence_id] = sampler.Bias.of(chunk.sampling)
        return sampler.Row(chunk.sampling, chunk.tokens, self._biases[chunk.sequence_id], chunk.matcher)

    def _result(self, chunk: Chunk, tokens: list[int], scores: list[sampler.Scores]) -> Result:
        """`tokens`: none unless the chunk samples; and their scores, if asked for."""
        of_prompt = zip(self._prompt_scores.pop(chunk.slot, []), chunk.score_tokens, strict=False)
        prompt_logprobs = [score.told(scored) for score, scored in of_prompt]
        if not tokens:
            return Result([], prompt_logprobs=prompt_logprobs)
        if sampler.NONE not in tokens and (chunk.matcher is None or chunk.matcher.accept(tokens[0])):
            logprobs = [of.told(token) for of, token in zip(scores, tokens, strict=False)]
            return Result(tokens, None, None, logprobs, prompt_logprobs)
        self._clear(chunk.slot)  # what it holds is no numbers
        if chunk.matcher:
            return Result.failed(chunk.matcher)
        return Result([], "The model finds no token possible: its weights are damaged, or a computation overflowed.")

    # Slots

    def _leave(self, slots: list[int], keep: bool = True) -> None:
        """Take these slots out of their groups, to rest or, without `keep`, for good."""
        for group in self._groups.copy():
            leaving = [i for i, row in enumerate(group.rows) if row.slot in slots]
            for i in leaving if keep else []:
                caches = self._caches[group.rows[i].slot] = group.own_caches(i)
                mx.async_eval(kv_cache.arrays(caches))  # until then they refer to the whole group's
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
        return 0

    # Loading

    def _describe(self, spec: EngineSpec) -> ModelInfo:
        model, slots = self._model, spec.parallel + fit.SPARE_SLOTS
        token_bytes, vocabulary = self._trial.token_bytes, self._trial.vocabulary
        free = max(_free_memory() - slots * self._trial.state_bytes, 0)
        trained = model.trained_context
        plan = fit.plan(spec.context, trained, spec.parallel, token_bytes, free)
        if plan.context > trained:
            log.warning("--ctx %d is more than the %d tokens the model was trained for", plan.context, trained)
        place = "GPU" if mx.metal.is_available() else "CPU"
        return ModelInfo(
            engine=f"MLX {version('mlx')} (mlx-lm {version('mlx-lm')})",
            device=f"{mx.device_info()['device_name']} ({place})",
            layers=f"all {len(model.network.layers)} on the {place}",
            slots=slots,
            parallel=spec.parallel,
            context=plan.context,
            trained_context=trained,
            kv_tokens=plan.pool,
            can_truncate=self._trial.can_truncate,
            draft_tokens=speculation.MOST if self._trial.can_truncate else 0,
            draft_rows=1,  # those that decode together have one token each
            kv_place="unified memory" if place == "GPU" else "CPU",
            kv_bytes=plan.pool * token_bytes,
            step_tokens=STEP_TOKENS,
            vocabulary=vocabulary,
            eog=frozenset(token for token in model.eog if 0 <= token < vocabulary),
            template=model.template,
            bos=model.bos,
            eos=model.eos,
            infill=fill_in_middle.find(self.tokenizer, model.infill),
            adds_bos=model.adds_bos,
            sampling=model.sampling,
            samplers=SAMPLERS,
            fingerprint=model.fingerprint,
        )


def build() -> Build:
    metal = mx.metal.is_available()
    device = Device(str(mx.device_info()["device_name"]), _free_memory(), metal)
    return Build("MLX", version("mlx"), ("Metal", "CPU") if metal else ("CPU",), (device,))


def _size(model: MlxModel) -> int:
    """Bytes of the weights."""
    return sum(array.nbytes for array in dict(tree_flatten(model.network.parameters())).values())


def _free_memory() -> int:
    """Bytes that are free for KV caches: of what Metal recommends to use, or in main memory."""
    if mx.metal.is_available():
        return max(int(mx.device_info()["max_recommended_working_set_size"]) - mx.get_active_memory(), 0)
    return fit.free_host_memory()


def _refuse_flags(spec: EngineSpec) -> None:
    given = {"--threads": spec.threads, "--gpu-layers": spec.gpu_layers}
    for flag, value in given.items():
        if value is not None:
            raise LoadError(f"{flag} is for llama.cpp; MLX decides that itself. Leave it out, or add --engine llama.")
    if spec.require_gpu and not mx.metal.is_available():
        raise LoadError("--require-gpu cannot be met. MLX finds no Metal here, and would compute on the CPU.")


def _set_limits(spec: EngineSpec) -> None:
    """Of the process. Wired memory is left alone unless asked for: raising its limit has brought whole Macs down under
    load (mlx#3186)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    mx.set_cache_limit(min(MOST_POOL, memory // POOL_SHARE))
    if spec.wired_limit in (None, "off"):
        return
    if not mx.metal.is_available():
        raise LoadError("--wired-limit needs MLX on Metal, which this machine does not have.")
    most = int(mx.device_info()["max_recommended_working_set_size"])
    asked = most if spec.wired_limit == "recommended" else int(spec.wired_limit) * fit.MIB
    if asked > most:
        raise LoadError(f"--wired-limit {spec.wired_limit} is more than this Mac allows, {most // fit.MIB} MiB.")
    mx.set_wired_limit(asked)
