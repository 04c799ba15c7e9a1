"""The progress of conversions and comparisons on stderr: bars on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from nitro.convert import output
from nitro.system import terminal

Notify = Callable[[str], None]  # takes a line for the user

EVERY = 30.0  # seconds between two lines about the same step
PARTS = 4  # lines about a step of many items


class Bar:
    """The progress bar of one step."""

    def __init__(self, progress: Progress, title: str, total: int):
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def measure(self, path: Path) -> None:
        """Show the current size of the file or folder that is being written."""
        try:
            self._progress.update(self._task, completed=output.size(path))
        except OSError:
            pass  # files come and go meanwhile


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A progress bar for one step; where there is no terminal, its title. `total`: the expected bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal  # else it would leave an empty line in a log
    if hidden:
        notify(f"{title}: about {total / 2**20:,.0f} MiB")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        yield Bar(progress, title, total)


@contextmanager
def working(
    title: str, notify: Notify, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[], None]]:
    """A step of unknown length. Gives a function to call now and then: it says how long the step has taken."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(title, total=None)
            yield lambda: None
        return
    notify(title)
    began = told = clock()

    def tick() -> None:
        nonlocal told
        now = clock()
        if now - told >= EVERY:
            told = now
            notify(f"{title}: {now - began:.0f} s so far")

    yield tick


def each(title: str, items: Sequence[str], notify: Notify, console: Console | None = None) -> Iterator[str]:
    """The items one by one, while it is shown how many are done."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            yield from progress.track(items, description=title)
        return
    notify(f"{title}: {len(items)}")
    for number, item in enumerate(items):
        yield item
        done = number + 1
        if done < len(items) and done * PARTS // len(items) > number * PARTS // len(items):
            notify(f"{title}: {done} of {len(items)}")


def notify(line: str) -> None:
    """Print a line for the user to stderr."""
    terminal.say(f"nitro: {line}", err=True)
