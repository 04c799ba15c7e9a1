"""Python's collector of cyclic garbage, in processes that live long and make thousands of small objects a second.

As it is, it looked at all modules again and again: a quarter of the server's time with 64 streams.
"""

import gc

YOUNG = 20_000  # new containers before it looks at those; Python's own number is below a thousand


def settle() -> None:
    """What is there by now stays; it is never looked at again. Call it once, when a process is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
