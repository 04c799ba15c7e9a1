"""The C heap of this process."""

import ctypes

TRIM = "malloc_trim"  # of glibc (malloc.h)


def give_back() -> None:
    """Give free pages between those in use back to the system. Where the C library has no call for that, nothing."""
    library = ctypes.CDLL(None)
    if hasattr(library, TRIM):
        library[TRIM](ctypes.c_size_t(0))
