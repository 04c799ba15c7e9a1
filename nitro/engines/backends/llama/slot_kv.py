"""Where slots have their KV: in one pool of cells for all, or each running one in a stream of its own.

In the pool a slot is the llama.cpp sequence of its number, and a copy shares the cells of its source. That is for GPUs,
which read cells that do not count (those of other slots, masked) nearly for free.

On the CPU attention takes as long as there are cells to go over. So there each sequence of llama.cpp has cells of its
own (`kv_unified` is off): a stream. There are as many as requests run at once. A slot gets one when it is computed, and
what it holds is brought there; idle ones are in main memory, and take no more of it than they hold. Those that made way
count as the pool's until they are offloaded: all together never hold more tokens than it has cells.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines.backends.llama import kv_cells
from nitro.engines.backends.llama.batch import full_tiles
from nitro.engines.backends.llama.context import CPU_TILE, LlamaContext
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.positions import Run, SlotPositions
from nitro.engines.runner import Chunk, OutOfKV


class PoolKV:
    """Slots in one pool. `shares_cells`: whether copies may share cells."""

    def __init__(self, context: LlamaContext, model: LlamaModel, shares_cells: bool = True):
        self._context = context
        self._model = model
        self._shares_cells = shares_cells
        self._offloaded: dict[int, Any] = {}  # by slot; arrays of bytes
        self._positions = SlotPositions()
        context.count_by(self.tokens_in)

    def sequence(self, slot: int) -> int:
        """The llama.cpp sequence in which the slot is computed."""
        return slot

    def position(self, slot: int, length: int) -> int:
        """The position of what comes after so many tokens of a slot."""
        return self._positions.position(slot, length)

    def tokens_in(self, sequence: int) -> int:
        """How many tokens a llama.cpp sequence holds."""
        return self._positions.tokens(sequence, kv_cells.held(self._context.pointer, sequence))

    def holds(self, slot: int, run: Run) -> None:
        """A run of media was computed that is never cut, or takes fewer positions than tokens."""
        self._positions.add(slot, run)

    def place(self, batch: list[Chunk]) -> None:
        """Have each chunk's slot where it can be computed. Raises OutOfKV."""

    def arrange(self, chunks: list[Chunk]) -> list[list[Chunk]]:
        """What each llama_decode is to get, in order, of chunks of text in slots that were placed. The last one has the
        end of every chunk."""
        return [chunks] if chunks else []

    def trim(self, slot: int, length: int) -> int:
        """Bring an offloaded slot back, and cut it. What cannot be brought back or cut is emptied: 0."""
        is_border = self._positions.is_border(slot, length)
        if length > 0 and is_border and self._bring_back(slot) and self._cut(slot, length):
            return length
        return self.clear(slot)

    def offload(self, slot: int) -> None:
        """Copy the slot's cells to main memory and free them. Where llama.cpp cannot copy them, the slot is empty."""
        if slot in self._offloaded:
            return
        state = kv_cells.save(self._context.pointer, self.sequence(slot))
        runs = self._positions.of(slot)
        self.clear(slot)
        if state is not None:
            self._offloaded[slot] = state
            self._positions.put(slot, runs)

    def copy(self, src: int, dst: int, length: int) -> int:
        """Share the cells of `src`, or make cells of its copy in main memory. 0 where that gives another state."""
        self.clear(dst)
        if not self._positions.is_border(src, length):
            return 0
        self._positions.copy(src, dst, length)
        state = self._offloaded.get(src)
        if state is None:
            if self._model.stateful and self._end(src) != length:
                return self.clear(dst)  # a recurrent state is that of its last token only
            if self._shares_cells:
                lib.llama_memory_seq_cp(self._context.memory, src, dst, 0, self.position(src, length))
                return length if self._holds(dst, length) else self.clear(dst)
            state = kv_cells.save(self._context.pointer, self.sequence(src))
        copied = state is not None and self._restore(dst, state) and self._cut(dst, length)
        return length if copied else self.clear(dst)

    def export(self, slot: int) -> list[memoryview] | None:
        """See ModelRunner. What is offloaded is not copied."""
        state = self._offloaded.get(slot)
        if state is None and self._end(slot):
            state = kv_cells.save(self._context.pointer, self.sequence(slot))
        return None if state is None or self._positions.of(slot) else [kv_cells.view(state)]

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """See ModelRunner."""
        self.clear(slot)
        is_there = self._restore(slot, kv_cells.array(state)) and self._holds(slot, length)
        if not is_there:
            self.clear(slot)
        return is_there

    def clear(self, slot: int) -> int:
        """Empty it, wherever it lies. Returns 0: what it holds then."""
        self._offloaded.pop(slot, None)
        self._positions.clear(slot)
        kv_cells.clear(self._context.pointer, self.sequence(slot))
        return 0

    def reject(self, slot: int, length: int) -> None:
        """Drop what it holds beyond its first `length` tokens: a draft."""
        lib.llama_memory_seq_rm(self._context.memory, self.sequence(slot), self.position(slot, length), -1)
        self._positions.cut(slot, length)

    def _bring_back(self, slot: int) -> bool:
        """What is offloaded comes back. False where there is no room for it; it stays offloaded then."""
        state = self._offloaded.get(slot)
        if state is None:
            return True
        restored = self._restore(slot, state)
        if restored:
            del self._offloaded[slot]
        else:
            runs = self._positions.of(slot)
            self.clear(slot)
            self._offloaded[slot] = state
            self._positions.put(slot, runs)
        return restored

    def _restore(self, slot: int, state: Any) -> bool:
        """False where there is no room for it; the slot is empty then."""
        sequence = self.sequence(slot)
        while not kv_cells.restore(self._context.pointer, sequence, state):
            if not self._context.grow({sequence: len(state) // self._model.token_bytes() + 1}):
                return False
        return True

    def _cut(self, slot: int, length: int) -> bool:
        position = self.position(slot, length)
        removed = lib.llama_memory_seq_rm(self._context.memory, self.sequence(slot), position, -1)
        self._positions.cut(slot, length)
        return bool(removed) and self._holds(slot, length)

    def _end(self, slot: int) -> int:
        """Tokens in a slot."""
        return self._positions.tokens(slot, kv_cells.held(self._context.pointer, self.sequence(slot)))

    def _holds(self, slot: int, length: int) -> bool:
        """Whether the slot really holds [0, length), so that the next token can be computed from it.

        llama_memory_seq_rm and _cp succeed on a sliding-window cache even where the cells needed are gone.
        """
        if self._end(slot) != length:
            return False
        if self._model.stateful:
            return True
        next_one = self.position(slot, length)
        first = max(0, next_one - self._model.window + 1) if self._model.window else 0  # that the next token sees
        return bool(lib.llama_memory_seq_pos_min(self._context.memory, self.sequence(slot)) <= first)


class StreamKV(PoolKV):
    """Slots that are computed have a stream each; all others are in main memory, or go there when a stream is needed.

    llama.cpp computes together only what stands in the batch in rising streams without a gap, and as many tokens of
    each (llama-batch.cpp:502). So decodes are moved into streams in a row, which is seldom needed and costs a
    four-hundredth of computing what is moved; and each prompt is computed by itself, in complete tiles.
    """

    def __init__(self, context: LlamaContext, model: LlamaModel):
        super().__init__(context, model, shares_cells=False)
        self._streams: dict[int, int] = {}  # by slot; that which was not used for the longest time comes first
        self._displaced: dict[int, int] = {}  # by slot: tokens of those that made way and are in main memory now

    def sequence(self, slot: int) -> int:
        """Its stream. One without gets the lowest that is free, or that of the slot that was idle the longest."""
        if slot not in self._streams:
            free = set(range(self._context.parameters.n_seq_max)).difference(self._streams.values())
            if not free:
                idle = next(iter(self._streams))
                free = {self._streams[idle]}
                tokens = self._end(idle)
                self.offload(idle)
                self._displaced[idle] = tokens
            self._streams[slot] = min(free)
        return self._streams[slot]

    def tokens_in(self, sequence: int) -> int:
        """See PoolKV."""
        slot = next((slot for slot, stream in self._streams.items() if stream == sequence), None)
        return 0 if slot is None else self._end(slot)

    def place(self, batch: list[Chunk]) -> None:
        """Have a stream for each. Raises OutOfKV."""
        if self._displaced and self._held + sum(chunk.size for chunk in batch) > self._context.max_cells:
            raise OutOfKV
        for chunk in batch:  # in use: none gives way for another
            if chunk.slot in self._streams:
                self._streams[chunk.slot] = self._streams.pop(chunk.slot)
        for chunk in batch:
            if not self._bring_back(chunk.slot):
                raise OutOfKV
            self.sequence(chunk.slot)

    def arrange(self, chunks: list[Chunk]) -> list[list[Chunk]]:
        """Decodes in rising streams without a gap. Prompts in falling ones, those of higher streams before them and the
        others behind: llama.cpp would join one just below to the decodes. Where it computes several tiles at a time,
        the full ones go first."""
        if not chunks:
            return []
        decodes = [chunk for chunk in chunks if chunk.stop - chunk.start == 1]
        prompts = [chunk for chunk in chunks if chunk.stop - chunk.start > 1]
        self._close_gaps([chunk.slot for chunk in decodes])
        decodes.sort(key=lambda chunk: self._streams[chunk.slot])
        prompts.sort(key=lambda chunk: -self._streams[chunk.slot])
        tiles: list[Chunk] = []
        if self._context.parameters.n_ubatch > CPU_TILE:
            tiles, prompts = full_tiles(prompts, CPU_TILE)
        first = self._streams[decodes[0].slot] if decodes else 0
        above = [chunk for chunk in prompts if self._streams[chunk.slot] >= first]
        last = above + decodes + prompts[len(above) :]
        return [tiles, last] if tiles else [last]

    def offload(self, slot: int) -> None:
        """See PoolKV. One that made way before no longer counts as the pool's."""
        self._displaced.pop(slot, None)
        super().offload(slot)

    def clear(self, slot: int) -> int:
        """Empty it, wherever it lies: its stream is free."""
        self._offloaded.pop(slot, None)
        self._displaced.pop(slot, None)
        self._positions.clear(slot)
        stream = self._streams.pop(slot, None)
        if stream is not None:
            kv_cells.clear(self._context.pointer, stream)
        return 0

    @property
    def _held(self) -> int:
        """Tokens in all slots but the offloaded ones."""
        return sum(self._displaced.values()) + sum(map(self._end, self._streams))

    def _bring_back(self, slot: int) -> bool:
        tokens = self._displaced.pop(slot, 0)
        is_back = super()._bring_back(slot)
        if tokens and not is_back:
            self._displaced[slot] = tokens
        return is_back

    def _end(self, slot: int) -> int:
        return super()._end(slot) if slot in self._streams else 0

    def _cut(self, slot: int, length: int) -> bool:
        return slot in self._streams and super()._cut(slot, length)

    def _close_gaps(self, slots: list[int]) -> None:
        """Have these slots in streams in a row."""
        streams = {self._streams[slot] for slot in slots}
        if not slots or max(streams) - min(streams) < len(slots):
            return
        row = set(range(len(slots)))
        outside = (slot for slot in slots if self._streams[slot] not in row)
        for slot, stream in zip(outside, sorted(row - streams), strict=True):
            self._swap(slot, stream)

    def _swap(self, slot: int, stream: int) -> None:
        """Move a slot to another stream; who is there gets its own. Raises RuntimeError."""
        there = next((other for other, taken in self._streams.items() if taken == stream), None)
        moves = [(slot, stream)] + ([] if there is None else [(there, self._streams[slot])])
        states = [kv_cells.save(self._context.pointer, self._streams[moved]) for moved, _ in moves]
        if None in states:
            return
        for moved, _ in moves:
            kv_cells.clear(self._context.pointer, self._streams[moved])
        for (moved, to), state in zip(moves, states, strict=True):
            self._streams[moved] = to
            if not kv_cells.restore(self._context.pointer, to, state):
                raise RuntimeError(f"what slot {moved} held does not fit into another stream")
