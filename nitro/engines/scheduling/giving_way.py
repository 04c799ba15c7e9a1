"""What gives way where a step does not fit: into the KV pool, or into the memory of the device. Pure policy."""

from collections.abc import Collection
from typing import Protocol

from nitro.engines.runner import Chunk
from nitro.engines.scheduling.prefix_cache import PrefixCache
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import ModelInfo

LEAST_CHUNK = 32  # tokens of a prompt; smaller chunks save nothing that counts


class Planner(Protocol):
    """What is needed of a scheduler."""

    info: ModelInfo
    prefixes: PrefixCache
    running: list[Sequence]

    @property
    def kv_used(self) -> int:
        """See Scheduler."""

    def preempt(self, sequence: Sequence, *, lost: bool = False) -> None:
        """See Scheduler."""

    def restart(self) -> None:
        """See Scheduler."""


def reclaim_kv(scheduler: Planner, batch: list[Chunk]) -> list[Chunk] | None:
    """See Scheduler."""
    if any(chunk.draft for chunk in batch):
        for chunk in batch:
            chunk.draft = []
        return batch
    if scheduler.prefixes.reclaim_kv():
        return batch
    fits = scheduler.kv_used + sum(chunk.size for chunk in batch) <= scheduler.info.kv_tokens
    if fits and scheduler.prefixes.reclaim_memory():
        return batch
    youngest = scheduler.running[-1]
    if len(scheduler.running) == 1:
        assert youngest.slot is not None
        scheduler.prefixes.empty(youngest.slot)
        return None
    youngest.alone, youngest.denied = fits and youngest.denied, fits
    scheduler.preempt(youngest)
    return [chunk for chunk in batch if chunk.sequence_id != youngest.id]


def relieve(scheduler: Planner, batch: list[Chunk], lost: Collection[int] | None) -> int | None:
    """After OutOfMemory, which has lost these slots, or all: have the next step take less. The sequence that must
    fail; None: none.

    First all idle slots are emptied. Then whoever asks for most, by the tokens of its chunk and then by its length, is
    set aside: it is computed when nothing else is. If there is nothing else, its prompt is computed in smaller chunks,
    as long as that helps. What is taken from a sequence is computed again.
    """
    largest = max(batch, key=lambda chunk: (chunk.size, chunk.stop))
    sequence = next(running for running in scheduler.running if running.id == largest.sequence_id)
    is_alone = len(scheduler.running) == 1
    if lost is None:
        scheduler.restart()
    else:
        for running in [running for running in scheduler.running if running.slot in lost]:
            scheduler.preempt(running, lost=True)
        if scheduler.prefixes.empty_idle():
            return None
    if not is_alone:
        sequence.alone = True
        if sequence.slot is not None:
            scheduler.preempt(sequence)
        return None
    smaller = largest.size // 2
    if LEAST_CHUNK <= smaller < sequence.longest_chunk:
        sequence.longest_chunk = smaller
        return None
    return sequence.id
