"""How far a batch is, for a person: a bar in a terminal, a sentence now and then where there is none."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click

from nitro.system import terminal

EVERY = 10.0  # seconds between two sentences


class Progress:
    """Of one batch, as its objects come. Times are seconds of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._draws = terminal.can_draw(sys.stderr)
        self._bar: Any = None
        self._told = 0.0
        self._begun: tuple[float, int] | None = None

    def show(self, batch: dict[str, Any]) -> None:
        """It is so far."""
        counts = batch["request_counts"]
        total, done = counts["total"], counts["completed"] + counts["failed"]
        if batch["status"] in ("validating", "failed") or not total:
            return
        now = self._clock()
        self._begun = self._begun or (now, done)
        if self._draws:
            if self._bar is None:
                self._bar = click.progressbar(length=total, label="Lines", file=sys.stderr, show_pos=True)
                self._bar.__enter__()
            self._bar.update(done - self._bar.pos)
        elif now >= self._told + EVERY or done == total:
            self._told = now
            terminal.say(self._sentence(total, done, counts["failed"], now), err=True)

    def _sentence(self, total: int, done: int, failed: int, now: float) -> str:
        faults = f", {failed:,} of them failed" if failed else ""
        assert self._begun
        since, before = self._begun
        left = ""
        if done > before and done < total:
            seconds = (now - since) / (done - before) * (total - done)
            left = f"; about {duration(seconds)} left"
        return f"{done:,} of {total:,} lines are done{faults}{left}."

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, at)


def duration(seconds: float) -> str:
    """As in 40 seconds, 12 minutes, 3.5 hours."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
