"""The calls of rank 0's runner, made again by the runner of another rank.

It computes the same batches on the same slots. It draws nothing, so of a sequence's sampling and constraint it knows
only what changes which arrays are evaluated.
"""

from typing import Any

from nitro.engines.backends.mlx.ranks.wire import Call, ChunkCall, Copy, Free, Reset, Rest, Submit, Trim
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import Chunk, Matcher
from nitro.engines.types import SamplingParams


class Told:
    """A matcher where rank 0 has one: it decides nothing."""

    param = problem = ""
    schema_violated = False

    def allows(self, token: int) -> bool:
        """Rank 0 knows."""
        return True

    def mask(self) -> bytes | None:
        """None."""
        return None

    def accept(self, token: int) -> bool:
        """Where rank 0's fails, it clears the slot by a call of its own."""
        return True

    @property
    def active(self) -> Matcher | None:
        """Itself."""
        return self


class Replay:
    """Of one runner."""

    def __init__(self, runner: MlxRunner):
        self._runner = runner
        self._tokens: dict[int, list[int]] = {}  # by sequence
        self._not_copied: int | None = None  # the slot where the last call put nothing

    def make(self, call: Call) -> None:
        """Make this call. Raises what it raises: then this rank is of no use any more."""
        if self._not_copied is not None and call != Trim(self._not_copied, 0):
            raise RuntimeError("a slot was copied on rank 0, and could not be here")
        self._not_copied = None
        match call:
            case Submit(batch):
                self._runner.compute([self._chunk(each) for each in batch])
                self._runner.collect()
            case Trim(slot, length):
                self._runner.trim(slot, length)
            case Copy(src, dst, length):
                self._not_copied = None if self._runner.copy(src, dst, length) else dst
            case Free(sequence_id):
                self._tokens.pop(sequence_id, None)
                self._runner.free_sequence(sequence_id)
            case Rest():
                self._runner.release_idle_memory()
            case Reset():
                self._runner.reset()

    def _chunk(self, call: ChunkCall) -> Chunk:
        tokens = self._tokens.setdefault(call.sequence_id, [])
        tokens[call.known :] = call.tokens
        matcher: Any = Told() if call.constrained else None
        return Chunk(
            sequence_id=call.sequence_id,
            slot=call.slot,
            tokens=tokens,
            start=call.start,
            stop=call.stop,
            sampling=SamplingParams(temperature=0.0, logprobs=call.logprobs, prompt_logprobs=call.prompt_logprobs),
            prompt_length=call.prompt_length,
            matcher=matcher,
            draft=call.draft,
        )
