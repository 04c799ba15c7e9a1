"""Which chunks a step has, and what is learnt from it: the same for the engine's loop and for a simulated one."""

from functools import partial

from nitro.engines.runner import Chunk
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.step_budget import StepBudget
from nitro.engines.types import ModelInfo, Output

NO_ROOM = "The KV pool has no room left for this request alone."


class StepPlan:
    """Of one scheduler. Knows no runner and no clock."""

    def __init__(self, scheduler: Scheduler, info: ModelInfo):
        self._scheduler = scheduler
        self._budget = StepBudget(info.step_tokens, info.attention_tile_rows, info.prompt_rows)

    def next(self) -> list[Chunk]:
        """The chunks of the next step: what is likely computed in the time that it may take."""
        scheduler = self._scheduler
        in_a_hurry = scheduler.shares.in_a_hurry(scheduler.running)
        return scheduler.schedule(partial(self._budget.tokens, in_a_hurry))

    def without_room(self, batch: list[Chunk]) -> tuple[list[Chunk], list[Output]]:
        """The KV pool has no room for the batch: the chunks that are left, maybe none, and the ends of its sequences
        where it has none for them alone."""
        smaller = self._scheduler.reclaim_kv(batch)
        if smaller is not None:
            return smaller, []
        return [], self._scheduler.fail([chunk.sequence_id for chunk in batch], NO_ROOM, too_large=True)

    def took(self, batch: list[Chunk], seconds: float) -> None:
        """So long a step of this batch took."""
        prompts = [(chunk.start, chunk.stop) for chunk in batch if chunk.stop - chunk.start > 1]
        self._budget.observe_prompts(prompts, seconds)
