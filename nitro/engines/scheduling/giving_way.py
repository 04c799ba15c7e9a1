"""What gives way where a step does not fit: into the KV pool, or into the memory of the device. Pure policy."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from nitro.engines.runner import Chunk

if TYPE_CHECKING:
    from nitro.engines.scheduling.scheduler import Scheduler

LEAST_CHUNK = 32  # tokens of a prompt; smaller chunks save nothing that counts


def reclaim_kv(scheduler: Scheduler, batch: list[Chunk]) -> list[Chunk] | None:
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
    youngest.alone = fits
    scheduler.preempt(youngest)
    return [chunk for chunk in batch if chunk.sequence_id != youngest.id]


def relieve(scheduler: Scheduler, batch: list[Chunk], lost: Collection[int] | None) -> int | None:
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
