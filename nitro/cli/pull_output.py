"""What `nitro pull` prints: bars on a terminal, lines in a pipe, or JSON lines for programs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from nitro.errors import PullError
from nitro.models.choice import Choice, Row
from nitro.models.pull.report import Began, Came, Done, Event, Here, Meter, Said
from nitro.models.repository import RepositoryFile
from nitro.system import terminal

JSON_EVERY, LINE_EVERY = 0.5, 5.0  # seconds
WIDE = 1000  # columns of a table in a pipe, where nothing is wrapped
COLUMNS = ("file", "type", "size", "fits", "chosen", "reason")
RESUME = "interrupted: what has come is kept, and the same command goes on from there."

Clock = Callable[[], float]


class Output:
    """Tells a person or a program of a pull. Called with each event of it."""

    def __call__(self, event: Event) -> None:
        """How the files are coming."""
        raise NotImplementedError

    def table(self, choice: Choice) -> None:
        """What there is to choose from."""
        raise NotImplementedError

    def chosen(self, name: str, choice: Choice) -> None:
        """What is going to be fetched. `name`: that means it."""
        raise NotImplementedError

    def ready(self, name: str, path: Path) -> None:
        """The model is here."""
        raise NotImplementedError

    def refused(self, error: PullError) -> None:
        """It cannot be fetched."""
        raise NotImplementedError

    def interrupted(self) -> None:
        """The user has ended it."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing follows."""


def output(as_json: bool, out: TextIO, errors: TextIO, clock: Clock = time.monotonic) -> Output:
    """The way of telling that the user wants."""
    if as_json:
        return JsonLines(out, clock)
    return Bars(out, errors) if out.isatty() else Lines(out, errors, clock)


class JsonLines(Output):
    """One object for each event, with its name in "event". Progress comes twice a second."""

    def __init__(self, out: TextIO, clock: Clock):
        self._out, self._clock = out, clock
        self._meter = Meter(0, clock)
        self._have: dict[str, int] = {}  # by file
        self._told = clock()

    def __call__(self, event: Event) -> None:
        """As the protocol of the class says."""
        if isinstance(event, Began):
            self._meter = Meter(event.total, self._clock)
            files = [{"file": file.path, "size": file.size, "sha256": file.sha256} for file in event.files]
            self._write("begin", files=files, total=event.total)
        elif isinstance(event, Here | Came):
            count = self._meter.here if isinstance(event, Here) else self._meter.advance
            count(event.size)
            self._have[event.file.path] = self._have.get(event.file.path, 0) + event.size
            if self._clock() - self._told >= JSON_EVERY:
                self._progress()
        elif isinstance(event, Done):
            self._write("file", file=event.file.path, path=str(event.path), size=event.file.size)
        else:
            self._write("message", text=event.text)

    def table(self, choice: Choice) -> None:
        """As the protocol of the class says."""
        self._write("choice", files=[msgspec.to_builtins(row) for row in choice.rows])

    def chosen(self, name: str, choice: Choice) -> None:
        """As the protocol of the class says."""
        rows = [msgspec.to_builtins(row) for row in choice.rows if row.chosen]
        self._write("chosen", name=name, files=rows)

    def ready(self, name: str, path: Path) -> None:
        """As the protocol of the class says."""
        self._progress()
        self._write("done", name=name, path=str(path))

    def refused(self, error: PullError) -> None:
        """As the protocol of the class says."""
        after = {} if error.retry_after is None else {"retry_after": error.retry_after}
        self._write("error", code=error.code, message=str(error), **after)

    def interrupted(self) -> None:
        """As the protocol of the class says."""
        self._write("error", code="interrupted", message=RESUME)

    def _progress(self) -> None:
        self._told = self._clock()
        left = self._meter.seconds_left
        self._write(
            "progress",
            bytes=self._meter.have,
            total=self._meter.total,
            bytes_per_second=round(self._meter.speed),
            seconds_left=None if left is None else round(left, 1),
            files=self._have,
        )

    def _write(self, event: str, **fields: Any) -> None:
        self._out.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
        self._out.flush()


class _Text(Output):
    """For people."""

    def __init__(self, out: TextIO, errors: TextIO):
        self._console = Console(file=out, soft_wrap=True, width=terminal.columns(out) or WIDE)
        self._errors = Console(file=errors, soft_wrap=True, width=terminal.columns(errors) or WIDE)
        self._room, self._errors_room = terminal.columns(out), terminal.columns(errors)

    def table(self, choice: Choice) -> None:
        """As the protocol of the class says."""
        if not choice.rows:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in COLUMNS:
            table.add_column(
                column,
                justify="right" if column == "size" else "left",
                no_wrap=column not in ("file", "reason"),
                overflow="fold",
            )
        for row in choice.rows:
            table.add_row(*map(escape, _cells(row)), style="bold" if row.chosen else None)
        self._console.print(table, highlight=False)

    def chosen(self, name: str, choice: Choice) -> None:
        """As the protocol of the class says."""
        rows = [row for row in choice.rows if row.chosen]
        if choice.format == "gguf":
            for row in rows:
                self._say(f"{row.file}, {_gigabytes(row.size)}: {row.reason}")
        else:
            self._say(f"{name}: {len(rows)} files, {_gigabytes(sum(row.size for row in rows))}, for MLX")

    def ready(self, name: str, path: Path) -> None:
        """As the protocol of the class says."""
        self._say(f"{name} is here: {path}")
        self._say(f"To serve it: nitro serve {name}")

    def refused(self, error: PullError) -> None:
        """As the protocol of the class says."""
        self._complain(str(error))

    def interrupted(self) -> None:
        """As the protocol of the class says."""
        self._complain(RESUME)

    def _say(self, text: str) -> None:
        self._console.print(terminal.wrapped(text, self._room), markup=False, highlight=False)

    def _complain(self, text: str) -> None:
        self._errors.print(terminal.wrapped(f"nitro: {text}", self._errors_room), markup=False, highlight=False)


class Lines(_Text):
    """For a file or a pipe: progress every few seconds."""

    def __init__(self, out: TextIO, errors: TextIO, clock: Clock):
        super().__init__(out, errors)
        self._clock = clock
        self._meter = Meter(0, clock)
        self._told = clock()

    def __call__(self, event: Event) -> None:
        """As the protocol of the class says."""
        if isinstance(event, Began):
            self._meter = Meter(event.total, self._clock)
        elif isinstance(event, Here | Came):
            count = self._meter.here if isinstance(event, Here) else self._meter.advance
            count(event.size)
            if self._clock() - self._told >= LINE_EVERY:
                self._told = self._clock()
                self._say(line(self._meter))
        elif isinstance(event, Said):
            self._say(event.text)


class Bars(_Text):
    """For a terminal: a bar for each file that is coming, and one for all."""

    def __init__(self, out: TextIO, errors: TextIO):
        super().__init__(out, errors)
        columns = (
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        self._bars = Progress(*columns, console=self._console)
        self._tasks: dict[RepositoryFile, TaskID] = {}
        self._all: TaskID | None = None

    def __call__(self, event: Event) -> None:
        """As the protocol of the class says."""
        if isinstance(event, Began):
            self._bars.start()
            if len(event.files) > 1:
                self._all = self._bars.add_task("all files", total=event.total)
        elif isinstance(event, Here | Came):
            if event.file not in self._tasks:
                self._tasks[event.file] = self._bars.add_task(escape(event.file.name), total=event.file.size)
            self._bars.advance(self._tasks[event.file], event.size)
            if self._all is not None:
                self._bars.advance(self._all, event.size)
        elif isinstance(event, Done):
            if self._all is not None and event.file in self._tasks:
                self._bars.remove_task(self._tasks.pop(event.file))
        else:
            self._say(event.text)

    def close(self) -> None:
        """As the protocol of the class says."""
        self._bars.stop()


def line(meter: Meter) -> str:
    """ "34 %, 1.2 of 3.6 GB, 85 MB/s, 0:28 left"."""
    share = 100 * meter.have // max(meter.total, 1)
    parts = [f"{share} %", f"{meter.have / 1e9:.1f} of {_gigabytes(meter.total)}", f"{meter.speed / 1e6:.1f} MB/s"]
    if (left := meter.seconds_left) is not None:
        minutes, seconds = divmod(round(left), 60)
        parts.append(
            f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left" if minutes >= 60 else f"{minutes}:{seconds:02} left"
        )
    return ", ".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    fits = "" if row.fits is None else row.fits or "no"
    return row.file, row.type, _gigabytes(row.size), fits, "yes" if row.chosen else "", row.reason


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**8 else f"{size / 1e6:.1f} MB"
