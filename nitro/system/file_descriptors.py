"""File descriptors of this process: the three that every program begins with, and how many more it may have."""

import os
import sys

WANTED = 16384  # descriptors; some systems allow no more than OPEN_MAX although they say "unlimited"
OPEN_MAX = 10240  # macOS
OWN = 128  # for engines, files and the like: no connection takes them
MOST = 4096  # connections; each takes memory, too
BACKLOG = 2048  # connections that the system may hand over at once


def fill_standard() -> None:
    """/dev/null as standard input, output and error where they are closed: else the next socket becomes one of them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def raise_limit() -> int:
    """Raise the limit of descriptors as far as it is useful; what it is then."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (WANTED, OPEN_MAX, hard):
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue
        break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def connections(limit: int) -> tuple[int, int]:
    """With so many descriptors: how many connections may be open, and how long the queue of those not accepted yet may
    be. One burst of those finds room as well."""
    room = max(limit - OWN, limit // 2)
    return min(MOST, room // 2), min(BACKLOG, room // 2)
