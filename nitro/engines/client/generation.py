"""One request on its way through an engine, as the server sees it: accepted, burst after burst, ended."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from nitro.engines.media import MediaKind
from nitro.engines.messages import Accepted
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import Admission, Output
from nitro.errors import EngineError, PromptRejected, RequestTooLarge, SchemaViolated, SequenceFailed

MAX_BURST = 32  # outputs in a burst: a request of a thousand sequences must not hold the event loop


class GenerationOwner(Protocol):
    """Whoever carries generations to an engine and back."""

    def abort(self, ids: list[int]) -> None:
        """Nobody wants these sequences any more."""

    def changed(self, generation: "Generation") -> None:
        """There is something to take, or it has ended: call its `tell` soon, in a turn of the event loop's."""

    def ended(self, generation: "Generation", completed: bool) -> None:
        """None of its sequences is open any more; called once. `completed`: the engine did all of it."""


class Generation:
    """The sequences of one request, index 0 to n−1 on its first prompt, and so on, from acceptance to end. Made by
    `Engine.generate`.

    A burst is what came since the last one, in order, as (index, Output). Whoever wants them either iterates or, which
    needs no task, sets `listener` and calls `take`. Raises EngineError where a sequence failed or the engine died.
    `abort` may be called at any time, from anywhere, more than once.
    """

    def __init__(self, owner: GenerationOwner, ids: list[int], n: int, digest: bytes, share: Share = NOBODYS):
        self.ids = ids
        self.n = n  # sequences on each prompt
        self.digest = digest  # of the work: the same for requests that are alike
        self.share = share  # for whom it is
        self.prompt_tokens = 0  # of all prompts
        self.media_tokens: dict[MediaKind, int] = {}  # of these, those of images and of sounds
        self.echoes: list[list[bytes]] = []  # the tokens of each prompt, if requested
        self.unenforced: list[str] = []  # what of the constraint's schemas is let through
        self.cached_tokens = 0
        self.cache_write_tokens = 0  # computed, and kept in the prefix cache
        self.queue_seconds: float | None = None  # until the first sequence got its slot; None: still queued
        self._owner = owner
        self._index = {id: i for i, id in enumerate(ids)}
        self._begun: set[int] = set()  # prompts
        self._open = set(ids)
        self._ended = False  # the owner knows
        self._aborted = False
        self._burst: list[tuple[int, Output]] = []
        self._error: EngineError | None = None
        self.listener: Callable[[], None] | None = None  # called when something has come
        self._told = True  # nothing is new since the last `tell`
        self._news: asyncio.Future[None] | None = None  # whoever iterates waits for it
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> int:
        """How many of its sequences go on."""
        return len(self._open)

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> list[tuple[int, Output]]:
        if self._burst:
            await asyncio.sleep(0)  # a consumer that never waits would starve the loop
        while not (burst := self.take()):
            if not self._open:
                raise StopAsyncIteration
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return burst

    def take(self) -> list[tuple[int, Output]]:
        """The next burst, of at most MAX_BURST outputs; empty where nothing has come. Of what is left over, or of the
        error that follows, the listener is told in the event loop's next turn. Raises EngineError."""
        burst = self._burst
        if not burst and self._error:
            raise self._error
        self._burst = burst[MAX_BURST:]
        if self._burst or self._error:
            self._changed()
        return burst[:MAX_BURST]

    def tell(self) -> None:
        """Tell whoever wants to know that something has changed."""
        self._told = True
        if self._news and not self._news.done():
            self._news.set_result(None)
        if self.listener:
            self.listener()

    def _changed(self) -> None:
        if self._told:
            self._told = False
            self._owner.changed(self)

    def stop(self, index: int) -> None:
        """End this sequence: nothing more comes of it."""
        self._drop([self.ids[index]])

    def abort(self) -> None:
        """End all of them."""
        self._aborted = True
        self._drop(list(self._open))

    def _drop(self, ids: list[int]) -> None:
        if open_ids := [id for id in ids if id in self._open]:
            self._open.difference_update(open_ids)
            self._owner.abort(open_ids)
            self._changed()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if not self._open and not self._ended:
            self._ended = True
            self._owner.ended(self, completed=not self._aborted)

    # Called as frames arrive

    def accept(self, accepted: Accepted) -> None:
        """The engine has queued its sequences."""
        self.prompt_tokens = accepted.prompt_tokens
        self.media_tokens = accepted.media_tokens
        self.echoes = accepted.echoes
        self.unenforced = accepted.unenforced
        if not self.accepted.done():
            self.accepted.set_result(None)

    def admitted(self, admission: Admission) -> None:
        """A sequence got its slot. The first of each prompt counts."""
        if self.queue_seconds is None:
            self.queue_seconds = admission.queued
        prompt = self._index[admission.id] // self.n
        if prompt not in self._begun:
            self._begun.add(prompt)
            self.cached_tokens += admission.cached
            self.cache_write_tokens += admission.written

    def deliver(self, output: Output) -> None:
        """New tokens of one of its sequences."""
        if output.finish == "error":
            self._open.discard(output.id)  # the engine has ended this one itself
            return self.fail(_failure(output))
        self._burst.append((self._index[output.id], output))
        if self._told:
            self._changed()
        if output.finish:
            self._open.discard(output.id)
            self._end_if_done()

    def fail(self, error: EngineError) -> None:
        """All of it ends with `error`."""
        self.abort()
        self._error = self._error or error
        self._changed()
        if not self.accepted.done():
            self.accepted.set_exception(error)
            self.accepted.exception()  # seen, even if nobody waits any more


def _failure(output: Output) -> EngineError:
    error = output.error or "The engine failed."
    if output.too_large:
        return RequestTooLarge(error)
    if output.schema_violated:
        return SchemaViolated(error, output.param)
    return PromptRejected(error, output.param) if output.param else SequenceFailed(error)
