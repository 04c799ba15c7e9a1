"""File descriptors of this process: the three standard ones, and how many more it may have."""

import os
import sys

WANTED = 16384  # descriptors; some systems allow no more than OPEN_MAX although they say "unlimited"
OPEN_MAX = 10240  # macOS
RESERVED = 128  # descriptors for engines, files and the like
MAX_CONNECTIONS = 4096  # each takes memory, too
MAX_BACKLOG = 2048  # connections that wait to be accepted


def fill_standard() -> None:
    """Open /dev/null as standard input, output and error if closed. Otherwise a socket would take their place."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def needed(connections: int) -> int:
    """Descriptors for so many connections, and as many that wait to be accepted."""
    return 2 * connections + RESERVED


def raise_limit(more: int = 0) -> int:
    """Raise the limit of descriptors as far as it is useful, or to `more`, and return the new limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(WANTED, more)
    for wanted in (most, OPEN_MAX, hard):
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue
        break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else soft


def connection_limits(descriptors: int, most: int = MAX_CONNECTIONS) -> tuple[int, int]:
    """How many connections may be open, `most` at most, and how many may wait to be accepted, with a limit of so many
    descriptors.

    There is room for both at once.
    """
    room = max(descriptors - RESERVED, descriptors // 2)
    return min(most, room // 2), min(MAX_BACKLOG, room // 2)
