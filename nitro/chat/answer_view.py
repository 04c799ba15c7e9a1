"""An answer on the terminal while it comes: what has ended is printed once, and only the last block is drawn again."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

from nitro.chat.client import Piece
from nitro.chat.markdown_blocks import Blocks
from nitro.chat.printable import printable

INTERVAL = 1 / 12  # seconds between two drawings
PATIENCE = 1.0  # seconds without a word after which it is said that we wait
MARGIN = 3  # lines of the terminal that the last block leaves free


class Block:
    """A block of Markdown without the blank lines that rich puts around some; of a high one the last lines."""

    def __init__(self, text: str, lines: int | None = None):
        self.text, self.lines = text, lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich."""
        lines = console.render_lines(Markdown(self.text), options, pad=False)
        while lines and _is_blank(lines[0]):
            del lines[0]
        while lines and _is_blank(lines[-1]):
            del lines[-1]
        for number, line in enumerate(lines[-self.lines :] if self.lines else lines):
            if number:
                yield Segment.line()
            yield from line


def _is_blank(line: list[Segment]) -> bool:
    """Whether nothing is seen of it; the padding of code has a colour."""
    return all(not part.text.strip() and not (part.style and part.style.bgcolor) for part in line)


class AnswerView:
    """Shows one answer. As a context: at its end all of it is shown."""

    def __init__(self, console: Console, fold: bool = False, clock: Callable[[], float] = time.monotonic):
        """`fold`: instead of the reasoning, show how long it takes."""
        self._console, self._fold, self._clock = console, fold, clock
        self._blocks = Blocks()
        self._thoughts = ""  # the last line of the reasoning
        self._thinking = False
        self._changed = self._is_empty = True
        self._began = self._drawn = clock()
        self._shown_wait = 0
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_thoughts()
        rest = self._blocks.rest
        if rest.strip():
            self._live.update(self._spaced(Block(rest)))
        else:
            self._live.update(Text(""))
            self._live.transient = True
        self._live.stop()

    @property
    def pause(self) -> float:
        """Seconds until it is to be drawn again, if nothing comes."""
        return max(0.0, self._drawn + INTERVAL - self._clock()) if self._changed else PATIENCE

    def show(self, piece: Piece) -> None:
        """Take some text."""
        self._changed = True
        if piece.reasoning:
            self._think(printable(piece.reasoning))
        if piece.content:
            self._end_thoughts()
            for block in self._blocks.feed(printable(piece.content)):
                self._print(self._spaced(Block(block)))

    def tick(self) -> None:
        """Draw what has changed, not too often."""
        now = self._clock()
        if (self._changed and now - self._drawn >= INTERVAL) or self._waits(now):
            self._live.update(self._last(now), refresh=True)
            self._drawn, self._changed = now, False

    def _waits(self, now: float) -> bool:
        """Whether there is another second of waiting to tell."""
        waited = int(now - self._began)
        if (self._is_empty or (self._thinking and self._fold)) and waited != self._shown_wait:
            self._shown_wait = waited
            return True
        return False

    def _last(self, now: float) -> RenderableType:
        """What is drawn again and again."""
        seconds = int(now - self._began)
        if self._thinking and self._fold:
            return Text(f"thinking … {seconds} s", style="dim")
        if self._thinking:
            return Text(self._thoughts[-self._lines * self._console.width :], style="dim")
        text = self._blocks.tail(self._lines, self._console.width)
        if text.strip():
            return self._spaced(Block(text, self._lines))
        return Text(f"… {seconds} s" if self._is_empty and seconds >= PATIENCE else "", style="dim")

    @property
    def _lines(self) -> int:
        return max(1, self._console.height - MARGIN)

    def _think(self, text: str) -> None:
        begins = not self._thinking
        self._thinking = True
        *lines, self._thoughts = (self._thoughts + (text.lstrip("\n") if begins else text)).split("\n")
        if lines and not self._fold:
            self._print(Text("\n".join(lines), style="dim"))

    def _end_thoughts(self) -> None:
        if not self._thinking:
            return
        self._thinking = False
        last = f"thought for {self._clock() - self._began:.1f} s" if self._fold else self._thoughts
        self._thoughts = ""
        if last.strip():
            self._print(Text(last, style="dim"))

    def _print(self, what: RenderableType) -> None:
        """Above what is drawn again, which is drawn with it."""
        self._is_empty = False
        self._live.update(self._last(self._clock()))
        self._console.print(what)

    def _spaced(self, what: RenderableType) -> RenderableType:
        """Apart from what is above."""
        return Padding(what, (0 if self._is_empty else 1, 0, 0, 0))
