"""One batch that a server works on: its lines that are ready, those under way, and what came of them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from nitro.batches.output_line import Reply
from nitro.state.batch_lines import Line, Place, Result
from nitro.state.batches import CANCELLING, IN_PROGRESS, Work

Stop = Literal["cancelled", "expired"]


class Asking:
    """A request that is under way. `left` is done once its reply is not wanted any more."""

    def __init__(self) -> None:
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        """Nobody wants the reply any more."""
        if not self.left.done():
            self.left.set_result(None)

    async def pause(self, seconds: float) -> bool:
        """Wait so long, or until it is left. Returns whether it is still wanted."""
        await asyncio.wait((self.left,), timeout=seconds)
        return not self.left.done()


# Has a request of this batch and with this body answered. None: nobody waited for the reply to its end.
Answer = Callable[[Work, bytes, Asking], Awaitable[Reply | None]]


class Run:
    """The state of one batch in this server. Belongs to the event loop."""

    def __init__(self, work: Work):
        self.work = work
        self.ready: deque[Line] = deque()
        self.under_way: dict[int, Asking] = {}  # by the line's number
        self.stopped: Stop | None = None
        self.begun = False  # its lines are all right
        self.exhausted = False  # no more are to be taken
        self.ending = False
        self.after = Place()  # of the last line that was taken
        self.ended: list[Result] = []  # that are to be recorded
        self.recording: asyncio.Task[None] | None = None  # will write them

    @property
    def has_more(self) -> bool:
        """Whether lines are ready, or may be taken."""
        return bool(self.ready) or (self.begun and not self.exhausted)

    @property
    def over(self) -> bool:
        """Whether it can end: nothing is ready or under way, and nothing comes."""
        return self.exhausted and not self.ready and not self.under_way

    def took(self, lines: list[Line] | None) -> None:
        """Lines were taken; None: it does not run any more."""
        if lines is None:
            self.stop("cancelled")
        elif not self.stopped:
            self.ready.extend(lines)
            self.exhausted = not lines
            if lines:
                self.after = lines[-1].place

    def told(self, status: str) -> None:
        """What the database says of it: another server may have been asked to cancel it."""
        if status == CANCELLING:
            self.stop("cancelled")
        elif status != IN_PROGRESS:
            self.exhausted = True

    def stop(self, how: Stop) -> None:
        """Begin nothing more, and give up what is under way."""
        self.stopped = self.stopped or how
        self.exhausted = True
        self.ready.clear()
        for asking in self.under_way.values():
            asking.leave()
