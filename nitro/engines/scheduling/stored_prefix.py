"""A prefix that was read from elsewhere, for a sequence that waits. Pure data."""

from typing import NamedTuple


class StoredPrefix(NamedTuple):
    """What a slot held once: `state`, of `size` tokens. The sequence begins with the first `length` of them."""

    length: int
    size: int
    state: memoryview
