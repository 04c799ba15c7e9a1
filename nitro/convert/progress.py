"""How far a conversion is: bytes written and the time left, on stderr where that is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from nitro.convert import output


class Bar:
    """One step's bar. `look` measures the file or folder that grows."""

    def __init__(self, progress: Progress, what: str, total: int):
        self._progress, self._task = progress, progress.add_task(what, total=total)

    def look(self, path: Path) -> None:
        try:
            self._progress.update(self._task, completed=output.size(path))
        except OSError:
            pass  # it changes while it is measured


@contextmanager
def bar(what: str, total: int) -> Iterator[Bar]:
    """`total`: bytes, as far as they can be told beforehand."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal  # it would leave an empty line in a log
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        yield Bar(progress, what, total)


def say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"nitro: {line}", highlight=False, markup=False)
