"""What a sequence of llama.cpp holds in the KV cache: copied to main memory and back, counted, emptied."""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib


def save(context: Any, sequence: int) -> Any:
    """A copy of what a sequence holds, as an array of bytes; None where llama.cpp cannot make one, or there is no
    memory for it."""
    size = lib.llama_state_seq_get_size(context, sequence)
    state = _bytes(size)
    return state if state and lib.llama_state_seq_get_data(context, state, size, sequence) == size else None


def restore(context: Any, sequence: int, state: Any) -> bool:
    """Replace what the sequence holds by a saved state. False where there is no room; it is empty then."""
    clear(context, sequence)
    return bool(lib.llama_state_seq_set_data(context, state, len(state), sequence))


def save_all(context: Any) -> Any:
    """A copy of what all sequences hold, shared cells and those outside a window as well, as an array of bytes; None
    where llama.cpp cannot make one, or there is no memory for it."""
    size = lib.llama_state_get_size(context)
    state = _bytes(size)
    return state if state and lib.llama_state_get_data(context, state, size) == size else None


def restore_all(context: Any, state: Any) -> bool:
    """Replace what all sequences hold. The context may have more cells than the saved one, and as many streams.
    Afterwards llama.cpp uses cells outside a window again, before those that are free: what they held cannot be cut."""
    return bool(lib.llama_state_set_data(context, state, len(state)))


def clear(context: Any, sequence: int) -> None:
    """Empty the sequence."""
    lib.llama_memory_seq_rm(lib.llama_get_memory(context), sequence, -1, -1)  # of a whole sequence: never fails


def held(context: Any, sequence: int) -> int:
    """Tokens in the sequence."""
    return int(lib.llama_memory_seq_pos_max(lib.llama_get_memory(context), sequence)) + 1


def _bytes(size: int) -> Any:
    try:
        return (ctypes.c_uint8 * size)()
    except MemoryError:
        return None
