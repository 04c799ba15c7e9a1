"""What a person sees of a load that takes over a second, on stderr: a bar on a terminal, elsewhere a line now and then.

Colours obey NO_COLOR, as rich does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import click

from nitro.engines.types import LoadProgress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

PATIENCE = 0.75  # seconds after the first report, which comes when a load has taken a quarter of a second
EVERY = 5.0  # seconds between two lines
NAME = 36  # columns that a model's name may take beside its bar
MIB, GIB = 2**20, 2**30


class LoadOutput:
    """That of one server. Belongs to the event loop."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self._given = console
        self._clock = clock
        self._show_at: dict[str, float] = {}  # by model: when it is to be shown again
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console  # most loads are over before anything is shown

        return self._given or Console(stderr=True)

    def of(self, model: str) -> Callable[[LoadProgress | None], None]:
        """What is to be called as the model's loads go on, and with None when one is over."""
        return partial(self._told, model)

    def _told(self, model: str, progress: LoadProgress | None) -> None:
        if progress is None:
            self._over(model)
        elif self._clock() >= self._show_at.setdefault(model, self._clock() + PATIENCE):
            self._show(model, progress)

    def _show(self, model: str, progress: LoadProgress) -> None:
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            self._show_at[model] = self._clock() + EVERY
            click.echo(line(model, progress), err=True)
            return
        bars = self._bars = self._bars or self._begin()
        if model not in self._tasks:
            self._tasks[model] = bars.add_task(model)
        bars.update(self._tasks[model], completed=progress.read, total=progress.total, refresh=True)

    def _begin(self) -> Progress:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        name = Column(no_wrap=True, overflow="ellipsis", max_width=NAME)
        columns = (
            TextColumn("Loading {task.description}", markup=False, table_column=name),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        bars = Progress(*columns, console=self._console, transient=True, auto_refresh=False, expand=True)
        bars.start()
        return bars

    def _over(self, model: str) -> None:
        self._show_at.pop(model, None)
        task = self._tasks.pop(model, None)
        if self._bars and task is not None:
            self._bars.remove_task(task)
            if not self._tasks:
                self._bars.stop()
                self._bars = None


def line(model: str, progress: LoadProgress) -> str:
    """How far a load is, in words."""
    share = 100 * progress.read // max(progress.total, 1)
    unit, size = ("GiB", GIB) if progress.total >= GIB else ("MiB", MIB)
    return f"Loading {model}: {progress.read / size:.1f} of {progress.total / size:.1f} {unit} ({share} %)"
