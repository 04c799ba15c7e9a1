"""Rank 0's runner: each call is told to the other ranks, and then made here.

What rank 0 alone can know is settled before a call is told (memory), or told after it (a constraint that fails). Any
other fault leaves ranks that wait for each other, so it ends them all: see `Team.together`.
"""

from collections.abc import Callable

from msgspec.structs import replace

from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.backends.mlx.ranks.team import Team
from nitro.engines.backends.mlx.ranks.wire import ChunkCall, Copy, Free, Reset, Rest, Submit, Trim
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.media_encoder import MediaEncoder
from nitro.engines.runner import Chunk, Result, Saving
from nitro.engines.types import SamplingParams


class LeadRunner:
    """An MlxRunner, and those of other ranks."""

    media: MediaEncoder | None = None
    saving = Saving(why_not="Each rank (--hosts) holds a part of a prefix.")

    def __init__(self, runner: MlxRunner, team: Team):
        self._runner, self._team = runner, team
        self._batch: list[Chunk] = []
        self._known: dict[int, int] = {}  # tokens of each sequence that the others know
        self.tokenizer = runner.tokenizer
        self.info = replace(
            runner.info,
            layers=f"{runner.info.layers}, shared by {', '.join(team.names)}",
            embedding=None,
            takes_adapters=False,
        )

    # The contract

    def prepare(self, sampling: SamplingParams) -> None:
        """Nothing."""

    def submit(self, batch: list[Chunk]) -> None:
        """Raises OutOfKV, OutOfMemory: then nothing was told."""
        self._runner.check(batch)
        self._team.tell(Submit([self._call(chunk) for chunk in batch]))
        with self._team.together():
            self._runner.compute(batch)
        self._batch = batch

    def collect(self) -> list[Result]:
        """Wait for all."""
        with self._team.together():
            results = self._runner.collect()
        for chunk, result in zip(self._batch, results, strict=True):
            if result.error:
                self._team.tell(Trim(chunk.slot, 0))  # as it was cleared here
        return results

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """Nothing: there is no draft model."""
        return [[] for _ in chunks]

    def load_adapter(self, source: AdapterSource) -> AdapterInfo:
        """Never called: see `info`."""
        raise NotImplementedError

    def drop_adapter(self, adapter: int) -> None:
        """Never called."""
        raise NotImplementedError

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """Never called."""
        raise NotImplementedError

    def trim(self, slot: int, length: int) -> int:
        """On all ranks."""
        self._team.tell(Trim(slot, length))
        with self._team.together():
            return self._runner.trim(slot, length)

    def offload(self, slot: int) -> None:
        """Nothing, as in MlxRunner."""

    def copy(self, src: int, dst: int, length: int) -> int:
        """On all ranks; where memory lacks here, `dst` is empty on all."""
        self._team.tell(Copy(src, dst, length))
        with self._team.together():
            held = self._runner.copy(src, dst, length)
        if not held:
            self._team.tell(Trim(dst, 0))
        return held

    def export(self, slot: int) -> list[memoryview] | None:
        """None."""
        return None

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """False."""
        return False

    def free_sequence(self, sequence_id: int) -> None:
        """On all ranks that know it."""
        if self._known.pop(sequence_id, None) is not None:
            self._team.tell(Free(sequence_id))
        self._runner.free_sequence(sequence_id)

    def release_idle_memory(self) -> None:
        """On all ranks."""
        self._team.tell(Rest())
        with self._team.together():
            self._runner.release_idle_memory()

    def reset(self) -> None:
        """On all ranks."""
        self._team.tell(Reset())
        with self._team.together():
            self._runner.reset()

    def close(self) -> None:
        """End the others, and free everything here."""
        self._team.close()
        self._runner.close()

    def _call(self, chunk: Chunk) -> ChunkCall:
        known = min(self._known.get(chunk.sequence_id, 0), len(chunk.tokens))
        self._known[chunk.sequence_id] = len(chunk.tokens)
        return ChunkCall(
            sequence_id=chunk.sequence_id,
            slot=chunk.slot,
            known=known,
            tokens=chunk.tokens[known:],
            start=chunk.start,
            stop=chunk.stop,
            prompt_length=chunk.prompt_length,
            draft=chunk.draft,
            constrained=chunk.matcher is not None,
            logprobs=chunk.sampling.logprobs,
            prompt_logprobs=chunk.sampling.prompt_logprobs,
        )
