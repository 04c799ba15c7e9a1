"""The cells of llama.cpp's KV cache: copies a slot's cells to main memory and back, and keeps those of a slot together.

llama.cpp gives each token the next free cell. So the cells of slots that decode together alternate, and a prompt fills
the holes that others left. On the CPU, attention that jumps from cell to cell makes a step up to half as slow again. So
the slots that run are moved, one after another, into cells in a row, whenever enough tokens have come and gone to be
worth it: moving a token takes about a four-hundredth of the time of computing one.
"""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib

MAX_MOVED = 2  # tokens moved for each that came or went since: about 1 % of the time
MIN_CHANGED = 256  # tokens that must have come and gone before anything is moved
ONE_IN_SHARED = 4  # a slot is moved if at most one token in so many is shared: it shares nothing after that


def save(context: Any, slot: int) -> Any:
    """A copy of what a slot holds, as an array of bytes; None where llama.cpp cannot make one."""
    size = lib.llama_state_seq_get_size(context, slot)
    state = (ctypes.c_uint8 * size)()
    return state if lib.llama_state_seq_get_data(context, state, size, slot) == size else None


def restore(context: Any, slot: int, state: Any) -> bool:
    """Replace what the slot holds by a saved state. False where the pool has no room; the slot is empty then."""
    clear(context, slot)
    return bool(lib.llama_state_seq_set_data(context, state, len(state), slot))


def save_all(context: Any) -> Any:
    """A copy of what all slots hold, cells that they share and cells outside a window as well, as an array of bytes;
    None where llama.cpp cannot make one."""
    size = lib.llama_state_get_size(context)
    state = (ctypes.c_uint8 * size)()
    return state if lib.llama_state_get_data(context, state, size) == size else None


def restore_all(context: Any, state: Any) -> bool:
    """Replace what all slots hold. The context may have more cells than the saved one, and as many streams. Afterwards
    llama.cpp uses cells outside a window again, before those that are free: such a slot may not be cut any more."""
    return bool(lib.llama_state_set_data(context, state, len(state)))


def clear(context: Any, slot: int) -> None:
    """Empty the slot."""
    lib.llama_memory_seq_rm(lib.llama_get_memory(context), slot, -1, -1)  # of a whole sequence: never fails


def held(context: Any, slot: int) -> int:
    """Tokens in the slot."""
    return int(lib.llama_memory_seq_pos_max(lib.llama_get_memory(context), slot)) + 1


class Cells:
    """Counts the tokens that come and go, and moves together what has become scattered."""

    def __init__(self, max_tokens: int):
        """`max_tokens`: how many main memory has room for while they are moved."""
        self._max_tokens = max_tokens
        self._changed = 0  # tokens that came or went since the last move
        self._min_changed = MIN_CHANGED  # how many must change before the next move
        self._shared: dict[int, int] = {}  # by slot: leading tokens whose cells may be another's, too

    def computed(self, tokens: int) -> None:
        """Note that so many tokens were added to slots."""
        self._changed += tokens

    def cleared(self, slot: int, tokens: int) -> None:
        """Note that a slot was emptied, which held so many tokens."""
        self._changed += tokens
        self._shared.pop(slot, None)

    def copied(self, src: int, dst: int, length: int) -> None:
        """Note that both slots now share the cells of their first `length` tokens."""
        self._shared[src] = max(self._shared.get(src, 0), length)
        self._shared[dst] = length

    def gather(self, context: Any, slots: list[int]) -> None:
        """Move what these slots hold into cells in a row, if it is time to. A slot that runs alone has no others' cells
        between its own."""
        if self._changed < self._min_changed or len(slots) < 2:
            return
        sizes = {slot: held(context, slot) for slot in slots}
        self._min_changed = max(sum(sizes.values()) // MAX_MOVED, MIN_CHANGED)
        if self._changed < self._min_changed:
            return
        self._changed = 0
        everything = sum(held(context, slot) for slot in range(lib.llama_n_seq_max(context)))
        if sum(sizes.values()) > self._max_tokens or everything > lib.llama_n_ctx(context):
            return  # safe only if everything fits even without sharing
        unshared = [slot for slot in slots if self._shared.get(slot, 0) * ONE_IN_SHARED <= sizes[slot] > 0]
        states = [(slot, state) for slot in unshared if (state := save(context, slot)) is not None]
        for slot, _ in states:
            clear(context, slot)
        for slot, state in states:
            if not restore(context, slot, state):
                raise RuntimeError(f"what slot {slot} held does not fit where it was")
            self._shared.pop(slot, None)
