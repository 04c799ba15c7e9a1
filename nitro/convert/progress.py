"""The progress of a conversion: bytes written and time left, on stderr where that is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from nitro.convert import output


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
    """A progress bar for one step. `total`: the expected bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal  # else it would leave an empty line in a log
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        yield Bar(progress, title, total)


def notify(line: str) -> None:
    """Print a line for the user to stderr."""
    Console(stderr=True, soft_wrap=True).print(f"nitro: {line}", highlight=False, markup=False)
