"""A replay, from requests to a report."""

import asyncio
import time
from collections.abc import Callable, Sequence

from nitro.records.form import Exchange
from nitro.records.replay import comparison, report, sender
from nitro.records.replay.report import Report
from nitro.records.replay.target import Target


def replay(
    exchanges: Sequence[Exchange],
    target: Target,
    speed: float | None,
    at_once: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Send requests, oldest first, to a server; `speed`, `at_once`: see `sender.send`. `progress` is told how many are
    done, and of how many. Raises RecordError."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(done, len(exchanges))

    began = time.perf_counter()
    replies = asyncio.run(sender.send(exchanges, target, speed, at_once, count))
    seconds = time.perf_counter() - began
    compared = [comparison.compare(exchange, reply) for exchange, reply in zip(exchanges, replies, strict=True)]
    return report.make(target.place, compared, seconds)
